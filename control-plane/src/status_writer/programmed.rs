//! The condition `Programmed`: whether every node that needs an object has it. Pure: it asks what the nodes answered and says
//! what that means.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tidegate_api::{
    ads::{GATEWAY_GROUP, TYPE_LIMIT_SET, TYPE_MODEL_SET, worker_group},
    nodes::{Progress, RefusedResource},
};
use tidegate_policy::{
    kinds::Kind,
    ports::{ObjectKey, StoredObject},
    snapshot::{Arm, ObjectRef, Snapshot},
    status::{ACCEPTED, Condition, ConditionStatus, ObjectStatus, PROGRAMMED},
};
use tidegate_translate::types::{CLUSTER, ENDPOINT, EXTENSION, LIMITS, ROUTE};

/// By object: the generation of its spec that was published last, and at which sequence number of each group.
pub(super) type ServedSince = BTreeMap<ObjectKey, (i64, BTreeMap<String, u64>)>;

/// What is published to a node group, and what its nodes answered.
pub(super) trait Nodes {
    /// Sequence number of the group's newest publication.
    fn published(&self, group: &str) -> u64;
    /// How far its nodes are with publication `from`, as far as it `concerns` somebody.
    fn progress(&self, group: &str, from: u64, concerns: &dyn Fn(&RefusedResource) -> bool) -> Progress;
}

/// The condition of one object with what compile made of it, as if it had changed `now`.
pub(super) fn programmed(
    (object, made, snapshot): (&StoredObject, &ObjectStatus, &Snapshot),
    (served_since, nodes): (&mut ServedSince, &dyn Nodes),
    now: DateTime<Utc>,
) -> Condition {
    let (key, generation) = (&object.key, object.generation);
    let condition = |status, reason: &str, message: String| Condition {
        condition_type: PROGRAMMED.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: now,
    };
    if made.condition(ACCEPTED).is_none_or(|c| c.status != ConditionStatus::True) {
        return condition(ConditionStatus::False, "NotAccepted", "nothing of it is served".to_owned());
    }
    let (known, since) = served_since.entry(key.clone()).or_insert_with(|| (generation, BTreeMap::new()));
    if *known != generation {
        (*known, *since) = (generation, BTreeMap::new());
    }
    let mut all = Progress::default();
    for group in groups(key, snapshot) {
        let from = *since.entry(group.clone()).or_insert_with(|| nodes.published(&group));
        let progress = nodes.progress(&group, from, &|refused| carries(refused, key, snapshot));
        all.acked.extend(progress.acked);
        all.pending.extend(progress.pending);
        all.refused.extend(progress.refused);
    }
    verdict(&all, condition)
}

fn verdict(all: &Progress, condition: impl Fn(ConditionStatus, &str, String) -> Condition) -> Condition {
    if let Some((node, refused)) = all.refused.first() {
        let more = all.refused.len() - 1;
        let message = format!("{node} refuses {} {:?}: {}; {more} more", refused.type_url, refused.name, refused.error);
        return condition(ConditionStatus::False, "Refused", message);
    }
    if !all.pending.is_empty() {
        let message = format!("{} of {} nodes have it", all.acked.len(), all.acked.len() + all.pending.len());
        return condition(ConditionStatus::False, "Pending", message);
    }
    if all.acked.is_empty() {
        return condition(ConditionStatus::False, "NoNodes", "no node that needs it is connected".to_owned());
    }
    condition(ConditionStatus::True, "Programmed", format!("all {} nodes that need it have it", all.acked.len()))
}

/// The node groups that an object matters to.
fn groups(key: &ObjectKey, snapshot: &Snapshot) -> Vec<String> {
    let of_model = |model: &ObjectRef| -> Vec<String> {
        let pools = snapshot.pools.values().filter(|plan| plan.model == *model);
        pools.map(|plan| worker_group(&plan.pool)).collect()
    };
    let gateway = || vec![GATEWAY_GROUP.to_owned()];
    match key.kind {
        Kind::Model => [gateway(), of_model(&key.object)].concat(),
        Kind::WorkerPool => vec![worker_group(&key.object)],
        Kind::ReleasePolicy => gateway(),
        Kind::RateLimitPolicy => {
            let concerned = snapshot.pools.values().filter(|plan| limited_by(&plan.limits, &key.object));
            [gateway(), concerned.map(|plan| worker_group(&plan.pool)).collect()].concat()
        }
    }
}

/// One of these limits is of this policy.
fn limited_by(limits: &[String], policy: &ObjectRef) -> bool {
    let prefix = format!("{policy}/");
    limits.iter().any(|id| id.starts_with(&prefix))
}

/// Whether a refused resource carries something of this object. What is shared by all objects of a kind concerns each of them;
/// what is not known here concerns everybody, the listener for one: without it nothing is served.
fn carries(refused: &RefusedResource, key: &ObjectKey, snapshot: &Snapshot) -> bool {
    match refused.type_url.as_str() {
        CLUSTER | ENDPOINT => snapshot.arms.get(&refused.name).is_some_and(|arm| uses(key, arm, snapshot)),
        ROUTE => matches!(key.kind, Kind::Model | Kind::ReleasePolicy),
        EXTENSION => key.kind == Kind::RateLimitPolicy && refused.name == LIMITS,
        TYPE_MODEL_SET => matches!(key.kind, Kind::Model | Kind::WorkerPool),
        TYPE_LIMIT_SET => key.kind == Kind::RateLimitPolicy,
        _ => true,
    }
}

/// Whether an arm is made from this object.
fn uses(key: &ObjectKey, arm: &Arm, snapshot: &Snapshot) -> bool {
    let mut targets = snapshot.targets.iter().filter(|target| target.model == arm.model);
    match key.kind {
        Kind::Model => arm.model == key.object,
        Kind::WorkerPool => snapshot.pools.get(&key.object).is_some_and(|plan| plan.model == arm.model),
        Kind::ReleasePolicy => {
            let split = format!("{}/split", key.object);
            targets.any(|target| target.split.id == split)
        }
        Kind::RateLimitPolicy => targets.any(|target| limited_by(&target.limits, &key.object)),
    }
}
