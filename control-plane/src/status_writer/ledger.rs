//! What each object's status has to become, compared with what the store is known to hold. Plans only: it writes nothing and
//! reads no clock.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tidegate_policy::{
    ports::{ObjectKey, StoredObject},
    status::{ObjectStatus, PROGRAMMED},
};

use super::programmed::{Nodes, ServedSince, programmed};
use crate::compile_loop::Published;

/// A status to be written.
#[derive(Clone, Debug)]
pub(super) struct Change<'a> {
    pub object: &'a StoredObject,
    pub status: Value,
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
    status: Value,
    /// False when it may be another one: a write was not answered, or somebody else wrote.
    certain: bool,
}

impl Held {
    fn new(object: &StoredObject) -> Self {
        Self { uid: object.uid.as_u128(), read: object.status.clone(), status: object.status.clone(), certain: true }
    }

    /// Compile read the object again.
    fn see(&mut self, object: &StoredObject) {
        if self.uid != object.uid.as_u128() {
            *self = Self::new(object);
        } else if self.read != object.status {
            self.certain &= self.status == object.status;
            self.read.clone_from(&object.status);
        }
    }
}

impl Ledger {
    /// Every status that differs from what is stored.
    pub fn due<'a>(&mut self, published: &'a Published, nodes: &dyn Nodes, now: DateTime<Utc>) -> Vec<Change<'a>> {
        let mut due = Vec::new();
        for object in published.objects.iter() {
            let Some(made) = published.statuses.get(&object.key) else { continue };
            let held = self.held.entry(object.key.clone()).or_insert_with(|| Held::new(object));
            held.see(object);
            let subject = (object, made, published.snapshot.as_ref());
            let mut condition = programmed(subject, (&mut self.served_since, nodes), now);
            // The transition time is that of the stored condition, unless its status changes now.
            let old = ObjectStatus::from_value(&held.status);
            if let Some(old) = old.condition(PROGRAMMED).filter(|old| old.status == condition.status) {
                condition.last_transition_time = old.last_transition_time;
            }
            let mut status = made.clone();
            status.conditions.retain(|other| other.condition_type != PROGRAMMED);
            status.conditions.push(condition);
            let Ok(status) = serde_json::to_value(&status) else { continue };
            if !held.certain || status != held.status {
                due.push(Change { object, status });
            }
        }
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
