//! When Envoy sends a request to another worker: only when nothing of an answer has been passed on. Bounded to two more tries.
use envoy_types::pb::envoy::{
    config::route::v3::{
        HeaderMatcher, RetryPolicy,
        header_matcher::HeaderMatchSpecifier,
        retry_policy::{RetryBackOff, RetryHostPredicate, retry_host_predicate::ConfigType},
    },
    extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate,
};
use tidegate_proto::contract::HEADER_RETRY;

use crate::any::{millis, pack, u32v};

/// Further tries after the first.
const RETRIES: u32 = 2;
/// Picks per try, to find a worker that was not tried yet.
const PICKS: i64 = 16;

pub(crate) fn policy() -> RetryPolicy {
    RetryPolicy {
        retry_on: "connect-failure,refused-stream,reset,retriable-headers".to_owned(),
        num_retries: u32v(RETRIES),
        retriable_headers: vec![HeaderMatcher {
            name: HEADER_RETRY.to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
            ..Default::default()
        }],
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(ConfigType::TypedConfig(pack(&PreviousHostsPredicate {}))),
        }],
        host_selection_retry_max_attempts: PICKS,
        retry_back_off: Some(RetryBackOff { base_interval: millis(5), max_interval: millis(50) }),
        ..Default::default()
    }
}
