//! What a delta request means (xds_protocol.rst, "Incremental xDS"). Each rule stands beside the line that holds it.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    delivery::{Delivery, Known},
    entry,
    stream::{Action, Answer, CloseCode, Stream, Turn, Variant},
};

/// `envoy.service.discovery.v3.DeltaDiscoveryRequest`, without what only the adapter needs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DeltaRequest {
    pub type_url: String,
    /// `response_nonce`.
    pub nonce: String,
    pub subscribe: Vec<String>,
    pub unsubscribe: Vec<String>,
    /// Counts only in the first request of a type.
    pub initial_versions: BTreeMap<String, String>,
    /// Text of `error_detail`.
    pub error: Option<String>,
}

impl Stream {
    /// A delta request arrived.
    pub fn on_delta(&mut self, request: &DeltaRequest, now_ms: u64) -> Vec<Action> {
        if self.variant != Variant::Delta {
            return Self::close(CloseCode::InvalidArgument, "a delta request on a state-of-the-world stream");
        }
        let names = request.subscribe.iter().chain(request.initial_versions.keys());
        if let Err(close) = self.check(&request.type_url, names, self.names_after(request)) {
            return close;
        }
        let mut turn = Turn::new(now_ms);
        let known_type = self.types.remove(request.type_url.as_str());
        let first = known_type.is_none();
        let mut delivery = known_type.unwrap_or_else(|| self.begin(&request.type_url, now_ms));
        // ACK or NACK. A stale nonce answers nothing...
        let answer = Answer { nonce: &request.nonce, error: request.error.as_deref() };
        self.answer(&mut delivery, &answer, &mut turn);
        // ... but the change of subscription in the same request must be honoured (unlike in state of the world).
        let change = delivery.sub.delta(&request.type_url, (&request.subscribe, &request.unsubscribe), first);
        if first {
            claim(&mut delivery, &request.initial_versions);
            // A wildcard that begins empty-handed is answered even when there is nothing: the client waits for it to start.
            delivery.answer_due = delivery.sub.is_wildcard() && request.initial_versions.is_empty();
        }
        let view = self.view_for(&delivery.type_url);
        let dropped = delivery.resubscribe(change, &view, first);
        self.dropped(&delivery.type_url, &dropped);
        delivery.follow(&view);
        self.joined(&mut delivery, first);
        self.types.insert(delivery.type_url.clone(), delivery);
        self.pump(&mut turn);
        turn.actions
    }

    /// How many names of the type are subscribed or claimed after this request. Exact when it matters: not below the bound.
    fn names_after(&self, request: &DeltaRequest) -> usize {
        let mut new: BTreeSet<_> = request.subscribe.iter().map(String::as_str).collect();
        let Some(delivery) = self.types.get(request.type_url.as_str()) else {
            new.extend(request.initial_versions.keys().map(String::as_str));
            return new.len();
        };
        let held = delivery.sub.names();
        if held.len() + new.len() <= self.bounds.max_names {
            return held.len() + new.len();
        }
        let dropped: BTreeSet<_> = request.unsubscribe.iter().map(String::as_str).collect();
        let stays = |name: &&Arc<str>| !new.contains(&***name) && !dropped.contains(&***name);
        new.len() + held.iter().filter(stays).count()
    }
}

/// A client that comes back says what it holds: what is still true is not sent again.
fn claim(delivery: &mut Delivery, initial_versions: &BTreeMap<String, String>) {
    for (name, version) in initial_versions {
        if delivery.sub.wants(name) {
            let name: Arc<str> = name.as_str().into();
            let fingerprint = entry::fingerprint(&name, version);
            delivery.know(name, Known { version: version.as_str().into(), certain: true, entry: None, fingerprint });
        }
    }
}
