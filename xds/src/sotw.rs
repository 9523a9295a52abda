//! What a state-of-the-world request means (xds_protocol.rst). Each rule stands beside the line that holds it.
use std::{collections::BTreeMap, sync::Arc};

use crate::{
    delivery::{Delivery, Group},
    entry::Entry,
    selection::Form,
    stream::{Action, Answer, CloseCode, Stream, Turn, Variant},
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

impl SotwRequest {
    fn answer(&self) -> Answer<'_> {
        Answer { nonce: &self.nonce, error: self.error.as_deref() }
    }
}

impl Stream {
    /// A state-of-the-world request arrived.
    pub fn on_sotw(&mut self, request: &SotwRequest, now_ms: u64) -> Vec<Action> {
        if self.variant != Variant::Sotw {
            return Self::close(CloseCode::InvalidArgument, "a state-of-the-world request on a delta stream");
        }
        // The list replaces the one before.
        if let Err(close) = self.check(&request.type_url, request.names.iter(), request.names.len()) {
            return close;
        }
        let known_type = self.types.remove(request.type_url.as_str());
        let first = known_type.is_none();
        let mut delivery = known_type.unwrap_or_else(|| self.begin(&request.type_url, now_ms));
        let mut turn = Turn::new(now_ms);
        // The names of a request with a stale nonce are ignored: the client sends another when it has read the newer response.
        if first || request.nonce == delivery.newest_nonce() {
            self.take(&mut delivery, request, &mut turn);
        } else {
            self.answer(&mut delivery, &request.answer(), &mut turn);
        }
        self.types.insert(delivery.type_url.clone(), delivery);
        self.pump(&mut turn);
        turn.actions
    }

    fn take(&mut self, delivery: &mut Delivery, request: &SotwRequest, turn: &mut Turn) {
        let first = delivery.is_new();
        // The nonce of a request that opens a stream belongs to an earlier one and says nothing.
        if !first {
            self.answer(delivery, &request.answer(), turn);
        }
        let change = delivery.sub.sotw(&request.type_url, &request.names, first);
        let view = self.view_for(&delivery.type_url);
        let full = delivery.form == Form::Full;
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
        let dropped = delivery.resubscribe(change, &view, false);
        self.dropped(&delivery.type_url, &dropped);
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
                self.keep_known(entry);
                self.gone.insert(entry.name().clone());
            }
        }
    }

    /// Resources and version of a state-of-the-world response: the whole state, or what changed, and the version of all that
    /// the client holds after it. What is not answered yet stands until it is refused.
    pub(crate) fn state_after(&self, group: &Group) -> (Vec<Arc<Entry>>, String) {
        let changed = self.on_the_way(group);
        let sum = changed.iter().fold(self.fingerprint, |sum, (name, entry)| {
            let before = self.known.get(*name).map_or(0, |known| known.fingerprint);
            sum.wrapping_sub(before).wrapping_add(entry.map_or(0, |entry| entry.fingerprint()))
        });
        let version = format!("{sum:032x}");
        if self.form != Form::Full {
            return (group.adds.clone(), version);
        }
        let mut all: BTreeMap<&Arc<str>, &Arc<Entry>> =
            self.known.iter().filter_map(|(name, known)| Some((name, known.entry.as_ref()?))).collect();
        for (name, entry) in changed {
            match entry {
                Some(entry) => all.insert(name, entry),
                None => all.remove(name),
            };
        }
        (all.into_values().cloned().collect(), version)
    }
}
