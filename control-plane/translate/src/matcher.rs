//! The virtual host as a matcher tree: needed only when a rule asks for a bucket, because a route cannot test a hash and fall
//! through. Each row's whole condition stands in its predicate; an action's routes never decline, or the search would end there.
use envoy_types::pb::{
    envoy::{
        config::route::v3::{Route, RouteList},
        extensions::matching::input_matchers::consistent_hashing::v3::ConsistentHashing,
        r#type::matcher::v3::HttpRequestHeaderMatchInput,
    },
    xds::{
        core::v3::TypedExtensionConfig,
        r#type::matcher::v3::{
            Matcher, RegexMatcher, StringMatcher,
            matcher::{
                MatcherList, MatcherType, OnMatch,
                matcher_list::{
                    FieldMatcher, Predicate,
                    predicate::{MatchType, PredicateList, SinglePredicate, single_predicate},
                },
                on_match,
            },
            regex_matcher::{EngineType, GoogleRe2},
            string_matcher::MatchPattern,
        },
    },
};
use prost::{Message, Name};
use tidegate_limiter::matching::{BUCKETS, Condition, ValueTest};
use tidegate_proto::contract::HEADER_TENANT;

use crate::{any::pack, filters::model, table::ANY_BYTES};

/// A row of the tree: a model, conditions, and the routes that then decide by path.
pub(crate) struct Branch<'a> {
    pub model_id: &'a str,
    pub conditions: &'a [Condition],
    pub routes: Vec<Route>,
}

/// First branch that holds decides; none: `rest`.
pub(crate) fn tree(branches: Vec<Branch<'_>>, rest: Vec<Route>) -> Matcher {
    let matchers = branches
        .into_iter()
        .map(|branch| FieldMatcher { predicate: Some(predicate(&branch)), on_match: Some(decide(branch.routes)) })
        .collect();
    Matcher {
        on_no_match: Some(Box::new(decide(rest))),
        matcher_type: Some(MatcherType::MatcherList(MatcherList { matchers })),
    }
}

fn decide(routes: Vec<Route>) -> OnMatch {
    let action = extension("routes", &RouteList { routes });
    OnMatch { on_match: Some(on_match::OnMatch::Action(action)), ..Default::default() }
}

fn predicate(branch: &Branch<'_>) -> Predicate {
    let all: Vec<_> = std::iter::once(header(model::HEADER, MatchPattern::Exact(branch.model_id.to_owned())))
        .chain(branch.conditions.iter().map(condition))
        .collect();
    all_of(all)
}

/// Envoy wants two at least in an `and_matcher`.
fn all_of(mut all: Vec<Predicate>) -> Predicate {
    if all.len() == 1 {
        return all.remove(0);
    }
    of(MatchType::AndMatcher(PredicateList { predicate: all }))
}

fn of(match_type: MatchType) -> Predicate {
    Predicate { match_type: Some(match_type) }
}

fn condition(condition: &Condition) -> Predicate {
    match condition {
        Condition::Tenant(tenant) => header(HEADER_TENANT, MatchPattern::Exact(tenant.clone())),
        Condition::Header { name, test } => header(name, pattern(test)),
        Condition::Bucket { header, seed, from, to } => bucket(header, *seed, (*from, *to)),
    }
}

fn pattern(test: &ValueTest) -> MatchPattern {
    match test {
        ValueTest::Exact(value) => MatchPattern::Exact(value.clone()),
        ValueTest::Prefix(value) => MatchPattern::Prefix(value.clone()),
        ValueTest::Regex { source, .. } => regex(source),
        ValueTest::Present => regex(ANY_BYTES),
    }
}

fn regex(source: &str) -> MatchPattern {
    let engine_type = Some(EngineType::GoogleRe2(GoogleRe2 {}));
    MatchPattern::SafeRegex(RegexMatcher { regex: source.to_owned(), engine_type })
}

fn header(name: &str, pattern: MatchPattern) -> Predicate {
    let value = StringMatcher { match_pattern: Some(pattern), ..Default::default() };
    single(header_input(name), single_predicate::Matcher::ValueMatch(value))
}

/// xxh64(value, seed) mod 10,000 in `[from, to)`; Envoy's matcher tests "at least threshold".
fn bucket(name: &str, seed: u64, (from, to): (u32, u32)) -> Predicate {
    let at_least = |threshold: u32| {
        let hash = ConsistentHashing { threshold, modulo: BUCKETS, seed };
        let matcher = extension("envoy.matching.matchers.consistent_hashing", &hash);
        single(header_input(name), single_predicate::Matcher::CustomMatch(matcher))
    };
    let mut all = vec![at_least(from)];
    if to < BUCKETS {
        all.push(of(MatchType::NotMatcher(Box::new(at_least(to)))));
    }
    all_of(all)
}

fn header_input(name: &str) -> TypedExtensionConfig {
    extension("envoy.matching.inputs.request_headers", &HttpRequestHeaderMatchInput { header_name: name.to_owned() })
}

fn single(input: TypedExtensionConfig, matcher: single_predicate::Matcher) -> Predicate {
    of(MatchType::SinglePredicate(SinglePredicate { input: Some(input), matcher: Some(matcher) }))
}

fn extension<M: Message + Name>(name: &str, message: &M) -> TypedExtensionConfig {
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(pack(message)) }
}
