//! What every node group is served, and what changed when. Immutable once made: many streams read one `Arc`.
//! A reader with a cursor pays for what changed since, not for what exists. Never waits, never knows who reads.
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    entry::Entry,
    resources::{ResourceSet, TypeUrl},
};

/// Batches kept in a group's log at most.
const MAX_BATCHES: usize = 1024;
/// The log of a group names at most this many changes, or as many as there are resources if that is more: beyond it, reading
/// everything is cheaper than reading the log.
const MIN_LOGGED_NAMES: usize = 256;

/// All node groups at one moment. `Hub::default()` was never published: servers answer "not ready".
#[derive(Clone, Default, Debug)]
pub struct Hub {
    seq: u64,
    groups: BTreeMap<String, Arc<GroupState>>,
}

impl Hub {
    /// The hub after these sets replaced all groups; None when nothing is different. Groups that are not named are gone,
    /// and their streams are served nothing. `now_ms` is kept to measure how long a push takes. O(resources).
    #[must_use]
    pub fn publish(&self, sets: BTreeMap<String, ResourceSet>, now_ms: u64) -> Option<Hub> {
        let seq = self.seq + 1;
        let mut changed = self.seq == 0 || self.groups.keys().any(|name| !sets.contains_key(name));
        let mut groups = BTreeMap::new();
        for (name, set) in sets {
            let old = self.groups.get(&name);
            let base = old.cloned().unwrap_or_else(|| Arc::new(GroupState::empty(seq)));
            let state = match base.advance(set, seq, now_ms) {
                Some(next) => Arc::new(next),
                None => base,
            };
            changed |= old.is_none_or(|old| !Arc::ptr_eq(old, &state));
            groups.insert(name, state);
        }
        changed.then_some(Hub { seq, groups })
    }

    /// Sequence number of the newest publication; 0 before the first.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// True once something (even nothing at all) was published.
    pub fn is_ready(&self) -> bool {
        self.seq > 0
    }

    /// What a group is served. A group that does not exist is served nothing.
    pub fn group(&self, name: &str) -> Arc<GroupState> {
        self.groups.get(name).cloned().unwrap_or_else(|| Arc::new(GroupState::empty(self.seq)))
    }
}

type Entries = BTreeMap<Arc<str>, Arc<Entry>>;

/// One publication's changes.
#[derive(Debug)]
struct Batch {
    seq: u64,
    names: BTreeMap<TypeUrl, Vec<Arc<str>>>,
    /// What was taken away: a client that comes back may still route to it.
    removed: BTreeMap<TypeUrl, Vec<Arc<Entry>>>,
    count: usize,
}

/// Everything that one group is served, with its change log.
#[derive(Clone, Debug)]
pub struct GroupState {
    seq: u64,
    published_ms: u64,
    types: BTreeMap<TypeUrl, Arc<Entries>>,
    log: VecDeque<Arc<Batch>>,
    /// Cursors below this are too old for the log.
    floor: u64,
}

impl GroupState {
    /// A group with nothing in it, as of `seq`.
    pub fn empty(seq: u64) -> Self {
        Self { seq, published_ms: 0, types: BTreeMap::new(), log: VecDeque::new(), floor: seq }
    }

    /// Sequence number of the publication that changed this group last: the "generation" that a node can have ACKed.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// When that was.
    pub fn published_ms(&self) -> u64 {
        self.published_ms
    }

    /// One resource.
    pub fn get(&self, type_url: &str, name: &str) -> Option<&Arc<Entry>> {
        self.types.get(type_url)?.get(name)
    }

    /// All resources of a type, by name.
    pub fn of_type(&self, type_url: &str) -> impl Iterator<Item = &Arc<Entry>> {
        self.types.get(type_url).into_iter().flat_map(|entries| entries.values())
    }

    /// Number of resources of a type.
    pub fn count(&self, type_url: &str) -> usize {
        self.types.get(type_url).map_or(0, |entries| entries.len())
    }

    /// Names that changed after `cursor` (one may come more than once); None when the log does not reach back so far and
    /// the reader has to look at everything. O(changed + log n).
    pub fn changes_since<'a>(&'a self, type_url: &'a str, cursor: u64) -> Option<impl Iterator<Item = &'a Arc<str>>> {
        if cursor < self.floor {
            return None;
        }
        let from = self.log.partition_point(|batch| batch.seq <= cursor);
        Some(self.log.range(from..).flat_map(move |batch| batch.names.get(type_url).into_iter().flatten()))
    }

    /// Resources that were taken away within the reach of the log and are not back, the newest form of each first.
    pub(crate) fn recently_removed<'a>(&'a self, type_url: &'a str) -> impl Iterator<Item = &'a Arc<Entry>> {
        let removed = self.log.iter().rev().flat_map(move |batch| batch.removed.get(type_url).into_iter().flatten());
        removed.filter(move |entry| self.get(type_url, entry.name()).is_none())
    }

    fn advance(&self, set: ResourceSet, seq: u64, now_ms: u64) -> Option<Self> {
        let mut batch = Batch { seq, names: BTreeMap::new(), removed: BTreeMap::new(), count: 0 };
        let mut types = BTreeMap::new();
        for (url, old) in &self.types {
            let stays = |name: &str| set.of_type(url).is_some_and(|new| new.contains_key(name));
            let gone: Vec<_> = old.values().filter(|entry| !stays(entry.name())).cloned().collect();
            if !gone.is_empty() {
                batch.count += gone.len();
                batch.names.insert(url, gone.iter().map(|entry| entry.name().clone()).collect());
                batch.removed.insert(url, gone);
            }
        }
        for (url, resources) in set.iter() {
            let old = self.types.get(url);
            let mut entries = Entries::new();
            for (name, resource) in resources {
                let same = old.and_then(|old| old.get(name.as_str())).filter(|e| **e.version() == *resource.version);
                let entry = same.cloned().unwrap_or_else(|| {
                    let entry = Arc::new(Entry::new(url, name, resource));
                    batch.names.entry(url).or_default().push(entry.name().clone());
                    batch.count += 1;
                    entry
                });
                entries.insert(entry.name().clone(), entry);
            }
            let unchanged = old.filter(|_| !batch.names.contains_key(url));
            types.insert(url, unchanged.cloned().unwrap_or_else(|| Arc::new(entries)));
        }
        if batch.count == 0 {
            return None;
        }
        let mut log = self.log.clone();
        log.push_back(Arc::new(batch));
        let mut next = Self { seq, published_ms: now_ms, types, log, floor: self.floor };
        next.compact();
        Some(next)
    }

    fn compact(&mut self) {
        let live: usize = self.types.values().map(|entries| entries.len()).sum();
        let room = live.max(MIN_LOGGED_NAMES);
        let mut logged: usize = self.log.iter().map(|batch| batch.count).sum();
        while logged > room || self.log.len() > MAX_BATCHES {
            let Some(oldest) = self.log.pop_front() else { break };
            logged -= oldest.count;
            self.floor = oldest.seq;
        }
    }
}
