//! Make before break, per stream: which type's turn it is.
//!
//! ```text
//!  clusters + endpoints, additions and changes of the newest state   at any time (they break nothing)
//!        | both ACKed up to the checkpoint, and the endpoints of its new clusters
//!        v
//!  listeners, extensions, routes of the checkpoint
//!        | ACKed
//!        v
//!  removals of what neither the checkpoint nor the newest state has: clusters, then endpoints; the checkpoint moves on
//! ```
//! The checkpoint is a published state that stands still while its routes are on their way. So routes never run ahead of
//! clusters, a change of endpoints never waits behind them, and publishing without pause starves nobody. A type that the
//! stream does not subscribe to has no phase. A NACK or a silence (see `Bounds::phase_timeout_ms`) ends a phase too, so that
//! additions and routes go on; a removal alone waits for a real ACK of the routes, for ever if need be.
use std::sync::Arc;

use crate::{
    delivery::Delivery,
    selection::Terms,
    stream::{Stream, Turn, Variant},
    types::{self, CLUSTER, ENDPOINT, LISTENER, ROUTE, ROUTING_ORDER, Tier},
    view::View,
};

impl Stream {
    /// What a type is served from now.
    pub(crate) fn view_for(&self, type_url: &str) -> View {
        let checkpoint = self.checkpoint.clone();
        match types::tier(type_url) {
            Tier::Free => View { newest: self.latest.clone(), older: None },
            Tier::Clusters | Tier::Endpoints => View { newest: self.latest.clone(), older: Some(checkpoint) },
            Tier::Routing => View { newest: checkpoint, older: None },
        }
    }

    /// Sends whatever may be sent now.
    pub(crate) fn pump(&mut self, turn: &mut Turn) {
        let free: Vec<_> = self.types.keys().filter(|url| types::tier(url) == Tier::Free).cloned().collect();
        for type_url in free {
            self.pump_type(&type_url, &|_| true, turn);
        }
        loop {
            let before = (turn.actions.len(), self.may_remove_clusters(turn.now_ms));
            self.pump_clusters(turn);
            self.pump_endpoints(turn);
            if self.foundation_settled() {
                for type_url in ROUTING_ORDER {
                    self.pump_type(type_url, &|_| true, turn);
                }
            }
            let moved = self.move_checkpoint(turn.now_ms);
            // Routes that were found to be in order may have opened the way for removals.
            if (turn.actions.len(), self.may_remove_clusters(turn.now_ms)) == before && !moved {
                return;
            }
        }
    }

    fn pump_clusters(&mut self, turn: &mut Turn) {
        let may_remove = self.may_remove_clusters(turn.now_ms);
        let Some(sent) = self.pump_type(CLUSTER, &|_| may_remove, turn) else { return };
        if self.variant == Variant::Sotw {
            // After a refusal the full state may take a cluster back to what it was: that is a change to the client as well.
            let taken_back = self.types.get(CLUSTER).map(Delivery::taken_back).unwrap_or_default();
            self.push_endpoints_of(&taken_back, false, turn.now_ms);
        }
        self.push_endpoints_of(&sent, true, turn.now_ms);
    }

    /// A client that is told of a cluster (again) warms it and waits for its endpoints, even those it was sent before
    /// (envoy #13009, #33607): so they follow every cluster.
    fn push_endpoints_of(&mut self, sent: &[Arc<str>], may_gate: bool, now_ms: u64) {
        let view = self.view_for(ENDPOINT);
        let nonce = self.nonce;
        let mut endpoints = self.types.remove(ENDPOINT);
        // A client that never asks for endpoints has no use for them: nothing waits, once the stream had time to ask.
        let may_gate = may_gate && (endpoints.is_some() || !self.grace_over);
        for name in sent.iter().filter(|name| view.get(ENDPOINT, name).is_some()) {
            let held = self.types.get(CLUSTER).is_some_and(|clusters| clusters.holds(name));
            self.warming.insert(name.clone(), nonce);
            if may_gate && !held {
                self.gating.insert(name.clone());
            }
            if self.gating.contains(name) {
                self.gated_since_ms = now_ms;
            }
            if let Some(endpoints) = endpoints.as_mut().filter(|endpoints| endpoints.sub.wants(name)) {
                endpoints.forced.insert(name.clone());
                endpoints.look_at(name.clone(), &view);
            }
        }
        if let Some(endpoints) = endpoints {
            self.types.insert(endpoints.type_url.clone(), endpoints);
        }
    }

    fn pump_endpoints(&mut self, turn: &mut Turn) {
        let may_remove = self.may_remove_clusters(turn.now_ms);
        let view = self.view_for(CLUSTER);
        // Endpoints go after their cluster: a client that still has the cluster keeps its endpoints.
        let clusters = self.types.remove(CLUSTER);
        let eligible = |name: &str| {
            let held = clusters.as_ref().is_some_and(|clusters| clusters.known.contains_key(name));
            may_remove && (!held || view.get(CLUSTER, name).is_some())
        };
        self.pump_type(ENDPOINT, &eligible, turn);
        if let Some(clusters) = clusters {
            self.types.insert(clusters.type_url.clone(), clusters);
        }
    }

    /// Sends the next response of one type, if there is one; answers the names of the resources in it.
    fn pump_type(
        &mut self,
        type_url: &str,
        may_remove: &dyn Fn(&str) -> bool,
        turn: &mut Turn,
    ) -> Option<Vec<Arc<str>>> {
        let mut delivery = self.types.remove(type_url)?;
        let view = self.view_for(type_url);
        delivery.follow(&view);
        let max_bytes = self.bounds.max_response_bytes;
        let terms = Terms { view: &view, max_bytes, may_remove };
        let sent = delivery.select(&terms).map(|selected| {
            let names = selected.group.adds.iter().map(|entry| entry.name().clone()).collect();
            let response = self.send(&mut delivery, selected, turn.now_ms);
            turn.actions.push(response);
            names
        });
        self.types.insert(delivery.type_url.clone(), delivery);
        sent
    }

    /// Clusters and endpoints of the checkpoint are with the client.
    fn foundation_settled(&self) -> bool {
        let reached = |url: &str| self.types.get(url).is_none_or(|d| d.settled >= self.checkpoint.seq());
        let named =
            |name: &str| self.checkpoint.get(CLUSTER, name).is_some() && self.checkpoint.get(ENDPOINT, name).is_some();
        let cold = self.gating.iter().any(|name| named(name));
        reached(CLUSTER) && reached(ENDPOINT) && !cold
    }

    /// Routes of the checkpoint are with the client, or it had its chance.
    fn routing_settled(&self) -> bool {
        let seq = self.checkpoint.seq();
        let reached = |url: &str| self.types.get(url).is_none_or(|d| d.settled >= seq && !d.is_waiting());
        self.foundation_settled() && ROUTING_ORDER.iter().all(|url| reached(url))
    }

    /// Only a real ACK allows a removal: a client that refused or ignored the new routes still follows the old ones.
    fn may_remove_clusters(&self, now_ms: u64) -> bool {
        let seq = self.checkpoint.seq();
        let confirmed = |url: &str| self.types.get(url).is_none_or(|d| d.confirmed >= seq && !d.is_waiting());
        self.routing_settled() && ROUTING_ORDER.iter().all(|url| confirmed(url)) && self.routing_is_known(now_ms)
    }

    /// A client that comes back asks for clusters a moment before it asks for routes; until then nobody knows which routes it
    /// still follows, so nothing is taken away.
    fn routing_is_known(&self, now_ms: u64) -> bool {
        let subscribed = |url: &str| self.types.contains_key(url);
        (subscribed(LISTENER) && subscribed(ROUTE))
            || now_ms >= self.opened_ms.saturating_add(self.bounds.phase_timeout_ms)
    }

    /// Removals are held back only because the stream is young.
    pub(crate) fn waits_for_routing_types(&self) -> bool {
        let some_gone = [CLUSTER, ENDPOINT].iter().any(|url| self.types.get(*url).is_some_and(|d| !d.gone.is_empty()));
        some_gone && !self.grace_over && !self.routing_is_known(self.opened_ms)
    }

    /// The next state's turn, when the routes of this one arrived and what they replaced is taken away.
    fn move_checkpoint(&mut self, now_ms: u64) -> bool {
        self.grace_over |= now_ms >= self.opened_ms.saturating_add(self.bounds.phase_timeout_ms);
        if self.latest.seq() <= self.checkpoint.seq() || !self.routing_settled() {
            return false;
        }
        if self.may_remove_clusters(now_ms) && self.types.get(CLUSTER).is_some_and(|d| !d.gone.is_empty()) {
            return false;
        }
        self.checkpoint = self.latest.clone();
        for type_url in [CLUSTER, ENDPOINT] {
            let view = self.view_for(type_url);
            if let Some(delivery) = self.types.get_mut(type_url) {
                delivery.release_held_over(&view);
            }
        }
        true
    }

    /// Endpoints that are asked for after their cluster was sent, on this stream or unfinished on the one before, are sent in
    /// any case.
    pub(crate) fn joined(&mut self, delivery: &mut Delivery, first: bool) {
        if !first || types::tier(&delivery.type_url) != Tier::Endpoints {
            return;
        }
        let view = self.view_for(ENDPOINT);
        self.warming.begin_inherited(self.nonce);
        for name in self.warming.names() {
            if delivery.sub.wants(name) {
                delivery.forced.insert(name.clone());
                delivery.look_at(name.clone(), &view);
            }
        }
    }
}
