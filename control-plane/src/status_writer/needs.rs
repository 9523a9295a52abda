//! Who has to have an object, and whether requests use it: an index over one snapshot, so that a pass over all objects costs what
//! the snapshot costs. It knows no answer of any node.
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use tidegate_api::ads::{GATEWAY_GROUP, worker_group};
use tidegate_policy::{
    kinds::Kind,
    ports::ObjectKey,
    snapshot::{Arm, ObjectRef, PoolPlan, Snapshot, Target},
};

/// See the module.
pub(super) struct Needs<'a> {
    snapshot: &'a Snapshot,
    targets: BTreeMap<&'a ObjectRef, &'a Target>,
    pools_of: BTreeMap<&'a ObjectRef, Vec<&'a PoolPlan>>,
    /// ReleasePolicies that decide something, and the model's table.
    releases: BTreeMap<&'a ObjectRef, &'a Target>,
    limits: BTreeMap<&'a ObjectRef, Limited<'a>>,
}

/// Where the limits of one policy are.
#[derive(Default)]
struct Limited<'a> {
    targets: Vec<&'a Target>,
    pools: BTreeSet<&'a ObjectRef>,
}

impl<'a> Needs<'a> {
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let mut pools_of: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let (mut releases, mut limits) = (BTreeMap::new(), BTreeMap::<_, Limited<'_>>::new());
        let owners = |ids: &'a [String]| {
            ids.iter().filter_map(|id| snapshot.limits.get(id)).map(|limit| &limit.owner).collect::<BTreeSet<_>>()
        };
        for target in &snapshot.targets {
            // Without a ReleasePolicy the table is the Model's own.
            if target.split.id != format!("{}/default", target.split.owner) {
                releases.insert(&target.split.owner, target);
            }
            releases.extend(target.rules.iter().map(|rule| (&rule.owner, target)));
            for owner in owners(&target.limits) {
                limits.entry(owner).or_default().targets.push(target);
            }
        }
        for plan in snapshot.pools.values() {
            pools_of.entry(&plan.model).or_default().push(plan);
            for owner in owners(&plan.limits) {
                limits.entry(owner).or_default().pools.insert(&plan.pool);
            }
        }
        let targets = snapshot.targets.iter().map(|target| (&target.model, target)).collect();
        Self { snapshot, targets, pools_of, releases, limits }
    }

    /// The node groups that an object matters to; none when it is told to nobody.
    pub fn groups(&self, key: &ObjectKey) -> Vec<String> {
        let gateway = |needed: bool| needed.then(|| GATEWAY_GROUP.to_owned()).into_iter();
        let object = &key.object;
        match key.kind {
            Kind::Model => gateway(self.targets.contains_key(object))
                .chain(self.pools(object).map(|p| worker_group(&p.pool)))
                .collect(),
            Kind::WorkerPool => {
                let plan = self.snapshot.pools.get(object).filter(|plan| !plan.versions.is_empty());
                plan.map(|plan| worker_group(&plan.pool)).into_iter().collect()
            }
            Kind::ReleasePolicy => gateway(self.releases.contains_key(object)).collect(),
            Kind::RateLimitPolicy => {
                let Some(limited) = self.limits.get(object) else { return Vec::new() };
                gateway(!limited.targets.is_empty()).chain(limited.pools.iter().map(worker_group)).collect()
            }
        }
    }

    /// The pools of a model.
    fn pools(&self, model: &ObjectRef) -> impl Iterator<Item = &'a PoolPlan> {
        self.pools_of.get(model).into_iter().flatten().copied()
    }

    /// The pools that answer for a Model, or for that of a ReleasePolicy.
    pub fn pools_behind(&self, key: &ObjectKey) -> Vec<ObjectRef> {
        let model = match key.kind {
            Kind::Model => Some(&key.object),
            Kind::ReleasePolicy => self.releases.get(&key.object).map(|target| &target.model),
            Kind::WorkerPool | Kind::RateLimitPolicy => None,
        };
        model.into_iter().flat_map(|model| self.pools(model)).map(|plan| plan.pool.clone()).collect()
    }

    /// Replicas that a pool asks for.
    pub fn replicas(&self, pool: &ObjectRef) -> u32 {
        self.snapshot.pools.get(pool).map_or(0, |plan| plan.spec.replicas)
    }

    /// Requests can use it now.
    pub fn in_use(&self, key: &ObjectKey) -> bool {
        let answered = |target: &Target| self.arms(target).any(|arm| !arm.endpoints.is_empty());
        let object = &key.object;
        match key.kind {
            Kind::Model => self.targets.get(object).is_some_and(|target| answered(target)),
            Kind::WorkerPool => {
                let plan = self.snapshot.pools.get(object);
                plan.and_then(|plan| self.targets.get(&plan.model)).is_some_and(|target| answered(target))
            }
            Kind::ReleasePolicy => self.releases.get(object).is_some_and(|target| answered(target)),
            Kind::RateLimitPolicy => {
                self.limits.get(object).is_some_and(|limited| limited.targets.iter().any(|target| answered(target)))
            }
        }
    }

    /// Differs when something else is routed for an object than before: the nodes have to have that, too.
    pub fn fingerprint(&self, key: &ObjectKey) -> u64 {
        let target = match key.kind {
            Kind::Model => self.targets.get(&key.object).copied(),
            Kind::ReleasePolicy => self.releases.get(&key.object).copied(),
            Kind::WorkerPool | Kind::RateLimitPolicy => None,
        };
        let mut hasher = DefaultHasher::new();
        if let Some(target) = target {
            for rule in &target.rules {
                (&rule.id, &rule.arm, rule.owner_generation).hash(&mut hasher);
            }
            for interval in &target.split.intervals {
                (&interval.arm, interval.weight).hash(&mut hasher);
            }
            for arm in self.arms(target) {
                (&arm.cluster, &arm.endpoints).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    fn arms<'s>(&'s self, target: &'s Target) -> impl Iterator<Item = &'s Arm> {
        let rules = target.rules.iter().map(|rule| &rule.arm);
        let clusters = rules.chain(target.split.intervals.iter().map(|interval| &interval.arm));
        clusters.filter_map(|cluster| self.snapshot.arms.get(cluster))
    }

    /// The arm of a cluster's name.
    pub fn arm(&self, cluster: &str) -> Option<&'a Arm> {
        self.snapshot.arms.get(cluster)
    }

    /// Whether an arm is made from this object.
    pub fn uses(&self, key: &ObjectKey, arm: &Arm) -> bool {
        let target = self.targets.get(&arm.model);
        match key.kind {
            Kind::Model => arm.model == key.object,
            Kind::WorkerPool => self.snapshot.pools.get(&key.object).is_some_and(|plan| plan.model == arm.model),
            Kind::ReleasePolicy => {
                let split = format!("{}/split", key.object);
                target.is_some_and(|target| target.split.id == split)
            }
            Kind::RateLimitPolicy => {
                let limited = self.limits.get(&key.object);
                limited.is_some_and(|limited| limited.targets.iter().any(|target| target.model == arm.model))
            }
        }
    }
}
