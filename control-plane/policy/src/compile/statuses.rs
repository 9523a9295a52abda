//! The next status of every object. Conditions of others (`Programmed`) are kept as they are.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tidegate_limiter::admission::MAX_LIMITS;

use super::{
    bound::Holders,
    fleet::{Fleet, serves},
    limits::{Limits, Reach},
    objects::{Objects, Read, key, model_of, target_of},
    ready,
    release::{ReleaseOutcome, Routed, STABLE},
};
use crate::{
    kinds::{Kind, ModelSpec, RateLimitPolicySpec, ReleasePolicySpec, WorkerPoolSpec},
    names::limit_id,
    ports::{LeasedVersion, ObjectKey, StoredObject, VersionState, WorkerLease},
    snapshot::{ObjectRef, Target},
    status::{ACCEPTED, Condition, ConditionStatus, MAX_REASONS, ObjectStatus, READY, RESOLVED_REFS, Workers},
};

/// All that statuses are made from.
pub(super) struct Statuses<'a, 'b> {
    pub objects: &'b Objects<'a>,
    pub fleet: &'b Fleet<'a>,
    pub routed: &'b Routed,
    /// The routing tables by model.
    pub targets: BTreeMap<&'b ObjectRef, &'b Target>,
    pub limits: &'b Limits,
    /// Gateways that may connect.
    pub gateways: usize,
    pub now: DateTime<Utc>,
}

/// Reason and message of a condition, and whether it holds.
pub(super) struct Finding {
    holds: bool,
    reason: &'static str,
    message: String,
}

/// Of one object: Accepted, ResolvedRefs (None: not asked) and Ready.
struct Findings {
    accepted: Finding,
    resolved: Option<Finding>,
    ready: Finding,
}

impl Finding {
    pub(super) fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self { holds: true, reason, message: message.into() }
    }

    pub(super) fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self { holds: false, reason, message: message.into() }
    }

    fn resolved(missing: &[String]) -> Self {
        match missing {
            [] => Self::yes("ResolvedRefs", "everything that is referred to exists"),
            [..] => Self::no("RefNotFound", missing.join("; ")),
        }
    }
}

impl Statuses<'_, '_> {
    pub fn all(&self) -> BTreeMap<ObjectKey, ObjectStatus> {
        let objects = self.objects;
        let broken = objects.broken.iter().map(|(object, why)| {
            let status = ObjectStatus::from_value(&object.status);
            let message = format!("the stored spec is not valid any more and is left out: {why}");
            let fresh = ObjectStatus { arms: status.arms.clone(), ..ObjectStatus::default() };
            let ready = Finding::no("Invalid", message.clone());
            let findings = Findings { accepted: Finding::no("Invalid", message), resolved: None, ready };
            (object.key.clone(), self.finish((object, &status), fresh, findings))
        });
        broken
            .chain(objects.models.values().map(|o| (key(Kind::Model, o.name()), self.model(o))))
            .chain(objects.pools.values().map(|o| (key(Kind::WorkerPool, o.name()), self.pool(o))))
            .chain(objects.releases.iter().map(|o| (key(Kind::ReleasePolicy, o.name()), self.release(o))))
            .chain(objects.limits.iter().map(|o| (key(Kind::RateLimitPolicy, o.name()), self.limit(o))))
            .collect()
    }

    /// Joins a new status with the old one's conditions.
    fn finish(
        &self,
        (object, old): (&StoredObject, &ObjectStatus),
        fresh: ObjectStatus,
        findings: Findings,
    ) -> ObjectStatus {
        let generation = object.generation;
        let mut status = ObjectStatus { observed_generation: generation, conditions: old.conditions.clone(), ..fresh };
        let Findings { accepted, resolved, ready } = findings;
        for (name, finding) in [(ACCEPTED, Some(accepted)), (RESOLVED_REFS, resolved), (READY, Some(ready))] {
            let Some(finding) = finding else {
                status.conditions.retain(|c| c.condition_type != name);
                continue;
            };
            let holds = if finding.holds { ConditionStatus::True } else { ConditionStatus::False };
            status.set(Condition::new(name, holds, (finding.reason, finding.message), (generation, self.now)));
        }
        status
    }

    fn model(&self, model: &Read<'_, ModelSpec>) -> ObjectStatus {
        let name = model.name();
        let default = self.routed.defaults.get(name);
        let arms = default.map(|v| (STABLE.to_owned(), v.clone())).into_iter().collect();
        let pools = self.objects.pools_of(name).len();
        let accepted =
            Finding::yes("Accepted", format!("named by {pools} WorkerPool{}", if pools == 1 { "" } else { "s" }));
        let gone = self
            .routed
            .versions
            .get(name)
            .into_iter()
            .flatten()
            .filter(|v| !model.spec.versions.iter().any(|m| m.name == **v));
        let gone = gone.map(|v| format!("version {v} is routed but no longer among `versions`"));
        let unserved = if pools == 0 { Vec::new() } else { self.unserved(Kind::Model, name) };
        let warnings = gone.chain(unserved).collect();
        let fresh = ObjectStatus { arms, warnings, ..ObjectStatus::default() };
        let findings = Findings { accepted, resolved: Some(Finding::resolved(&[])), ready: self.model_ready(model) };
        self.finish((model.object, &model.status), fresh, findings)
    }

    /// Arms that an object names and nobody is to serve.
    fn unserved(&self, kind: Kind, object: &ObjectRef) -> Vec<String> {
        self.routed.unserved.get(&key(kind, object)).cloned().unwrap_or_default()
    }

    fn pool(&self, pool: &Read<'_, WorkerPoolSpec>) -> ObjectStatus {
        let model = model_of(pool);
        let missing = match self.objects.models.get(&model) {
            None => vec![format!("Model {model} does not exist")],
            Some(found) => missing_versions(found, pool.spec.versions.iter()),
        };
        let workers = workers(pool, self.fleet.of_pool(pool.name()));
        let ready = self.pool_ready(pool, &missing, &workers);
        let fresh = ObjectStatus { workers: Some(workers), ..ObjectStatus::default() };
        let accepted = Finding::yes("Accepted", "in force");
        let findings = Findings { accepted, resolved: Some(Finding::resolved(&missing)), ready };
        self.finish((pool.object, &pool.status), fresh, findings)
    }

    fn release(&self, policy: &Read<'_, ReleasePolicySpec>) -> ObjectStatus {
        let model = target_of(policy);
        let Some(outcome) = self.routed.releases.get(policy.name()) else {
            let fresh = ObjectStatus { arms: policy.status.arms.clone(), ..ObjectStatus::default() };
            let missing = [format!("Model {model} does not exist")];
            let accepted = Finding::yes("Pending", "accepted; in force as soon as the model exists");
            let ready = self.release_ready(policy, &missing);
            let findings = Findings { accepted, resolved: Some(Finding::resolved(&missing)), ready };
            return self.finish((policy.object, &policy.status), fresh, findings);
        };
        let wanted = [Some(&policy.spec.stable), policy.spec.candidate.as_ref()];
        let mut missing = self
            .objects
            .models
            .get(&model)
            .map(|m| missing_versions(m, wanted.into_iter().flatten()))
            .unwrap_or_default();
        if missing.is_empty() {
            let undeclared = wanted.into_iter().flatten().filter(|v| !self.fleet.is_declared(&model, v));
            missing.extend(undeclared.map(|v| crate::warnings::not_wanted(&model, v)));
        }
        let overlaps = self.routed.overlaps.get(policy.name()).into_iter().flatten();
        let mut warnings: Vec<String> = overlaps.map(|o| o.message.clone()).collect();
        warnings.splice(0..0, self.unserved(Kind::ReleasePolicy, policy.name()));
        if let Some(older) = &outcome.split_shadowed_by {
            warnings
                .push(format!("the weights are not in force: the older ReleasePolicy {older} splits Model {model}"));
        }
        let fresh = ObjectStatus { arms: outcome.remembered(), warnings, ..ObjectStatus::default() };
        let ready = self.release_ready(policy, &missing);
        let findings =
            Findings { accepted: release_accepted(outcome), resolved: Some(Finding::resolved(&missing)), ready };
        self.finish((policy.object, &policy.status), fresh, findings)
    }

    fn limit(&self, policy: &Read<'_, RateLimitPolicySpec>) -> ObjectStatus {
        let none = Reach::default();
        let reach = self.limits.reach.get(policy.name()).unwrap_or(&none);
        let missing = not_there(policy, reach);
        let ids = policy.spec.limits.iter().map(|l| limit_id(policy.name(), &l.name));
        let mine = ids.filter_map(|id| self.limits.limits.get(&id));
        let holders = Holders {
            gateways: if reach.models.is_empty() { 0 } else { self.gateways },
            workers: reach.pools.iter().map(|p| self.fleet.of_pool(p).len()).sum(),
            // With pools beyond the gateway's reach, only the workers bound the fleet.
            all_through_gateways: reach.workers_only.is_empty(),
        };
        let bounds = mine.map(|l| holders.bound(l)).collect();
        let warnings = reach.workers_only.iter().map(|pool| {
            format!("WorkerPool {pool} shares its model with other pools: its limits hold at its workers, not at the gateway")
        });
        let (accepted, ready) = match self.limits.left_out.get(policy.name()) {
            None => (Finding::yes("Accepted", places(reach)), self.limit_ready(policy, reach)),
            Some(pool) => (Finding::no("TooManyLimits", no_room(pool)), Finding::no("TooManyLimits", no_room(pool))),
        };
        let fresh = ObjectStatus { bounds, warnings: warnings.collect(), ..ObjectStatus::default() };
        let findings = Findings { accepted, resolved: Some(Finding::resolved(&missing)), ready };
        self.finish((policy.object, &policy.status), fresh, findings)
    }
}

fn missing_versions<'v>(model: &Read<'_, ModelSpec>, wanted: impl Iterator<Item = &'v String>) -> Vec<String> {
    let has = |v: &String| model.spec.versions.iter().any(|m| m.name == *v);
    wanted.filter(|v| !has(v)).map(|v| format!("Model {} has no version {v}", model.name())).collect()
}

fn release_accepted(outcome: &ReleaseOutcome) -> Finding {
    match &outcome.split_shadowed_by {
        Some(older) => Finding::yes("SplitShadowed", ready::shadowed(older)),
        None => Finding::yes("Accepted", "in force"),
    }
}

/// The targets of a policy that do not exist.
pub(super) fn not_there(policy: &Read<'_, RateLimitPolicySpec>, reach: &Reach) -> Vec<String> {
    let namespace = &policy.name().namespace;
    reach.missing.iter().map(|t| format!("{:?} {namespace}/{} does not exist", t.kind, t.name)).collect()
}

fn no_room(pool: &ObjectRef) -> String {
    format!(
        "not in force: with it WorkerPool {pool} would have more than {MAX_LIMITS} limits; older policies come first"
    )
}

pub(super) fn places(reach: &Reach) -> String {
    if reach.models.is_empty() && reach.pools.is_empty() {
        return "enforced nowhere: nothing that it targets exists".to_owned();
    }
    let gateway = if reach.models.is_empty() { "not at the gateway" } else { "at every gateway" };
    format!(
        "enforced {gateway}, and at every worker of {} WorkerPool{}",
        reach.pools.len(),
        if reach.pools.len() == 1 { "" } else { "s" }
    )
}

fn workers(pool: &Read<'_, WorkerPoolSpec>, leases: &[&WorkerLease]) -> Workers {
    let count = |test: &dyn Fn(&WorkerLease) -> bool| {
        u32::try_from(leases.iter().filter(|w| test(w)).count()).unwrap_or(u32::MAX)
    };
    // A version that answers may have an error too: what is to replace its files could not be loaded.
    let failing = |v: &LeasedVersion| v.state == VersionState::Failed || !v.error.is_empty();
    let failures = leases.iter().flat_map(|w| w.versions.iter().filter(|v| failing(v)).map(|v| (&w.node_id, v)));
    Workers {
        desired: pool.spec.replicas,
        live: count(&|_| true),
        ready: count(&|w| pool.spec.versions.iter().all(|v| serves(w, v))),
        loading: count(&|w| w.versions.iter().any(|v| v.state == VersionState::Loading)),
        failed: count(&|w| w.versions.iter().any(failing)),
        reasons: failures.take(MAX_REASONS).map(|(node, v)| format!("{node} {}: {}", v.name, v.error)).collect(),
    }
}
