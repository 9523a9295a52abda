//! What the workers report, asked per model and version. Only leases of pools that exist count.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::objects::{Objects, model_of};
use crate::{
    ports::{VersionState, WorkerLease},
    snapshot::ObjectRef,
};

/// The live workers, in order, with the model that their pool serves.
#[derive(Debug)]
pub(super) struct Fleet<'a> {
    by_model: BTreeMap<ObjectRef, Vec<&'a WorkerLease>>,
    by_pool: BTreeMap<&'a ObjectRef, Vec<&'a WorkerLease>>,
    /// Versions that pools with replicas ask for, by model. A pool of none asks for nothing.
    declared: BTreeMap<ObjectRef, BTreeMap<String, BTreeSet<ObjectRef>>>,
}

fn state(worker: &WorkerLease, version: &str) -> Option<VersionState> {
    worker.versions.iter().find(|v| v.name == version).map(|v| v.state)
}

/// Whether a worker takes requests for a version now, and will go on to.
pub(super) fn serves(worker: &WorkerLease, version: &str) -> bool {
    worker.ready && state(worker, version) == Some(VersionState::Serving)
}

/// Whether a worker answers requests for a version now: also for a while after it was told to drop it, so that a route
/// which has not moved yet finds it.
fn answers(worker: &WorkerLease, version: &str) -> bool {
    worker.ready && matches!(state(worker, version), Some(VersionState::Serving | VersionState::Retiring))
}

impl<'a> Fleet<'a> {
    pub fn new(leases: &'a [WorkerLease], objects: &Objects<'_>) -> Self {
        let mut sorted: Vec<&WorkerLease> = leases.iter().collect();
        sorted.sort_by(|a, b| (&a.node_id, &a.incarnation, a.address).cmp(&(&b.node_id, &b.incarnation, b.address)));
        let mut fleet = Self { by_model: BTreeMap::new(), by_pool: BTreeMap::new(), declared: BTreeMap::new() };
        for worker in sorted {
            let Some(pool) = objects.pools.get(&worker.pool) else { continue };
            fleet.by_model.entry(model_of(pool)).or_default().push(worker);
            fleet.by_pool.entry(&worker.pool).or_default().push(worker);
        }
        for pool in objects.pools.values().filter(|pool| pool.spec.replicas > 0) {
            let versions = fleet.declared.entry(model_of(pool)).or_default();
            for version in &pool.spec.versions {
                versions.entry(version.clone()).or_default().insert(pool.name().clone());
            }
        }
        fleet
    }

    pub fn of_model(&self, model: &ObjectRef) -> &[&'a WorkerLease] {
        self.by_model.get(model).map_or(&[], Vec::as_slice)
    }

    pub fn of_pool(&self, pool: &ObjectRef) -> &[&'a WorkerLease] {
        self.by_pool.get(pool).map_or(&[], Vec::as_slice)
    }

    /// Whether a pool with replicas asks for this version.
    pub fn is_declared(&self, model: &ObjectRef, version: &str) -> bool {
        self.declared.get(model).is_some_and(|v| v.contains_key(version))
    }

    fn declares(&self, model: &ObjectRef, version: &str, pool: &ObjectRef) -> bool {
        self.declared.get(model).and_then(|v| v.get(version)).is_some_and(|pools| pools.contains(pool))
    }

    /// Addresses that serve a version, sorted.
    pub fn endpoints(&self, model: &ObjectRef, version: &str) -> Vec<SocketAddr> {
        let addresses: BTreeSet<SocketAddr> =
            self.of_model(model).iter().filter(|w| answers(w, version)).map(|w| w.address).collect();
        addresses.into_iter().collect()
    }

    /// What workers serve of a model.
    pub fn served(&self, model: &ObjectRef) -> BTreeSet<&'a str> {
        let serving = |w: &&'a WorkerLease| w.versions.iter().map(|v| v.name.as_str()).filter(|v| serves(w, v));
        self.of_model(model).iter().flat_map(serving).collect()
    }

    /// Whether a live worker of a pool that asks for it is still on the way to it.
    pub fn is_coming(&self, model: &ObjectRef, version: &str) -> bool {
        let on_the_way = |w: &&WorkerLease| {
            self.declares(model, version, &w.pool)
                && match state(w, version) {
                    Some(VersionState::Loading | VersionState::Retiring) => true,
                    Some(VersionState::Serving | VersionState::Draining | VersionState::Failed) => false,
                    // It takes requests, yet has not heard of this version: it will begin to load it.
                    None => w.ready,
                }
        };
        self.of_model(model).iter().any(on_the_way)
    }

    /// Whether a worker of a pool that asks for this version serves it.
    pub fn is_served_where_declared(&self, model: &ObjectRef, version: &str) -> bool {
        self.of_model(model).iter().any(|w| self.declares(model, version, &w.pool) && serves(w, version))
    }
}
