//! Limits in compiled form, and where each is enforced. A limit on a model holds at the gateway and at every worker of all
//! its pools; a limit on one pool holds at its workers, and at the gateway only when the model has no other pool.
use std::collections::{BTreeMap, BTreeSet};

use tidegate_limiter::{admission::MAX_LIMITS, matching::Condition};

use super::{
    objects::{Objects, Read, model_of},
    rules,
};
use crate::{
    kinds::{CounterSpec, LimitSpec, Mode, Rate, RateLimitPolicySpec, TargetKind, TargetRef},
    names,
    snapshot::{Counter, Limit, ObjectRef, RequestRate, Snapshot, Target},
    units::duration_ms,
};

/// The limits, and who enforces them.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub limits: BTreeMap<String, Limit>,
    /// Ids of the limits at the gateway, by model; oldest policy first.
    pub by_model: BTreeMap<ObjectRef, Vec<String>>,
    /// Ids of the limits at the workers, by pool; oldest policy first.
    pub by_pool: BTreeMap<ObjectRef, Vec<String>>,
    /// Where each policy applies, by its name.
    pub reach: BTreeMap<ObjectRef, Reach>,
    /// Policies that are not in force, each with a pool that has no room for its limits.
    pub left_out: BTreeMap<ObjectRef, ObjectRef>,
}

/// Where a policy applies.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    pub models: BTreeSet<ObjectRef>,
    pub pools: BTreeSet<ObjectRef>,
    /// Target pools that share their model with another pool: the gateway does not know which pool will answer.
    pub workers_only: BTreeSet<ObjectRef>,
    /// Targets that do not exist.
    pub missing: Vec<TargetRef>,
}

/// Whether a gateway can enforce a limit's request rate: its rate limiter has no bucket conditions. Every number that
/// validation lets through is one that Envoy takes.
pub fn gateway_holds_requests(limit: &Limit) -> bool {
    limit.requests.is_some() && !limit.conditions.iter().any(|c| matches!(c, Condition::Bucket { .. }))
}

/// Whether every gateway counts a request for this model under the limit's request rate. A limit on a pool counts there only
/// when every pool of the model has it: the gateway does not know which pool will answer.
pub fn gateway_counts(snapshot: &Snapshot, target: &Target, limit: &Limit) -> bool {
    let mut pools = snapshot.pools.values().filter(|p| p.model == target.model);
    gateway_holds_requests(limit) && target.limits.contains(&limit.id) && pools.all(|p| p.limits.contains(&limit.id))
}

/// Whether the gateway can enforce a limit's concurrency: its circuit breakers look at no request and refuse for real.
pub fn gateway_holds_concurrency(limit: &Limit) -> bool {
    limit.concurrency.is_some() && limit.conditions.is_empty() && limit.counters.is_empty() && !limit.shadow
}

pub(super) fn compile(objects: &Objects<'_>) -> Limits {
    let mut all = Limits::default();
    for policy in &objects.limits {
        let reach = reach(policy, objects);
        let limits: Vec<Limit> = policy.spec.limits.iter().filter_map(|spec| limit(policy, spec)).collect();
        let room = |pool: &&ObjectRef| all.by_pool.get(*pool).map_or(0, Vec::len) + limits.len() <= MAX_LIMITS;
        if let Some(full) = reach.pools.iter().find(|pool| !room(pool)) {
            all.left_out.insert(policy.name().clone(), full.clone());
            all.reach.insert(policy.name().clone(), reach);
            continue;
        }
        for limit in limits {
            for model in &reach.models {
                all.by_model.entry(model.clone()).or_default().push(limit.id.clone());
            }
            for pool in &reach.pools {
                all.by_pool.entry(pool.clone()).or_default().push(limit.id.clone());
            }
            all.limits.insert(limit.id.clone(), limit);
        }
        all.reach.insert(policy.name().clone(), reach);
    }
    all
}

fn reach(policy: &Read<'_, RateLimitPolicySpec>, objects: &Objects<'_>) -> Reach {
    let mut reach = Reach::default();
    for target in &policy.spec.target_refs {
        let name = ObjectRef { namespace: policy.name().namespace.clone(), name: target.name.clone() };
        match target.kind {
            TargetKind::Model => {
                // Also without the model: its pools' workers may still have the weights.
                reach.pools.extend(objects.pools_of(&name).iter().cloned());
                if objects.models.contains_key(&name) {
                    reach.models.insert(name);
                } else {
                    reach.missing.push(target.clone());
                }
            }
            TargetKind::WorkerPool if objects.pools.contains_key(&name) => {
                if let Some(model) = objects.pools.get(&name).map(model_of) {
                    if objects.pools_of(&model).len() > 1 {
                        reach.workers_only.insert(name.clone());
                    } else if objects.models.contains_key(&model) {
                        reach.models.insert(model);
                    }
                }
                reach.pools.insert(name);
            }
            TargetKind::WorkerPool => reach.missing.push(target.clone()),
        }
    }
    reach.workers_only.retain(|pool| objects.pools.get(pool).is_none_or(|p| !reach.models.contains(&model_of(p))));
    reach
}

fn limit(policy: &Read<'_, RateLimitPolicySpec>, spec: &LimitSpec) -> Option<Limit> {
    let counters = spec.counters.iter().map(|c| match c {
        CounterSpec::Tenant => Counter::Tenant,
        CounterSpec::Header { header } => Counter::Header(header.name.to_ascii_lowercase()),
    });
    Some(Limit {
        id: names::limit_id(policy.name(), &spec.name),
        owner: policy.name().clone(),
        owner_generation: policy.object.generation,
        conditions: rules::conditions(&spec.matches)?,
        counters: counters.collect(),
        requests: match &spec.requests {
            Some(rate) => Some(request_rate(rate)?),
            None => None,
        },
        concurrency: spec.concurrency,
        shadow: policy.spec.mode == Mode::Shadow,
    })
}

fn request_rate(rate: &Rate) -> Option<RequestRate> {
    Some(RequestRate { rate: rate.rate, window_ms: duration_ms(&rate.window)?, burst: rate.burst.unwrap_or(rate.rate) })
}

/// Sets the circuit breakers: on every arm of a model, the smallest concurrency that the gateway can hold.
pub(super) fn breakers(snapshot: &mut Snapshot) {
    let mut smallest: BTreeMap<&ObjectRef, u32> = BTreeMap::new();
    for target in &snapshot.targets {
        let limits = target.limits.iter().filter_map(|id| snapshot.limits.get(id));
        let held = limits.filter(|l| gateway_holds_concurrency(l)).filter_map(|l| l.concurrency).min();
        if let Some(n) = held {
            smallest.insert(&target.model, u32::try_from(n).unwrap_or(u32::MAX));
        }
    }
    for arm in snapshot.arms.values_mut() {
        arm.max_concurrency = smallest.get(&arm.model).copied();
    }
}
