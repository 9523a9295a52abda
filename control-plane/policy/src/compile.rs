//! Policies and fleet facts in, one [`Snapshot`] and the next status of every object out. Deterministic: the order of the
//! input does not matter, and the same input gives the same output on every replica. Never fails: what cannot be compiled is
//! left out and says so in its status. Reads no load figures and no clock.
mod arms;
mod bound;
mod fleet;
mod limits;
mod objects;
mod pools;
mod ready;
mod release;
mod rules;
mod statuses;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

pub use limits::{gateway_counts, gateway_holds_concurrency, gateway_holds_requests};

use crate::{
    ports::{Everything, ObjectKey},
    snapshot::{ApiKeyPublic, Snapshot},
    status::ObjectStatus,
};

/// What compile reads.
#[derive(Clone, Copy, Debug)]
pub struct CompileInput<'a> {
    /// One consistent read of the store. Every lease in it counts as live.
    pub everything: &'a Everything,
    /// Decides which API keys are good, and when a condition changed.
    pub now: DateTime<Utc>,
}

/// What compile makes.
#[derive(Clone, PartialEq, Debug)]
pub struct Compiled {
    pub snapshot: Snapshot,
    /// The next status of every object that was read.
    pub statuses: BTreeMap<ObjectKey, ObjectStatus>,
}

/// Compiles everything anew.
pub fn compile(input: &CompileInput<'_>) -> Compiled {
    let everything = input.everything;
    let objects = objects::Objects::read(&everything.objects);
    let fleet = fleet::Fleet::new(&everything.fleet, &objects);
    let routed = release::targets(&objects, &fleet);
    let pools = pools::plans(&objects, &fleet, &routed);
    let limits = limits::compile(&objects);
    let gateways = gateways(everything);
    let statuses = statuses::Statuses {
        objects: &objects,
        fleet: &fleet,
        routed: &routed,
        targets: routed.targets.iter().map(|target| (&target.model, target)).collect(),
        limits: &limits,
        gateways,
        now: input.now,
    }
    .all();
    let limit_targets = limits.by_model;
    let mut snapshot = Snapshot {
        revision: everything.revision,
        targets: routed.targets,
        arms: routed.arms,
        pools,
        limits: limits.limits,
        api_keys: api_keys(input),
    };
    for target in &mut snapshot.targets {
        target.limits = limit_targets.get(&target.model).cloned().unwrap_or_default();
    }
    for plan in snapshot.pools.values_mut() {
        plan.limits = limits.by_pool.get(&plan.pool).cloned().unwrap_or_default();
    }
    limits::breakers(&mut snapshot);
    Compiled { snapshot, statuses }
}

/// Gateways that may connect: those with a node token.
fn gateways(everything: &Everything) -> usize {
    let names: std::collections::BTreeSet<&str> = everything
        .node_tokens
        .iter()
        .filter(|t| t.identity.role == crate::ports::NodeRole::Gateway)
        .map(|t| t.identity.node_id.as_str())
        .collect();
    names.len()
}

/// Keys that are neither revoked nor expired at `now`.
fn api_keys(input: &CompileInput<'_>) -> BTreeMap<String, ApiKeyPublic> {
    let good = input
        .everything
        .api_keys
        .iter()
        .filter(|k| k.revoked_at.is_none_or(|at| at > input.now) && k.expires_at.is_none_or(|at| at > input.now));
    good.map(|k| (k.id.clone(), ApiKeyPublic { id: k.id.clone(), tenant: k.tenant.clone(), jwk: k.jwk.clone() }))
        .collect()
}
