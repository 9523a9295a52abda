//! Which limits the gateway enforces, and how a request is described to Envoy's limiter. A limit that Envoy cannot express exactly is left to the
//! workers and never approximated.
use envoy_types::pb::envoy::config::route::v3::{
    RateLimit,
    rate_limit::{
        Action,
        action::{ActionSpecifier, HeaderValueMatch, RequestHeaders},
    },
};
use tidegate_limiter::matching::Condition;
use tidegate_policy::snapshot::{Counter, Limit, Snapshot, Target};
use tidegate_proto::contract::HEADER_TENANT;

use crate::{any::truth, filters::model, table};

/// Descriptor entry that names the limit.
pub(crate) const KEY: &str = "limit";
/// Envoy's shortest fill interval, milliseconds.
const LEAST_WINDOW_MS: u64 = 50;

/// Who holds a limit's request rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GatewayCover {
    /// Each gateway process and each worker process.
    GatewayAndWorkers,
    /// Each worker process only: it has no request rate (concurrency alone).
    NoRequestRate,
    /// Each worker process only: Envoy's limits cannot test a bucket.
    Bucket,
    /// Each worker process only: a number does not fit Envoy's 32 bits, or the window is under 50 ms.
    Range,
}

/// Who holds the request rate of this limit, and why.
pub fn gateway_cover(limit: &Limit) -> GatewayCover {
    let Some(rate) = limit.requests else { return GatewayCover::NoRequestRate };
    if limit.conditions.iter().any(|c| matches!(c, Condition::Bucket { .. })) {
        return GatewayCover::Bucket;
    }
    let fits = |n: u64| (1..=u64::from(u32::MAX)).contains(&n);
    if rate.window_ms < LEAST_WINDOW_MS || !fits(rate.rate) || !fits(rate.burst) {
        return GatewayCover::Range;
    }
    GatewayCover::GatewayAndWorkers
}

/// Whether every gateway process enforces the request rate of this limit, besides the workers.
pub fn gateway_enforces(limit: &Limit) -> bool {
    gateway_cover(limit) == GatewayCover::GatewayAndWorkers
}

/// A limit that the gateway enforces, with the models that it is about.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    pub limit: &'a Limit,
    /// Sorted.
    pub models: Vec<&'a str>,
}

/// Every limit that the gateway enforces on some model, by id. A limit on a pool counts only for a model whose every pool has it:
/// the gateway does not know which pool will answer.
pub(crate) fn held(snapshot: &Snapshot) -> Vec<Held<'_>> {
    let everywhere = |target: &Target, limit: &Limit| {
        snapshot.pools.values().filter(|p| p.model == target.model).all(|p| p.limits.contains(&limit.id))
    };
    let models_of = |limit: &Limit| -> Vec<&str> {
        let targets = snapshot.targets.iter().filter(|t| t.limits.contains(&limit.id) && everywhere(t, limit));
        let mut models: Vec<_> = targets.map(|t| t.model_id.as_str()).collect();
        models.sort_unstable();
        models
    };
    let enforced = snapshot.limits.values().filter(|limit| gateway_enforces(limit));
    enforced.map(|limit| Held { limit, models: models_of(limit) }).filter(|h| !h.models.is_empty()).collect()
}

/// How a request is described to the limiter: the limit's name if the request is for this model and the limit is about it, then
/// the counted values. One description per model; all lead to the same bucket.
pub(crate) fn describe(held: &Held<'_>) -> Vec<RateLimit> {
    let Some(conditions) = table::header_matchers(&held.limit.conditions) else { return Vec::new() };
    let one = |model_id: &&str| {
        let mut headers = vec![model::matcher(Some(model_id))];
        headers.extend(conditions.iter().cloned());
        let name = ActionSpecifier::HeaderValueMatch(HeaderValueMatch {
            descriptor_key: KEY.to_owned(),
            descriptor_value: held.limit.id.clone(),
            expect_match: truth(),
            headers,
            ..Default::default()
        });
        let actions = std::iter::once(name).chain(held.limit.counters.iter().map(counted));
        RateLimit { actions: actions.map(|a| Action { action_specifier: Some(a) }).collect(), ..Default::default() }
    };
    held.models.iter().map(one).collect()
}

fn counted(counter: &Counter) -> ActionSpecifier {
    ActionSpecifier::RequestHeaders(RequestHeaders {
        header_name: header_of(counter).to_owned(),
        descriptor_key: counter_key(counter),
        ..Default::default()
    })
}

fn header_of(counter: &Counter) -> &str {
    match counter {
        Counter::Tenant => HEADER_TENANT,
        Counter::Header(name) => name,
    }
}

/// Key of the descriptor entry of a counter.
pub(crate) fn counter_key(counter: &Counter) -> String {
    match counter {
        Counter::Tenant => "tenant".to_owned(),
        Counter::Header(name) => format!("header/{name}"),
    }
}
