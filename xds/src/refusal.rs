//! What a NACK means for one type: which resources are tried again, which are put aside, what is not believed any more.
//! Sends nothing by itself: parts wait in `Delivery::probes`.
use std::{collections::BTreeMap, sync::Arc};

use crate::{
    delivery::{Delivery, Group, Known},
    entry::Entry,
    status::Refused,
    view::View,
};

/// What the client refused, by name, until it changes.
#[derive(Default, Debug)]
pub(crate) struct Quarantine {
    by_name: BTreeMap<Arc<str>, Refused>,
    /// The same for whoever reads the status, made when it is asked for; None after a change.
    rows: Option<Arc<Vec<Refused>>>,
}

impl Quarantine {
    pub fn get(&self, name: &str) -> Option<&Refused> {
        self.by_name.get(name)
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }

    fn insert(&mut self, row: Refused) {
        self.by_name.insert(row.name.clone(), row);
        self.rows = None;
    }

    /// True when it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let removed = self.by_name.remove(name).is_some();
        if removed {
            self.rows = None;
        }
        removed
    }

    /// All rows, by name. O(1) while nothing changes.
    pub fn rows(&mut self) -> Arc<Vec<Refused>> {
        self.rows.get_or_insert_with(|| Arc::new(self.by_name.values().cloned().collect())).clone()
    }
}

impl Delivery {
    /// A NACK names no resource reliably. What the error text mentions is tried one by one, the rest as one; without a hint
    /// the response is halved. A part of one resource that is refused again is the culprit: it is put aside until it
    /// changes. Every NACK makes the parts strictly smaller, so n resources cost at most 2n - 1 responses, then silence.
    pub fn split(&mut self, group: &Group, error: &str) -> Vec<Arc<str>> {
        let mut refused = Vec::new();
        if group.len() <= 1 {
            // A name that was given up meanwhile is nobody's trouble any more.
            for entry in group.adds.iter().filter(|entry| self.sub.wants(entry.name())) {
                let (name, version) = (entry.name().clone(), entry.version().clone());
                self.refused.insert(Refused { name: name.clone(), version, error: error.to_owned() });
                refused.push(name);
            }
            // The error of an empty response is nobody's and stays.
            if group.removes.is_empty() && !group.adds.is_empty() {
                self.clear_error();
            }
            // A refused removal is not repeated; the client keeps what it wants to keep.
            for name in &group.removes {
                self.drop_known(name);
            }
            return refused;
        }
        self.doubt(group);
        let part = |adds: &[Arc<Entry>], removes: &[Arc<str>]| Group { adds: adds.to_vec(), removes: removes.to_vec() };
        let mut parts = Vec::new();
        let (named, rest): (Vec<_>, Vec<_>) = group.adds.iter().cloned().partition(|e| mentions(error, e.name()));
        if !group.removes.is_empty() && !group.adds.is_empty() {
            parts.extend([part(&group.adds, &[]), part(&[], &group.removes)]);
        } else if !named.is_empty() && !rest.is_empty() {
            parts.push(part(&rest, &[]));
            parts.extend(named.iter().map(|entry| part(std::slice::from_ref(entry), &[])));
        } else {
            let (adds, removes) = (group.adds.len() / 2, group.removes.len() / 2);
            parts.push(part(&group.adds[..adds], &group.removes[..removes]));
            parts.push(part(&group.adds[adds..], &group.removes[removes..]));
        }
        parts.into_iter().rev().for_each(|part| self.probes.push_front(part));
        refused
    }

    /// A refusal that came when something else was published already says nothing about what is published now.
    pub fn forgive_outdated(&mut self, refused: &[Arc<str>], view: &View) {
        let url = self.type_url.clone();
        for name in refused {
            let now = view.get(&url, name).map(|entry| entry.version());
            if self.refused.get(name).is_some_and(|row| Some(&row.version) != now) {
                self.refused.remove(name);
                self.clear_error();
            }
        }
    }

    /// What the client holds of these is not known any more.
    pub fn doubt(&mut self, group: &Group) {
        for entry in group.adds.iter().filter(|entry| self.sub.wants(entry.name())) {
            let unknown = || Known { version: "".into(), certain: false, entry: None, fingerprint: 0 };
            self.known.entry(entry.name().clone()).or_insert_with(unknown).certain = false;
        }
        for name in &group.removes {
            self.known.entry(name.clone()).and_modify(|known| known.certain = false);
        }
    }
}

/// True when `text` holds `name` as a whole word: not as a part of a longer name.
fn mentions(text: &str, name: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/');
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let mut after = text[at + name.len()..].chars();
        // A full stop ends a sentence, or goes on with a longer name.
        let continues = match after.next() {
            Some('.') => after.next().is_some_and(part_of_name),
            Some(c) => part_of_name(c),
            None => false,
        };
        !continues && !before.is_some_and(|c| part_of_name(c) || c == '.')
    })
}
