//! What an answer means for one type, however late it comes. Answers come in the order of the responses, so an answer to
//! one response says that the client is done with all before it: a state-of-the-world client may answer several with one
//! (Envoy does while it waits for endpoints). Until it is answered, nobody knows whether the client took a response.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    delivery::{Delivery, Group},
    entry::Entry,
    selection::Form,
};

/// Responses that were given up and are told apart; the oldest beyond it are merged.
const MAX_LATE: usize = 8;

/// A response that was sent and not answered.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub nonce: u64,
    /// The nonce of the oldest response that was merged into this one; its own as a rule.
    pub first_nonce: u64,
    pub group: Group,
    /// Answered well, everything up to here is delivered (0: it was only a part).
    pub covers: u64,
    pub sent_ms: u64,
    /// When the newest change in it was published, if it is a push and not an answer to a new subscription.
    pub published_ms: Option<u64>,
    /// A full state that may carry along what was refused since: its own refusal says nothing about its group.
    pub tainted: bool,
}

/// What an answer meant, and for which responses, the oldest first.
pub(crate) enum Verdict {
    /// Nobody waits for an answer with this nonce.
    Stale,
    Acked {
        answered: Vec<InFlight>,
    },
    /// `refused` are known to be bad; the rest is tried again in parts.
    Nacked {
        answered: Vec<InFlight>,
        refused: Vec<Arc<str>>,
    },
}

impl Delivery {
    /// The client answered the response with this nonce. An ACK costs as much as the response carried.
    pub fn answer(&mut self, nonce: u64, error: Option<&str>) -> Verdict {
        let (answered, given_up) = self.take_answered(nonce, error.is_some());
        if answered.is_empty() {
            return Verdict::Stale;
        }
        let refused = match error {
            None => {
                answered.iter().for_each(|response| self.accept(response));
                self.clear_error();
                None
            }
            Some(error) => Some(self.refuse(&answered, error)),
        };
        if given_up && answered.iter().all(|response| response.group.is_empty()) {
            // Nothing that was refused is wanted any more.
            self.clear_error();
        }
        // A later response may have changed again what this one brought or took away.
        let late = std::mem::take(&mut self.late);
        late.iter().for_each(|response| self.doubt(&response.group));
        self.late = late;
        for name in answered.iter().flat_map(|response| &response.group.removes) {
            if !self.may_hold(name) {
                self.gone.remove(name);
            }
        }
        match refused {
            None => Verdict::Acked { answered },
            Some(refused) => Verdict::Nacked { answered, refused },
        }
    }

    fn refuse(&mut self, answered: &[InFlight], error: &str) -> Vec<Arc<str>> {
        self.error = Some(error.to_owned());
        if self.form == Form::Full {
            self.late.iter_mut().chain(&mut self.in_flight).for_each(|newer| newer.tainted = true);
        }
        let group = merged(answered);
        if answered.last().is_some_and(|response| response.tainted) {
            self.doubt(&group);
            self.probes.push_front(group);
            return Vec::new();
        }
        self.split(&group, error)
    }

    /// Takes the response with this nonce and all before it off the lists; none when no answer to it is waited for. True
    /// when something in them was given up by name or taken away meanwhile: it is left out and does not come back.
    fn take_answered(&mut self, nonce: u64, refused: bool) -> (Vec<InFlight>, bool) {
        let awaited = self.in_flight.take_if(|response| response.nonce == nonce);
        // Merged responses are accepted by the answer to the last of them, and refused by the refusal of any.
        let is_answered =
            |late: &InFlight| late.nonce == nonce || (refused && (late.first_nonce..late.nonce).contains(&nonce));
        let late = match awaited {
            Some(_) => self.late.len(),
            None => self.late.iter().position(is_answered).map_or(0, |at| at + 1),
        };
        let mut answered: Vec<_> = self.late.drain(..late).collect();
        let mut given_up = false;
        for InFlight { group, .. } in &mut answered {
            let sent = group.adds.len();
            group.adds.retain(|entry| self.known.contains_key(entry.name()));
            given_up |= group.adds.len() < sent;
        }
        answered.extend(awaited);
        (answered, given_up)
    }

    /// The client has what a response carried.
    fn accept(&mut self, response: &InFlight) {
        for entry in &response.group.adds {
            if self.sub.wants(entry.name()) {
                self.keep_known(entry);
            }
        }
        for name in &response.group.removes {
            self.drop_known(name);
        }
        self.settled = self.settled.max(response.covers);
        if self.refused.is_empty() && self.probes.is_empty() {
            self.confirmed = self.confirmed.max(response.covers);
        }
    }

    /// Waits no longer for an answer that is older than `timeout_ms`: later phases go ahead, and what the response carried
    /// stays in doubt. True when that changed something.
    pub fn give_up(&mut self, now_ms: u64, timeout_ms: u64) -> bool {
        let overdue = |response: &mut InFlight| now_ms >= response.sent_ms.saturating_add(timeout_ms);
        let Some(response) = self.in_flight.take_if(overdue) else { return false };
        self.settled = self.settled.max(response.covers);
        self.doubt(&response.group);
        self.late.push_back(response);
        if self.late.len() > MAX_LATE {
            self.merge_oldest();
        }
        true
    }

    fn merge_oldest(&mut self) {
        let (Some(older), Some(mut newer)) = (self.late.pop_front(), self.late.pop_front()) else { return };
        newer.first_nonce = older.first_nonce;
        newer.tainted |= older.tainted;
        let both = [older, newer];
        let group = merged(&both);
        let [_, newer] = both;
        self.late.push_front(InFlight { group, ..newer });
    }

    /// This was sent last under its name, and the answer that is still to come decides.
    pub fn is_on_the_way(&self, entry: &Entry) -> bool {
        let last = self.late.iter().rev().find_map(|InFlight { group, .. }| {
            let added = group.adds.iter().find(|add| add.name() == entry.name());
            let removed = group.removes.contains(entry.name());
            added.map(|add| add.version() == entry.version()).or(removed.then_some(false))
        });
        last.unwrap_or(false)
    }

    /// What a full state may take back to what it was: in doubt since a refusal. What is in doubt only because it was not
    /// answered stands in every full state as it was sent.
    pub fn taken_back(&self) -> Vec<Arc<str>> {
        let groups = || self.late.iter().map(|response| &response.group);
        let added = groups().flat_map(|group| group.adds.iter().map(|entry| entry.name()));
        let as_sent: BTreeSet<_> = added.chain(groups().flat_map(|group| &group.removes)).collect();
        let doubtful = self.known.iter().filter(|(name, known)| !known.certain && !as_sent.contains(name));
        doubtful.map(|(name, _)| name.clone()).collect()
    }

    /// What is on its way to the client on top of what it is known to hold: the newest of each name, None for a removal.
    /// `next` is about to be sent.
    pub fn on_the_way<'a>(&'a self, next: &'a Group) -> BTreeMap<&'a Arc<str>, Option<&'a Arc<Entry>>> {
        let mut names = BTreeMap::new();
        for response in &self.late {
            let adds = response.group.adds.iter().filter(|entry| self.known.contains_key(entry.name()));
            names.extend(response.group.removes.iter().map(|name| (name, None)));
            names.extend(adds.map(|entry| (entry.name(), Some(entry))));
        }
        names.extend(next.removes.iter().map(|name| (name, None)));
        names.extend(next.adds.iter().map(|entry| (entry.name(), Some(entry))));
        names
    }
}

/// What several responses carried, the newest of each name.
fn merged(responses: &[InFlight]) -> Group {
    let (mut adds, mut removes) = (BTreeMap::new(), BTreeSet::new());
    for InFlight { group, .. } in responses {
        for name in &group.removes {
            adds.remove(name);
            removes.insert(name.clone());
        }
        for entry in &group.adds {
            removes.remove(entry.name());
            adds.insert(entry.name().clone(), entry.clone());
        }
    }
    Group { adds: adds.into_values().collect(), removes: removes.into_iter().collect() }
}
