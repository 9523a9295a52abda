//! What one stream reads of the published states. Clusters and endpoints come from the newest state, and those that the
//! checkpoint still needs from the checkpoint: its routes are on their way and must not arrive before their clusters.
use std::sync::Arc;

use crate::{entry::Entry, log::GroupState};

#[derive(Clone, Debug)]
pub(crate) struct View {
    pub newest: Arc<GroupState>,
    /// Older than `newest`; only what `newest` lacks is read from it.
    pub older: Option<Arc<GroupState>>,
}

impl View {
    pub fn get(&self, type_url: &str, name: &str) -> Option<&Arc<Entry>> {
        self.newest.get(type_url, name).or_else(|| self.older.as_ref()?.get(type_url, name))
    }

    /// The name is there only because of the older state.
    pub fn is_held_over(&self, type_url: &str, name: &str) -> bool {
        let older = || self.older.as_ref().is_some_and(|older| older.get(type_url, name).is_some());
        self.newest.get(type_url, name).is_none() && older()
    }

    /// All names of a type; some may come twice.
    pub fn names<'a>(&'a self, type_url: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        let older = self.older.iter().flat_map(move |older| older.of_type(type_url));
        self.newest.of_type(type_url).chain(older).map(|entry| entry.name())
    }
}
