//! One type on one stream: what the client has, what is under way, what it refused. Shared by both variants.
//! Decides nothing about the order of types (that is `phases`) and writes nothing (that is `stream`).
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    entry::Entry,
    status::{Refused, SyncState, TypeStatus},
    subscription::{Change, Subscription},
    view::View,
};

/// What the client holds under a name.
#[derive(Debug)]
pub(crate) struct Known {
    pub version: Arc<str>,
    /// False after a response with this name and others was refused: a client may have taken the good ones all the same.
    pub certain: bool,
    /// Kept in state-of-the-world only, where a resource must be repeated after it left the published set.
    pub entry: Option<Arc<Entry>>,
}

/// Resources that travel in one response.
#[derive(Clone, Default, Debug)]
pub(crate) struct Group {
    pub adds: Vec<Arc<Entry>>,
    pub removes: Vec<Arc<str>>,
}

impl Group {
    pub fn is_empty(&self) -> bool {
        self.adds.is_empty() && self.removes.is_empty()
    }

    pub fn len(&self) -> usize {
        self.adds.len() + self.removes.len()
    }
}

/// A response that was sent and not answered.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub nonce: u64,
    pub group: Group,
    /// Answered well, everything up to here is delivered (0: it was only a part).
    pub covers: u64,
    pub sent_ms: u64,
    /// Nobody waits for the answer any more; it still counts when it comes.
    pub gave_up: bool,
    /// When the newest change in it was published, if it is a push and not an answer to a new subscription.
    pub published_ms: Option<u64>,
}

/// What an answer meant.
pub(crate) enum Verdict {
    /// The nonce is of an older response.
    Stale,
    Acked {
        in_flight: InFlight,
    },
    /// `refused` are known to be bad; the rest of the response is tried again in parts.
    Nacked {
        in_flight: InFlight,
        refused: Vec<Arc<str>>,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub type_url: Arc<str>,
    pub sub: Subscription,
    pub known: BTreeMap<Arc<str>, Known>,
    /// Names to compare with the published state.
    pub dirty: BTreeSet<Arc<str>>,
    /// Names to send even when the client has that version.
    pub forced: BTreeSet<Arc<str>>,
    /// Names that left what is published while the client holds them.
    pub gone: BTreeSet<Arc<str>>,
    /// Names that are served only because the checkpoint needs them.
    pub held_over: BTreeSet<Arc<str>>,
    pub refused: BTreeMap<Arc<str>, Refused>,
    /// Parts of a refused response, each to be tried once by itself.
    pub probes: VecDeque<Group>,
    pub in_flight: Option<InFlight>,
    /// Published state when the type was subscribed: what was published before is no push.
    pub joined: u64,
    /// Published state that `dirty` was worked out from.
    pub cursor: u64,
    /// Gate for later tiers: all up to here was ACKed, refused or given up on.
    pub settled: u64,
    /// Honest: all up to here was ACKed.
    pub confirmed: u64,
    /// The client waits for an answer even if there is nothing in it.
    pub answer_due: bool,
    /// Nonce of the newest response.
    pub newest: Option<u64>,
    pub error: Option<String>,
    /// Sum of the fingerprints of what is known, for the version of a state-of-the-world response.
    pub fingerprint: u128,
    status_since: (SyncState, u64),
}

impl Delivery {
    pub fn new(type_url: Arc<str>, now_ms: u64) -> Self {
        Self {
            type_url,
            sub: Subscription::new(),
            known: BTreeMap::new(),
            dirty: BTreeSet::new(),
            forced: BTreeSet::new(),
            gone: BTreeSet::new(),
            held_over: BTreeSet::new(),
            refused: BTreeMap::new(),
            probes: VecDeque::new(),
            in_flight: None,
            joined: 0,
            cursor: 0,
            settled: 0,
            confirmed: 0,
            answer_due: false,
            newest: None,
            error: None,
            fingerprint: 0,
            status_since: (SyncState::NotSent, now_ms),
        }
    }

    /// Brings `dirty` and `gone` up to what is published. O(changed); O(everything) when the log does not reach back.
    pub fn follow(&mut self, view: &View) {
        let state = &view.newest;
        if state.seq() <= self.cursor && self.cursor > 0 {
            return;
        }
        let url = self.type_url.clone();
        match state.changes_since(&url, self.cursor).filter(|_| self.cursor > 0) {
            Some(names) => {
                for name in names {
                    if self.sub.wants(name) {
                        self.look_at(name.clone(), view);
                    }
                }
            }
            None => self.look_at_everything(view),
        }
        if self.cursor == 0 {
            self.joined = state.seq();
        }
        self.cursor = state.seq();
    }

    /// Nothing was asked for yet.
    pub fn is_new(&self) -> bool {
        self.cursor == 0
    }

    /// Compares one name with what is published.
    pub fn look_at(&mut self, name: Arc<str>, view: &View) {
        let url = self.type_url.clone();
        if view.is_held_over(&url, &name) {
            self.held_over.insert(name.clone());
        }
        match view.get(&url, &name) {
            Some(entry) => {
                self.gone.remove(&name);
                // A refused resource comes back to life when it changes.
                if self.refused.get(&name).is_some_and(|refused| refused.version != *entry.version()) {
                    self.refused.remove(&name);
                    self.clear_error();
                }
                self.dirty.insert(name);
            }
            None => {
                if self.refused.remove(&name).is_some() {
                    self.clear_error();
                }
                self.dirty.remove(&name);
                // `adds` is sorted by name.
                let holds = |f: &InFlight| f.group.adds.binary_search_by(|entry| entry.name().cmp(&name)).is_ok();
                if self.known.contains_key(&name) || self.in_flight.as_ref().is_some_and(holds) {
                    self.gone.insert(name);
                } else if self.forced.contains(&name) {
                    self.dirty.insert(name);
                }
            }
        }
    }

    /// The checkpoint moved: what was kept only for it may be gone now.
    pub fn release_held_over(&mut self, view: &View) {
        for name in std::mem::take(&mut self.held_over) {
            if self.sub.wants(&name) {
                self.look_at(name, view);
            }
        }
    }

    fn look_at_everything(&mut self, view: &View) {
        let known = self.known.keys().cloned();
        let named = self.sub.names().iter().cloned();
        let mut names: BTreeSet<_> = known.chain(named).collect();
        if self.sub.is_wildcard() {
            names.extend(view.names(&self.type_url).cloned());
        }
        names.into_iter().for_each(|name| self.look_at(name, view));
    }

    /// Applies a change of subscription. `claimed`: this is the first request of a stream that came back, and what the
    /// client claims to hold need not be sent again.
    pub fn resubscribe(&mut self, change: Change, view: &View, claimed: bool) {
        for name in change.dropped {
            self.forget(&name);
        }
        if change.wildcard_ended {
            let unheld: Vec<_> = self.known.keys().filter(|name| !self.sub.wants(name)).cloned().collect();
            unheld.iter().for_each(|name| self.forget(name));
            let unheld: Vec<_> = self.dirty.iter().filter(|name| !self.sub.wants(name)).cloned().collect();
            unheld.iter().for_each(|name| self.forget(name));
        }
        // Newly subscribed names are sent even when unchanged: the client may have dropped what it had.
        for name in change.added.into_iter().chain(change.still_held) {
            if !(claimed && self.known.contains_key(&name)) {
                self.refused.remove(&name);
                self.forced.insert(name.clone());
            }
            self.look_at(name, view);
        }
        if change.wildcard_began {
            self.look_at_everything(view);
        }
    }

    /// The client does not want this name any more.
    fn forget(&mut self, name: &Arc<str>) {
        self.drop_known(name);
        self.dirty.remove(name);
        self.forced.remove(name);
        self.gone.remove(name);
        self.refused.remove(name);
    }

    pub fn drop_known(&mut self, name: &Arc<str>) {
        if let Some(known) = self.known.remove(name) {
            self.fingerprint = self.fingerprint.wrapping_sub(known.entry.map_or(0, |e| e.fingerprint()));
        }
    }

    pub fn keep_known(&mut self, entry: &Arc<Entry>, keep_entry: bool) {
        self.drop_known(entry.name());
        self.fingerprint = self.fingerprint.wrapping_add(if keep_entry { entry.fingerprint() } else { 0 });
        let known = Known { version: entry.version().clone(), certain: true, entry: keep_entry.then(|| entry.clone()) };
        self.known.insert(entry.name().clone(), known);
    }

    /// The client answered the response with this nonce. An ACK costs as much as the response carried.
    pub fn answer(&mut self, nonce: u64, error: Option<&str>, keep_entries: bool) -> Verdict {
        let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.nonce == nonce) else {
            return Verdict::Stale;
        };
        match error {
            None => {
                self.accept(&in_flight.group, keep_entries);
                self.clear_error();
                self.settled = self.settled.max(in_flight.covers);
                if self.refused.is_empty() && self.probes.is_empty() {
                    self.confirmed = self.confirmed.max(in_flight.covers);
                }
                Verdict::Acked { in_flight }
            }
            Some(error) => {
                self.error = Some(error.to_owned());
                let refused = self.split(&in_flight.group, error);
                Verdict::Nacked { in_flight, refused }
            }
        }
    }

    /// The client has (or, after a long silence, is taken to have) what a response carried.
    pub fn accept(&mut self, group: &Group, keep_entries: bool) {
        for entry in &group.adds {
            if self.sub.wants(entry.name()) {
                self.keep_known(entry, keep_entries);
            }
        }
        for name in &group.removes {
            self.drop_known(name);
            self.gone.remove(name);
        }
    }

    /// The client is known to have some version of this.
    pub fn holds(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|known| known.certain)
    }

    pub fn clear_error(&mut self) {
        if self.refused.is_empty() && self.probes.is_empty() {
            self.error = None;
        }
    }

    /// True when something was sent whose answer is still waited for.
    pub fn is_waiting(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|in_flight| !in_flight.gave_up)
    }

    /// Waits no longer for an answer that is older than `timeout_ms`. True when that changed something.
    pub fn give_up(&mut self, now_ms: u64, timeout_ms: u64, keep_entries: bool) -> bool {
        let late = self.in_flight.as_mut().filter(|f| !f.gave_up && now_ms >= f.sent_ms.saturating_add(timeout_ms));
        let Some(in_flight) = late else { return false };
        in_flight.gave_up = true;
        self.settled = self.settled.max(in_flight.covers);
        let group = in_flight.group.clone();
        self.accept(&group, keep_entries);
        true
    }

    /// Where this type stands.
    pub fn status(&mut self, now_ms: u64) -> TypeStatus {
        let idle = self.in_flight.is_none() && self.dirty.is_empty() && self.gone.is_empty() && self.probes.is_empty();
        let state = if !self.refused.is_empty() || self.error.is_some() {
            SyncState::Nacked
        } else if self.newest.is_none() && self.known.is_empty() {
            SyncState::NotSent
        } else if idle {
            SyncState::Synced
        } else {
            SyncState::Stale
        };
        if state != self.status_since.0 {
            self.status_since = (state, now_ms);
        }
        TypeStatus {
            type_url: self.type_url.clone(),
            state,
            version: self.version(),
            generation: self.confirmed,
            resources: self.known.len(),
            error: self.error.clone(),
            refused: self.refused.values().cloned().collect(),
            since_ms: self.status_since.1,
        }
    }

    /// Version of everything that is known, together.
    pub fn version(&self) -> String {
        format!("{:032x}", self.fingerprint)
    }
}
