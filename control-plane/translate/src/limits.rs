//! How a request is described to Envoy's limiter, for every limit that the gateway enforces. Which these are is decided in
//! `policy`: a limit that Envoy cannot express exactly is left to the workers and never approximated.
use envoy_types::pb::envoy::config::route::v3::{
    RateLimit,
    rate_limit::{
        Action,
        action::{ActionSpecifier, HeaderValueMatch, RequestHeaders},
    },
};
use tidegate_policy::{
    compile::gateway_counts,
    snapshot::{Counter, Limit, Snapshot},
};
use tidegate_proto::contract::HEADER_TENANT;

use crate::{any::truth, filters::model, table};

/// Descriptor entry that names the limit.
pub(crate) const KEY: &str = "limit";
/// A limit that the gateway enforces, with the models that it is about.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    pub limit: &'a Limit,
    /// Sorted.
    pub models: Vec<&'a str>,
}

/// Every limit that the gateway enforces on some model, by id.
pub(crate) fn held(snapshot: &Snapshot) -> Vec<Held<'_>> {
    let models_of = |limit: &Limit| -> Vec<&str> {
        let targets = snapshot.targets.iter().filter(|t| gateway_counts(snapshot, t, limit));
        let mut models: Vec<_> = targets.map(|t| t.model_id.as_str()).collect();
        models.sort_unstable();
        models
    };
    let held = snapshot.limits.values().map(|limit| Held { limit, models: models_of(limit) });
    held.filter(|h| !h.models.is_empty()).collect()
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
