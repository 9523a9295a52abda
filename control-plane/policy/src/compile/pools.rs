//! What the workers of every pool keep loaded: what the pool asks for, and what is still routed and nowhere else.
use std::collections::BTreeMap;

use super::{
    fleet::{Fleet, serves},
    objects::{Objects, Read, model_of},
    release::Routed,
};
use crate::{
    kinds::{ModelSpec, ModelVersion, WorkerPoolSpec},
    names,
    snapshot::{ObjectRef, PlannedVersion, PoolPlan},
    validate::MAX_RETAINED,
};

/// One plan per pool. Its limits hold whether or not its model is there, because its workers may still have the weights.
pub(super) fn plans(objects: &Objects<'_>, fleet: &Fleet<'_>, routed: &Routed) -> BTreeMap<ObjectRef, PoolPlan> {
    let plan = |pool: &Read<'_, WorkerPoolSpec>| {
        let model = model_of(pool);
        let found = objects.models.get(&model);
        PoolPlan {
            pool: pool.name().clone(),
            generation: pool.object.generation,
            model_id: names::model_id(&model),
            versions: found.map(|found| versions(pool, found, fleet, routed)).unwrap_or_default(),
            model,
            spec: pool.spec.clone(),
            limits: Vec::new(),
        }
    };
    objects.pools.values().map(|pool| (pool.name().clone(), plan(pool))).collect()
}

/// Empty when the model has nothing that the pool asks for: a version that was taken out of its Model first must not be dropped
/// by workers that serve it.
fn versions(
    pool: &Read<'_, WorkerPoolSpec>,
    model: &Read<'_, ModelSpec>,
    fleet: &Fleet<'_>,
    routed: &Routed,
) -> Vec<PlannedVersion> {
    let name = model.name();
    let find = |version: &String| model.spec.versions.iter().find(|v| v.name == *version);
    let planned = |retained: bool| move |v: &ModelVersion| PlannedVersion { version: v.clone(), retained };
    let mut versions: Vec<_> = pool.spec.versions.iter().filter_map(find).map(planned(false)).collect();
    if versions.is_empty() {
        return versions;
    }
    let workers = fleet.of_pool(pool.name());
    let still_needed = routed.versions.get(name).into_iter().flatten().filter(|version| {
        !pool.spec.versions.contains(version)
            && workers.iter().any(|w| serves(w, version))
            && !fleet.is_served_where_declared(name, version)
    });
    versions.extend(still_needed.filter_map(find).take(MAX_RETAINED).map(planned(true)));
    versions
}
