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
//! stream does not subscribe to has no phase. A NACK or a silence (see `Bounds::phase_timeout_ms`) ends a phase too.
use std::{collections::BTreeSet, sync::Arc};

use crate::{
    delivery::Delivery,
    log::GroupState,
    selection::Terms,
    stream::{Action, Stream, form},
    types::{self, CLUSTER, ENDPOINT, LISTENER, ROUTE, ROUTING_ORDER, Tier},
};

impl Stream {
    /// The state that a type is served from now.
    pub(crate) fn state_for(&self, type_url: &str) -> &Arc<GroupState> {
        match types::tier(type_url) {
            Tier::Clusters | Tier::Endpoints | Tier::Free => &self.latest,
            Tier::Routing => &self.checkpoint,
        }
    }

    /// Sends whatever may be sent now.
    pub(crate) fn pump(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        loop {
            let before = actions.len();
            self.pump_free(now_ms, actions);
            self.pump_clusters(now_ms, actions);
            self.pump_endpoints(now_ms, actions);
            if self.foundation_settled() {
                for type_url in ROUTING_ORDER {
                    self.pump_type(type_url, &|_| true, now_ms, actions);
                }
            }
            let moved = self.move_checkpoint(now_ms);
            if actions.len() == before && !moved {
                return;
            }
        }
    }

    fn pump_free(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let free: Vec<_> = self.types.keys().filter(|url| types::tier(url) == Tier::Free).cloned().collect();
        for type_url in free {
            self.pump_type(&type_url, &|_| true, now_ms, actions);
        }
    }

    fn pump_clusters(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let may_remove = self.may_remove_clusters(now_ms);
        let (checkpoint, latest) = (self.checkpoint.clone(), self.latest.clone());
        let eligible = |name: &str| may_remove && is_unused(name, &checkpoint, &latest);
        let Some(sent) = self.pump_type(CLUSTER, &eligible, now_ms, actions) else { return };
        self.push_endpoints_of(&sent, now_ms);
    }

    /// A client that is told of a cluster (again) warms it and waits for its endpoints, even those it was sent before
    /// (envoy #13009, #33607): so they follow every cluster.
    fn push_endpoints_of(&mut self, sent: &[Arc<str>], now_ms: u64) {
        let latest = self.latest.clone();
        let new = |name: &&Arc<str>| self.types.get(CLUSTER).is_none_or(|clusters| !clusters.known.contains_key(&***name));
        let new: BTreeSet<_> = sent.iter().filter(new).cloned().collect();
        let Some(endpoints) = self.types.get_mut(ENDPOINT) else { return };
        for name in sent.iter().filter(|name| latest.get(ENDPOINT, name).is_some()) {
            if endpoints.sub.wants(name) {
                endpoints.forced.insert(name.clone());
                endpoints.look_at(name.clone(), &latest);
            }
            if new.contains(name) {
                self.awaited.insert(name.clone());
                self.awaited_since_ms = now_ms;
            }
        }
    }

    fn pump_endpoints(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let may_remove = self.may_remove_clusters(now_ms);
        let (checkpoint, latest) = (self.checkpoint.clone(), self.latest.clone());
        // Endpoints go after their cluster: a client that still has the cluster keeps its endpoints.
        let clusters = self.types.remove(CLUSTER);
        let eligible = |name: &str| {
            let cluster_held = clusters.as_ref().is_some_and(|clusters| clusters.known.contains_key(name));
            may_remove && !cluster_held && latest.get(ENDPOINT, name).is_none() && checkpoint.get(CLUSTER, name).is_none()
        };
        self.pump_type(ENDPOINT, &eligible, now_ms, actions);
        if let Some(clusters) = clusters {
            self.types.insert(clusters.type_url.clone(), clusters);
        }
    }

    /// Sends the next response of one type, if there is one; answers the names of the resources in it.
    fn pump_type(
        &mut self,
        type_url: &str,
        may_remove: &dyn Fn(&str) -> bool,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Option<Vec<Arc<str>>> {
        let mut delivery = self.types.remove(type_url)?;
        let state = self.state_for(type_url).clone();
        delivery.follow(&state);
        let max_bytes = self.bounds.max_response_bytes;
        let terms = Terms { state: &state, max_bytes, may_remove, form: form(self.variant, type_url) };
        let sent = delivery.select(&terms).map(|selected| {
            let names = selected.group.adds.iter().map(|entry| entry.name().clone()).collect();
            actions.push(self.send(&mut delivery, selected, now_ms));
            names
        });
        self.types.insert(delivery.type_url.clone(), delivery);
        sent
    }

    /// Clusters and endpoints of the checkpoint are with the client.
    fn foundation_settled(&self) -> bool {
        let reached = |url: &str| self.types.get(url).is_none_or(|d| d.settled >= self.checkpoint.seq());
        reached(CLUSTER) && reached(ENDPOINT) && self.awaited.is_empty()
    }

    /// Routes of the checkpoint are with the client.
    fn routing_settled(&self) -> bool {
        let seq = self.checkpoint.seq();
        let reached = |url: &str| self.types.get(url).is_none_or(|d| d.settled >= seq && !d.is_waiting());
        self.foundation_settled() && ROUTING_ORDER.iter().all(|url| reached(url))
    }

    /// A client that comes back asks for clusters a moment before it asks for routes; until then nobody knows which routes it
    /// still follows, so nothing is taken away.
    fn routing_is_known(&self, now_ms: u64) -> bool {
        let subscribed = |url: &str| self.types.contains_key(url);
        (subscribed(LISTENER) && subscribed(ROUTE)) || now_ms >= self.opened_ms.saturating_add(self.bounds.phase_timeout_ms)
    }

    fn may_remove_clusters(&self, now_ms: u64) -> bool {
        self.routing_settled() && self.routing_is_known(now_ms)
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
        let removable = |d: &Delivery| d.gone.iter().any(|name| is_unused(name, &self.checkpoint, &self.latest));
        if self.routing_is_known(now_ms) && self.types.get(CLUSTER).is_some_and(removable) {
            return false;
        }
        self.checkpoint = self.latest.clone();
        true
    }

    /// A type was asked for. Endpoints that are asked for after their cluster was sent on this stream are sent in any case.
    pub(crate) fn joined(&mut self, delivery: &mut Delivery, first: bool) {
        if !first || types::tier(&delivery.type_url) != Tier::Endpoints {
            return;
        }
        let Some(clusters) = self.types.get(CLUSTER) else { return };
        let under_way = clusters.in_flight.iter().flat_map(|f| f.group.adds.iter().map(|entry| entry.name().clone()));
        let sent = clusters.known.iter().filter(|(_, known)| known.sent_here).map(|(name, _)| name.clone());
        for name in under_way.chain(sent).collect::<Vec<_>>() {
            if delivery.sub.wants(&name) {
                delivery.forced.insert(name.clone());
                delivery.look_at(name, &self.latest);
            }
        }
    }
}

/// Neither the routes that the client has now nor those that come next can name it.
fn is_unused(name: &str, checkpoint: &GroupState, latest: &GroupState) -> bool {
    checkpoint.get(CLUSTER, name).is_none() && latest.get(CLUSTER, name).is_none()
}
