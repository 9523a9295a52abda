//! What a state-of-the-world request means (xds_protocol.rst). Each rule stands beside the line that holds it.
use std::{collections::BTreeMap, sync::Arc};

use crate::{
    delivery::{Delivery, Group},
    entry::Entry,
    selection::Form,
    stream::{Action, Answer, CloseCode, Stream, Turn, Variant, form},
    view::View,
};

/// `envoy.service.discovery.v3.DiscoveryRequest`, without what only the adapter needs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SotwRequest {
    pub type_url: String,
    /// `version_info`: what the client holds, by its last ACK.
    pub version: String,
    /// `response_nonce`.
    pub nonce: String,
    /// `resource_names`: the whole subscription.
    pub names: Vec<String>,
    /// Text of `error_detail`.
    pub error: Option<String>,
}

impl Stream {
    /// A state-of-the-world request arrived.
    pub fn on_sotw(&mut self, request: &SotwRequest, now_ms: u64) -> Vec<Action> {
        if self.variant != Variant::Sotw {
            return Self::close(CloseCode::InvalidArgument, "a state-of-the-world request on a delta stream");
        }
        if let Err(close) = self.check(&request.type_url, request.names.iter().map(String::as_str)) {
            return close;
        }
        let known_type = self.types.remove(request.type_url.as_str());
        let first = known_type.is_none();
        let mut delivery = known_type.unwrap_or_else(|| Delivery::new(request.type_url.as_str().into(), now_ms));
        let mut turn = Turn::new(now_ms);
        // A request with a stale nonce is ignored whole: the client sends another when it has read the newer response.
        if first || request.nonce == delivery.newest_nonce() {
            self.take(&mut delivery, request, &mut turn);
        }
        self.types.insert(delivery.type_url.clone(), delivery);
        self.pump(&mut turn);
        turn.actions
    }

    fn take(&mut self, delivery: &mut Delivery, request: &SotwRequest, turn: &mut Turn) {
        let first = delivery.is_new();
        // The nonce of a request that opens a stream belongs to an earlier one and says nothing.
        if !first {
            let answer = Answer { nonce: &request.nonce, error: request.error.as_deref() };
            self.answer(delivery, &answer, turn);
        }
        let change = delivery.sub.sotw(&request.type_url, &request.names, first);
        let view = self.view_for(&delivery.type_url);
        let full = form(Variant::Sotw, &delivery.type_url) == Form::Full;
        // CDS and LDS answer a new name even when it does not exist: what is absent does not exist.
        delivery.answer_due |= full && !change.added.is_empty();
        if first {
            // `version_info` of an earlier stream is not believed: a client that refused a response and took the good half of
            // it holds something that no version names. So a new stream begins with everything.
            delivery.answer_due = full || delivery.sub.is_wildcard();
            if full && !request.version.is_empty() {
                delivery.remember_removed(&view);
            }
        }
        delivery.resubscribe(change, &view, false);
        delivery.follow(&view);
        self.joined(delivery, first);
    }
}

impl Delivery {
    /// Nonce of the newest response, in the text form of the wire; empty before the first.
    fn newest_nonce(&self) -> String {
        self.newest.map(|nonce| format!("{nonce:x}")).unwrap_or_default()
    }

    /// A client came back with an older state, and nobody knows with which. What was taken away lately is kept in its
    /// first answer, or a cluster would vanish before the routes that lead to it.
    fn remember_removed(&mut self, view: &View) {
        let url = self.type_url.clone();
        for entry in view.newest.recently_removed(&url).filter(|entry| view.get(&url, entry.name()).is_none()) {
            if self.sub.wants(entry.name()) && !self.known.contains_key(entry.name()) {
                self.keep_known(entry, true);
                self.gone.insert(entry.name().clone());
            }
        }
    }

    /// Resources and version of a state-of-the-world response: the whole state, or what changed, and the version of all that
    /// the client holds after it.
    pub(crate) fn state_after(&self, group: &Group, full: bool) -> (Vec<Arc<Entry>>, String) {
        let mut sum = self.fingerprint;
        let known = |name: &Arc<str>| self.known.get(name).and_then(|known| known.entry.as_ref());
        for name in group.removes.iter().chain(group.adds.iter().map(|entry| entry.name())) {
            sum = sum.wrapping_sub(known(name).map_or(0, |entry| entry.fingerprint()));
        }
        sum = group.adds.iter().fold(sum, |sum, entry| sum.wrapping_add(entry.fingerprint()));
        let version = format!("{sum:032x}");
        if !full {
            return (group.adds.clone(), version);
        }
        let mut all: BTreeMap<&Arc<str>, &Arc<Entry>> =
            self.known.iter().filter_map(|(name, known)| Some((name, known.entry.as_ref()?))).collect();
        group.removes.iter().for_each(|name| {
            all.remove(name);
        });
        all.extend(group.adds.iter().map(|entry| (entry.name(), entry)));
        (all.into_values().cloned().collect(), version)
    }
}
