//! How often: one token bucket per limit and counted value in each gateway process, shared by its threads, by ECDS. A change to any limit replaces this one resource, and with it every bucket of the gateway begins full; the
//! workers' buckets keep their balances.
use envoy_types::pb::envoy::{
    config::core::v3::RuntimeFractionalPercent,
    extensions::{
        common::ratelimit::v3::{LocalRateLimitDescriptor, rate_limit_descriptor::Entry},
        filters::http::local_ratelimit::v3::LocalRateLimit,
    },
    r#type::v3::{FractionalPercent, TokenBucket, fractional_percent::DenominatorType},
};
use prost::{Message, Name};
use tidegate_policy::snapshot::{Limit, RequestRate, Snapshot};
use tidegate_xds::resources::ResourceSet;

use crate::{
    any::{extension, falsity, millis, u32v},
    limits::{self, counter_key},
    types::{EXTENSION, LIMITS},
};

/// Counted values kept per limit; the one unused longest is forgotten first.
const MAX_VALUES: u32 = 10_000;

pub(crate) fn type_url() -> String {
    LocalRateLimit::type_url()
}

pub(crate) fn add(set: &mut ResourceSet, snapshot: &Snapshot) {
    set.insert(EXTENSION, LIMITS, extension(LIMITS, &config(snapshot)).encode_to_vec());
}

fn config(snapshot: &Snapshot) -> LocalRateLimit {
    let held = limits::held(snapshot);
    LocalRateLimit {
        stat_prefix: "limits".to_owned(),
        filter_enabled: always(),
        filter_enforced: always(),
        rate_limits: held.iter().flat_map(limits::describe).collect(),
        descriptors: held.iter().filter_map(|h| descriptor(h.limit)).collect(),
        always_consume_default_token_bucket: falsity(),
        max_dynamic_descriptors: u32v(MAX_VALUES),
        enable_retry_after_header: true,
        ..Default::default()
    }
}

fn descriptor(limit: &Limit) -> Option<LocalRateLimitDescriptor> {
    let entry = |key: String, value: String| Entry { key, value };
    let name = entry(limits::KEY.to_owned(), limit.id.clone());
    // An empty value stands for every value, each with a bucket of its own.
    let counters = limit.counters.iter().map(|c| entry(counter_key(c), String::new()));
    Some(LocalRateLimitDescriptor {
        entries: std::iter::once(name).chain(counters).collect(),
        token_bucket: Some(bucket(limit.requests?)?),
        shadow_mode: limit.shadow,
    })
}

fn bucket(rate: RequestRate) -> Option<TokenBucket> {
    Some(TokenBucket {
        max_tokens: u32::try_from(rate.burst).ok()?,
        tokens_per_fill: u32v(u32::try_from(rate.rate).ok()?),
        fill_interval: millis(rate.window_ms),
    })
}

fn always() -> Option<RuntimeFractionalPercent> {
    let all = FractionalPercent { numerator: 100, denominator: DenominatorType::Hundred.into() };
    Some(RuntimeFractionalPercent { default_value: Some(all), ..Default::default() })
}
