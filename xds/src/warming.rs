//! Clusters that were sent and whose endpoints were not answered since. Looked up by name only: a client that does not ask
//! for endpoints (yet) leaves all its clusters here.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

#[derive(Default, Debug)]
pub(crate) struct Warming {
    /// With the nonce of the response that carried the cluster: an older answer of endpoints does not count.
    by_name: BTreeMap<Arc<str>, u64>,
    /// Clusters that were warming when the node's last stream ended, until endpoints are asked for.
    inherited: BTreeSet<Arc<str>>,
    /// The names of both for whoever reads them, made when they are asked for; None after a change.
    all: Option<Arc<BTreeSet<Arc<str>>>>,
}

impl Warming {
    /// Takes over what another stream left; before anything is sent.
    pub fn inherit(&mut self, names: BTreeSet<Arc<str>>) {
        self.inherited = names;
        self.all = None;
    }

    /// Nonce of the response that carried this cluster last.
    pub fn nonce(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }

    /// The response with this nonce carries the cluster.
    pub fn insert(&mut self, name: Arc<str>, nonce: u64) {
        if self.by_name.insert(name, nonce).is_none() {
            self.all = None;
        }
    }

    pub fn remove(&mut self, name: &str) {
        if self.by_name.remove(name).is_some() {
            self.all = None;
        }
    }

    /// What was inherited counts as sent by the response with this nonce. The names together stay the same.
    pub fn begin_inherited(&mut self, nonce: u64) {
        for name in std::mem::take(&mut self.inherited) {
            self.by_name.entry(name).or_insert(nonce);
        }
    }

    /// All names, the inherited ones too. O(1), and the same `Arc`, while nothing changes.
    pub fn all(&mut self) -> Arc<BTreeSet<Arc<str>>> {
        let (own, inherited) = (&self.by_name, &self.inherited);
        self.all.get_or_insert_with(|| Arc::new(own.keys().chain(inherited).cloned().collect())).clone()
    }
}
