//! What the workers of every pool keep loaded: what the pool asks for, and what is still routed and nowhere else.
use std::collections::BTreeMap;

use super::{
    fleet::{Fleet, serves},
    objects::{Objects, Read, model_of},
    release::Routed,
};
use crate::{
    kinds::{ModelSpec, WorkerPoolSpec},
    names,
    snapshot::{ObjectRef, PlannedVersion, PoolPlan},
};

/// One plan per pool whose model exists. A pool without its model has no plan: its workers keep what they have.
pub(super) fn plans(objects: &Objects<'_>, fleet: &Fleet<'_>, routed: &Routed) -> BTreeMap<ObjectRef, PoolPlan> {
    let pools = objects.pools.values();
    pools
        .filter_map(|pool| Some((pool.name().clone(), plan(pool, objects.models.get(&model_of(pool))?, fleet, routed))))
        .collect()
}

fn plan(pool: &Read<'_, WorkerPoolSpec>, model: &Read<'_, ModelSpec>, fleet: &Fleet<'_>, routed: &Routed) -> PoolPlan {
    let name = model.name();
    let find = |version: &String| model.spec.versions.iter().find(|v| v.name == *version);
    let mut versions: Vec<PlannedVersion> = pool
        .spec
        .versions
        .iter()
        .filter_map(find)
        .map(|v| PlannedVersion { version: v.clone(), retained: false })
        .collect();
    let workers = fleet.of_pool(pool.name());
    let still_needed = routed.versions.get(name).into_iter().flatten().filter(|version| {
        !pool.spec.versions.contains(version)
            && workers.iter().any(|w| serves(w, version))
            && !fleet.is_served_where_declared(name, version)
    });
    versions.extend(still_needed.filter_map(find).map(|v| PlannedVersion { version: v.clone(), retained: true }));
    PoolPlan {
        pool: pool.name().clone(),
        generation: pool.object.generation,
        model: name.clone(),
        model_id: names::model_id(name),
        spec: pool.spec.clone(),
        versions,
        limits: Vec::new(),
    }
}
