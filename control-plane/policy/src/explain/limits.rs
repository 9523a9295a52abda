//! Which limits count a request, and where. The gateway's part is decided by the same function as Envoy's configuration.
use tidegate_limiter::matching::{Condition, RequestView};

use super::{Explanation, LimitVerdict, words};
use crate::{
    compile::{gateway_counts, gateway_holds_concurrency},
    snapshot::{Counter, Limit, PoolPlan, Snapshot, Target},
};

/// Fills in the limits of the model, then those of the pools that may answer; each once. Those about a tenant that the request does
/// not have are named.
pub(super) fn fill(snapshot: &Snapshot, target: &Target, answer: &mut Explanation, view: &RequestView<'_>) {
    let may_answer = |plan: &&PoolPlan| plan.model == target.model && may_answer(plan, answer.version.as_deref());
    let pools: Vec<&PoolPlan> = snapshot.pools.values().filter(may_answer).collect();
    let mut ids: Vec<&String> = Vec::new();
    for id in target.limits.iter().chain(pools.iter().flat_map(|p| &p.limits)) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let (limits, others): (Vec<&Limit>, Vec<&Limit>) =
        ids.into_iter().filter_map(|id| snapshot.limits.get(id)).partition(|limit| counts(limit, view));
    let verdict = |limit: &Limit| LimitVerdict {
        id: limit.id.clone(),
        generation: limit.owner_generation,
        requests: limit.requests.map(words::rate),
        concurrency: limit.concurrency,
        counters: limit.counters.iter().map(|c| words::counter(c, view)).collect(),
        shadow: limit.shadow,
        places: places(snapshot, target, limit, &pools),
    };
    let verdicts = limits.into_iter().map(verdict).filter(|verdict| !verdict.places.is_empty());
    answer.limits = verdicts.collect();
    let left_out = others.into_iter().filter(|limit| view.tenant.is_none() && wants_tenant(limit));
    answer.limits_left_out = left_out.map(|limit| limit.id.clone()).collect();
}

fn wants_tenant(limit: &Limit) -> bool {
    limit.counters.contains(&Counter::Tenant) || limit.conditions.iter().any(|c| matches!(c, Condition::Tenant(_)))
}

/// Whether a pool's workers have the version; all pools when chance decides, or when a pool keeps what it has.
fn may_answer(plan: &PoolPlan, version: Option<&str>) -> bool {
    version.is_none_or(|version| plan.versions.is_empty() || plan.versions.iter().any(|v| v.version.name == version))
}

/// A limit whose counter has no value in a request does not count it.
fn counts(limit: &Limit, view: &RequestView<'_>) -> bool {
    let has_value = |counter: &Counter| match counter {
        Counter::Tenant => view.tenant.is_some(),
        Counter::Header(name) => view.header(name).is_some(),
    };
    limit.conditions.iter().all(|c| c.holds(view)) && limit.counters.iter().all(has_value)
}

fn places(snapshot: &Snapshot, target: &Target, limit: &Limit, pools: &[&PoolPlan]) -> Vec<String> {
    let breaker = target.limits.contains(&limit.id) && gateway_holds_concurrency(limit);
    let gateway = (breaker || gateway_counts(snapshot, target, limit)).then(|| "gateway".to_owned());
    let pools = pools.iter().filter(|p| p.limits.contains(&limit.id)).map(|p| format!("WorkerPool {}", p.pool));
    gateway.into_iter().chain(pools).collect()
}
