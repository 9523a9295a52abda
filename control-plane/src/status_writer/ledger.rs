//! What each object's status has to become, compared with what the store is known to hold. Plans only: it writes nothing and
//! reads no clock.
use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use serde_json::Value;
use tidegate_policy::{
    ports::{ObjectKey, StoredObject},
    status::{Condition, ObjectStatus},
};

use super::{
    needs::Needs,
    programmed::{Nodes, ServedSince, is_doubt, programmed},
    ready::ready,
    troubles::Troubles,
};
use crate::compile_loop::Published;

/// A condition that holds goes on to hold this long while a node is only not heard: nodes come back from a restart, theirs or ours,
/// within it. A refusal, or a worker that is gone, is told at once. In docs/reference/kinds.md.
pub(super) const GRACE: TimeDelta = TimeDelta::seconds(2);

/// A status to be written.
#[derive(Clone, Debug)]
pub(super) struct Change<'a> {
    pub object: &'a StoredObject,
    pub status: ObjectStatus,
    /// The smaller, the earlier it is written.
    rank: u8,
}

/// What one pass found.
#[derive(Debug, Default)]
pub(super) struct Due<'a> {
    /// What is in use first, then what is new, then the rest.
    pub changes: Vec<Change<'a>>,
    /// When to look again although nothing changed: a grace ends.
    pub again: Option<DateTime<Utc>>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Ledger {
    served_since: ServedSince,
    held: BTreeMap<ObjectKey, Held>,
}

/// What the store holds of one object. What compile read is older than what was written since: a status alone wakes nobody.
struct Held {
    uid: u128,
    /// As compile read it last.
    read: Value,
    status: ObjectStatus,
    /// False when it may be another one: a write was not answered, or somebody else wrote.
    certain: bool,
    /// Since when conditions that hold are in doubt.
    doubted: Option<DateTime<Utc>>,
}

impl Held {
    fn new(object: &StoredObject) -> Self {
        let status = ObjectStatus::from_value(&object.status);
        // What this program would not write just so is written anew.
        let certain = serde_json::to_value(&status).is_ok_and(|same| same == object.status);
        Self { uid: object.uid.as_u128(), read: object.status.clone(), status, certain, doubted: None }
    }

    /// Compile read the object again.
    fn see(&mut self, object: &StoredObject) {
        if self.uid != object.uid.as_u128() {
            *self = Self::new(object);
        } else if self.read != object.status {
            self.certain &= self.status == ObjectStatus::from_value(&object.status);
            self.read.clone_from(&object.status);
        }
    }

    /// The condition that counts: the held one while its grace lasts; and when it became what it is.
    fn settle(&mut self, mut new: Condition, now: DateTime<Utc>) -> Condition {
        let Some(old) = self.status.condition(&new.condition_type) else { return new };
        let doubtful = is_doubt(&new) && old.holds() && old.observed_generation == new.observed_generation;
        if doubtful && now < *self.doubted.get_or_insert(now) + GRACE {
            return old.clone();
        }
        new.keep_time_of(old);
        new
    }
}

impl Ledger {
    /// Every status that differs from what is stored.
    pub fn due<'a>(
        &mut self,
        (published, troubles): (&'a Published, &Troubles),
        nodes: &dyn Nodes,
        now: DateTime<Utc>,
    ) -> Due<'a> {
        let needs = Needs::new(&published.snapshot);
        let second = now.trunc_subsecs(0);
        let mut due = Due::default();
        for object in published.objects.iter() {
            let Some(made) = published.statuses.get(&object.key) else { continue };
            let held = self.held.entry(object.key.clone()).or_insert_with(|| Held::new(object));
            held.see(object);
            let mut status = made.clone();
            troubles.add_to(&mut status, &object.key, &needs);
            let of = (object, &status, &needs);
            let programmed = programmed(of, (&mut self.served_since, nodes, troubles), second);
            let ready = ready(&status, &programmed, second);
            if !is_doubt(&programmed) && !is_doubt(&ready) {
                held.doubted = None;
            }
            for condition in &mut status.conditions {
                condition.last_transition_time = second;
            }
            status.set(programmed);
            status.set(ready);
            for condition in &mut status.conditions {
                *condition = held.settle(condition.clone(), now);
            }
            let grace_ends = held.doubted.map(|since| since + GRACE).filter(|end| *end > now);
            due.again = due.again.into_iter().chain(grace_ends).min();
            if !held.certain || status != held.status {
                let rank = match (needs.in_use(&object.key), held.status.observed_generation == object.generation) {
                    (true, _) => 0,
                    (false, false) => 1,
                    (false, true) => 2,
                };
                due.changes.push(Change { object, status, rank });
            }
        }
        due.changes.sort_by_key(|change| change.rank);
        self.served_since.retain(|key, _| published.statuses.contains_key(key));
        self.held.retain(|key, _| published.statuses.contains_key(key));
        due
    }

    /// A write of this object begins: until it is answered, nobody knows what is stored.
    pub fn begun(&mut self, key: &ObjectKey) {
        if let Some(held) = self.held.get_mut(key) {
            held.certain = false;
        }
    }

    /// The store has it.
    pub fn stored(&mut self, change: Change<'_>) {
        if let Some(held) = self.held.get_mut(&change.object.key) {
            (held.status, held.certain) = (change.status, true);
        }
    }
}
