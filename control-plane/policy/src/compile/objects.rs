//! The stored objects, parsed and put in order. An object that no longer parses is kept aside with its mistakes.
use std::collections::BTreeMap;

use crate::{
    kinds::{Kind, ModelSpec, RateLimitPolicySpec, ReleasePolicySpec, WorkerPoolSpec},
    ports::{ObjectKey, StoredObject},
    reject::Rejections,
    snapshot::ObjectRef,
    status::ObjectStatus,
    validate::{Spec, parse_stored},
};

/// A stored object with its parsed spec.
#[derive(Debug)]
pub(super) struct Read<'a, S> {
    pub object: &'a StoredObject,
    pub spec: S,
    /// The status before this compile.
    pub status: ObjectStatus,
}

impl<S> Read<'_, S> {
    pub fn name(&self) -> &ObjectRef {
        &self.object.key.object
    }
}

/// Everything that parses, by kind; policies from the oldest to the youngest, then by name.
#[derive(Debug, Default)]
pub(super) struct Objects<'a> {
    pub models: BTreeMap<ObjectRef, Read<'a, ModelSpec>>,
    pub pools: BTreeMap<ObjectRef, Read<'a, WorkerPoolSpec>>,
    pub releases: Vec<Read<'a, ReleasePolicySpec>>,
    pub limits: Vec<Read<'a, RateLimitPolicySpec>>,
    pub broken: Vec<(&'a StoredObject, Rejections)>,
    /// Pools of every model, by name.
    pools_of: BTreeMap<ObjectRef, Vec<ObjectRef>>,
    /// Places in `releases` of the policies about every model.
    releases_of: BTreeMap<ObjectRef, Vec<usize>>,
}

impl<'a> Objects<'a> {
    pub fn read(stored: &'a [StoredObject]) -> Self {
        let mut by_key: BTreeMap<&ObjectKey, &StoredObject> = BTreeMap::new();
        for object in stored {
            let kept = by_key.entry(&object.key).or_insert(object);
            if (object.revision, object.uid) > (kept.revision, kept.uid) {
                *kept = object;
            }
        }
        let mut all = Self::default();
        for object in by_key.into_values() {
            match parse_stored(object.key.kind, &object.spec) {
                Ok(spec) => all.add(object, spec),
                Err(rejections) => all.broken.push((object, rejections)),
            }
        }
        all.releases.sort_by_key(|r| (r.object.created_at, r.object.key.object.clone()));
        all.limits.sort_by_key(|r| (r.object.created_at, r.object.key.object.clone()));
        for pool in all.pools.values() {
            all.pools_of.entry(model_of(pool)).or_default().push(pool.name().clone());
        }
        for (place, release) in all.releases.iter().enumerate() {
            all.releases_of.entry(target_of(release)).or_default().push(place);
        }
        all
    }

    fn add(&mut self, object: &'a StoredObject, spec: Spec) {
        let status = ObjectStatus::from_value(&object.status);
        let name = object.key.object.clone();
        debug_assert_eq!(object.key.kind, spec.kind());
        match spec {
            Spec::Model(spec) => {
                self.models.insert(name, Read { object, spec, status });
            }
            Spec::WorkerPool(spec) => {
                self.pools.insert(name, Read { object, spec, status });
            }
            Spec::ReleasePolicy(spec) => self.releases.push(Read { object, spec, status }),
            Spec::RateLimitPolicy(spec) => self.limits.push(Read { object, spec, status }),
        }
    }

    /// Pools of a model, by name.
    pub fn pools_of(&self, model: &ObjectRef) -> &[ObjectRef] {
        self.pools_of.get(model).map_or(&[], Vec::as_slice)
    }

    /// Release policies about a model, from the oldest.
    pub fn releases_of<'s>(&'s self, model: &ObjectRef) -> impl Iterator<Item = &'s Read<'a, ReleasePolicySpec>> {
        self.releases_of.get(model).into_iter().flatten().filter_map(|place| self.releases.get(*place))
    }
}

/// The model that a release policy is about.
pub(super) fn target_of(release: &Read<'_, ReleasePolicySpec>) -> ObjectRef {
    ObjectRef { namespace: release.name().namespace.clone(), name: release.spec.target_ref.name.clone() }
}

/// The model that a pool names.
pub(super) fn model_of(pool: &Read<'_, WorkerPoolSpec>) -> ObjectRef {
    ObjectRef { namespace: pool.name().namespace.clone(), name: pool.spec.model_ref.name.clone() }
}

/// The kind's key for an object's name.
pub(super) fn key(kind: Kind, object: &ObjectRef) -> ObjectKey {
    ObjectKey { kind, object: object.clone() }
}
