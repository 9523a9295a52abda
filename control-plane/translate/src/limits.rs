//! Which limits the gateway enforces, and how a route names them. A limit that Envoy cannot express exactly is left to the
//! workers and never approximated.
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, RateLimit,
    header_matcher::HeaderMatchSpecifier,
    rate_limit::{
        Action,
        action::{ActionSpecifier, GenericKey, HeaderValueMatch, RequestHeaders},
    },
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use tidegate_limiter::matching::Condition;
use tidegate_policy::snapshot::{Counter, Limit, Snapshot, Target};
use tidegate_proto::contract::HEADER_TENANT;

use crate::{
    any::truth,
    table::{self, path_of},
};

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

/// Whether every gateway process enforces the request rate of this limit, besides the workers. A gateway leaves to the workers
/// those requests whose counted header is empty, is repeated or holds a comma or invalid UTF-8.
pub fn gateway_enforces(limit: &Limit) -> bool {
    gateway_cover(limit) == GatewayCover::GatewayAndWorkers
}

/// The limits that routes of this target name: those that hold for every worker that may answer.
pub(crate) fn of_target<'a>(snapshot: &'a Snapshot, target: &'a Target) -> impl Iterator<Item = &'a Limit> {
    target.limits.iter().filter_map(|id| snapshot.limits.get(id)).filter(move |limit| {
        gateway_enforces(limit)
            && snapshot.pools.values().filter(|p| p.model == target.model).all(|p| p.limits.contains(&limit.id))
    })
}

/// What the routes of a target carry: for each limit, how a request is described to the limiter.
pub(crate) fn rate_limits(snapshot: &Snapshot, target: &Target) -> Vec<RateLimit> {
    of_target(snapshot, target).filter_map(rate_limit).collect()
}

fn rate_limit(limit: &Limit) -> Option<RateLimit> {
    let mut headers = table::header_matchers(&limit.conditions)?;
    headers.extend(limit.counters.iter().filter_map(one_plain_value));
    let name = if headers.is_empty() {
        ActionSpecifier::GenericKey(GenericKey {
            descriptor_key: KEY.to_owned(),
            descriptor_value: limit.id.clone(),
            ..Default::default()
        })
    } else {
        ActionSpecifier::HeaderValueMatch(HeaderValueMatch {
            descriptor_key: KEY.to_owned(),
            descriptor_value: limit.id.clone(),
            expect_match: truth(),
            headers,
            ..Default::default()
        })
    };
    let counters = limit.counters.iter().map(|counter| {
        ActionSpecifier::RequestHeaders(RequestHeaders {
            header_name: header_of(counter).to_owned(),
            descriptor_key: counter_key(counter),
            ..Default::default()
        })
    });
    let actions = std::iter::once(name).chain(counters);
    Some(RateLimit {
        actions: actions.map(|a| Action { action_specifier: Some(a) }).collect(),
        ..Default::default()
    })
}

/// Envoy counts by the first value of a repeated header, a worker by all of them joined: count only where both are one.
fn one_plain_value(counter: &Counter) -> Option<HeaderMatcher> {
    let Counter::Header(name) = counter else { return None };
    let plain = StringMatcher { match_pattern: Some(MatchPattern::SafeRegex(table::regex("[^,]+"))), ..Default::default() };
    Some(HeaderMatcher {
        name: name.clone(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(plain)),
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

/// Every limit that some route names, by id, once.
pub(crate) fn all(snapshot: &Snapshot) -> Vec<&Limit> {
    let mut all: Vec<_> = snapshot.targets.iter().flat_map(|t| of_target(snapshot, t)).collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all.dedup_by(|a, b| a.id == b.id);
    debug_assert!(all.iter().all(|l| path_of(&l.owner).len() < l.id.len()));
    all
}
