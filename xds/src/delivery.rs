//! One type on one stream: what the client has, what is under way, what it refused. Shared by both variants.
//! Decides nothing about the order of types (that is `phases`), judges no answer (that is `answer`) and writes nothing
//! (that is `stream`).
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    answer::InFlight,
    entry::Entry,
    refusal::Quarantine,
    selection::Form,
    status::{SyncState, TypeStatus},
    subscription::{Change, Subscription},
    view::View,
};

/// What the client holds under a name.
#[derive(Debug)]
pub(crate) struct Known {
    pub version: Arc<str>,
    /// False after a response with this name was not answered in time, or was refused with others in it: a client may have
    /// taken it all the same.
    pub certain: bool,
    /// Kept in state-of-the-world only, where a resource must be repeated after it left the published set.
    pub entry: Option<Arc<Entry>>,
    /// Its part of [`Delivery::fingerprint`].
    pub fingerprint: u128,
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

/// See the module.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub type_url: Arc<str>,
    /// What a response can say.
    pub form: Form,
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
    pub refused: Quarantine,
    /// Parts of a refused response, each to be tried once by itself.
    pub probes: VecDeque<Group>,
    /// The response whose answer is waited for.
    pub in_flight: Option<InFlight>,
    /// Responses that were given up, the oldest first: nobody waits for the answers, but they count when they come.
    pub late: VecDeque<InFlight>,
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
    /// Sum of the fingerprints of what is known: the version of all of it together.
    pub fingerprint: u128,
    status_since: (SyncState, u64),
}

impl Delivery {
    pub fn new(type_url: &str, form: Form, now_ms: u64) -> Self {
        Self {
            type_url: type_url.into(),
            form,
            sub: Subscription::new(),
            known: BTreeMap::new(),
            dirty: BTreeSet::new(),
            forced: BTreeSet::new(),
            gone: BTreeSet::new(),
            held_over: BTreeSet::new(),
            refused: Quarantine::default(),
            probes: VecDeque::new(),
            in_flight: None,
            late: VecDeque::new(),
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
                if self.refused.remove(&name) {
                    self.clear_error();
                }
                self.dirty.remove(&name);
                if self.may_hold(&name) {
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

    /// Applies a change of subscription; answers the names that are not wanted any more. `claimed`: this is the first
    /// request of a stream that came back, and what the client claims to hold need not be sent again.
    pub fn resubscribe(&mut self, change: Change, view: &View, claimed: bool) -> BTreeSet<Arc<str>> {
        let mut dropped: BTreeSet<_> = change.dropped.into_iter().collect();
        if change.wildcard_ended {
            let all = self.known.keys().chain(&self.dirty).chain(&self.gone).chain(self.refused.names());
            dropped.extend(all.cloned());
        }
        // One request may give a name up and ask for it again.
        dropped.retain(|name| !self.sub.wants(name));
        dropped.iter().for_each(|name| self.forget(name));
        // Newly subscribed names are sent even when unchanged: the client may have dropped what it had.
        for name in change.added.into_iter().chain(change.still_held) {
            if !self.sub.wants(&name) {
                continue;
            }
            if !(claimed && self.known.contains_key(&name)) {
                self.refused.remove(&name);
                self.forced.insert(name.clone());
            }
            self.look_at(name, view);
        }
        if change.wildcard_began {
            self.look_at_everything(view);
        }
        dropped
    }

    /// The client does not want this name any more.
    fn forget(&mut self, name: &Arc<str>) {
        self.drop_known(name);
        self.dirty.remove(name);
        self.forced.remove(name);
        self.gone.remove(name);
        if self.refused.remove(name) {
            self.clear_error();
        }
    }

    pub fn drop_known(&mut self, name: &Arc<str>) {
        if let Some(known) = self.known.remove(name) {
            self.fingerprint = self.fingerprint.wrapping_sub(known.fingerprint);
        }
    }

    pub fn know(&mut self, name: Arc<str>, known: Known) {
        self.drop_known(&name);
        self.fingerprint = self.fingerprint.wrapping_add(known.fingerprint);
        self.known.insert(name, known);
    }

    pub fn keep_known(&mut self, entry: &Arc<Entry>) {
        let kept = (self.form != Form::Delta).then(|| entry.clone());
        let (version, fingerprint) = (entry.version().clone(), entry.fingerprint());
        self.know(entry.name().clone(), Known { version, certain: true, entry: kept, fingerprint });
    }

    /// The client has some version of this, or may have: a response with it is under way.
    pub fn may_hold(&self, name: &Arc<str>) -> bool {
        // `adds` is sorted by name.
        let carries = |f: &InFlight| f.group.adds.binary_search_by(|entry| entry.name().cmp(name)).is_ok();
        self.known.contains_key(name) || self.in_flight.as_ref().is_some_and(carries)
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
        self.in_flight.is_some()
    }

    /// Where this type stands.
    pub fn status(&mut self, now_ms: u64) -> TypeStatus {
        let answered = self.in_flight.is_none() && self.late.is_empty();
        let idle = answered && self.dirty.is_empty() && self.gone.is_empty() && self.probes.is_empty();
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
            refused: self.refused.rows(),
            since_ms: self.status_since.1,
        }
    }

    /// Version of everything that is known, together.
    pub fn version(&self) -> String {
        format!("{:032x}", self.fingerprint)
    }
}
