//! A target's table as rows: conditions, then an action. Both forms of the virtual host (a list of routes, or a matcher tree when
//! a rule asks for a bucket) are made from the same rows, so they cannot say different things.
use envoy_types::pb::envoy::{
    config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier},
    r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern},
};
use tidegate_limiter::matching::{Condition, ValueTest};
use tidegate_policy::snapshot::{ObjectRef, Snapshot, Target};
use tidegate_proto::contract::HEADER_TENANT;

/// RE2 for any bytes at all, invalid UTF-8 included (`.` would not match those).
pub(crate) const ANY_BYTES: &str = r"\C*";

/// One row: if all conditions hold, this is what happens.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub id: &'a str,
    pub owner_generation: i64,
    pub conditions: &'a [Condition],
    pub to: Destination<'a>,
}

/// Where a row sends a request.
#[derive(Debug)]
pub(crate) enum Destination<'a> {
    /// No version of the model is known to anybody.
    Nowhere,
    Arm(Leg<'a>),
    /// By hash of a header; weights above zero, in order.
    Split {
        key_header: &'a str,
        salt: &'a str,
        legs: Vec<(Leg<'a>, u32)>,
    },
}

/// An arm as a route names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg<'a> {
    pub cluster: &'a str,
    pub label: &'a str,
    pub version: &'a str,
}

/// The rows of a target; the last has no conditions.
pub(crate) fn rows<'a>(snapshot: &'a Snapshot, target: &'a Target) -> Vec<Row<'a>> {
    let rules = target.rules.iter().map(|rule| Row {
        id: &rule.id,
        owner_generation: rule.owner_generation,
        conditions: &rule.conditions,
        to: leg(snapshot, &rule.arm, &rule.arm_label).map_or(Destination::Nowhere, Destination::Arm),
    });
    let split = &target.split;
    let last = Row {
        id: &split.id,
        owner_generation: split.owner_generation,
        conditions: &[],
        to: split_destination(snapshot, target),
    };
    rules.chain([last]).collect()
}

fn split_destination<'a>(snapshot: &'a Snapshot, target: &'a Target) -> Destination<'a> {
    let split = &target.split;
    let legs: Vec<_> = split
        .intervals
        .iter()
        .filter(|i| i.weight > 0)
        .filter_map(|i| Some((leg(snapshot, &i.arm, &i.arm_label)?, i.weight)))
        .collect();
    match legs.as_slice() {
        [] => Destination::Nowhere,
        [(only, _)] => Destination::Arm(*only),
        [_, _, ..] => Destination::Split { key_header: &split.key_header, salt: &split.salt, legs },
    }
}

fn leg<'a>(snapshot: &'a Snapshot, cluster: &'a str, label: &'a str) -> Option<Leg<'a>> {
    snapshot.arms.get(cluster).map(|arm| Leg { cluster, label, version: &arm.version })
}

/// Whether any rule asks for a bucket, which a plain route cannot.
pub(crate) fn needs_matcher(target: &Target) -> bool {
    target.rules.iter().flat_map(|r| &r.conditions).any(|c| matches!(c, Condition::Bucket { .. }))
}

/// All conditions as header matchers; None when one is a bucket.
pub(crate) fn header_matchers(conditions: &[Condition]) -> Option<Vec<HeaderMatcher>> {
    conditions.iter().map(header_matcher).collect()
}

fn header_matcher(condition: &Condition) -> Option<HeaderMatcher> {
    let (name, specifier) = match condition {
        Condition::Tenant(tenant) => (HEADER_TENANT, HeaderMatchSpecifier::StringMatch(exact(tenant))),
        Condition::Header { name, test: ValueTest::Present } => {
            (name.as_str(), HeaderMatchSpecifier::PresentMatch(true))
        }
        Condition::Header { name, test } => (name.as_str(), HeaderMatchSpecifier::StringMatch(string_matcher(test))),
        Condition::Bucket { .. } => return None,
    };
    Some(HeaderMatcher { name: name.to_owned(), header_match_specifier: Some(specifier), ..Default::default() })
}

/// The value test as Envoy's; all are over bytes and a regex must match the whole value.
pub(crate) fn string_matcher(test: &ValueTest) -> StringMatcher {
    let pattern = match test {
        ValueTest::Exact(value) => MatchPattern::Exact(value.clone()),
        ValueTest::Prefix(value) => MatchPattern::Prefix(value.clone()),
        ValueTest::Regex { source, .. } => MatchPattern::SafeRegex(regex(source)),
        ValueTest::Present => MatchPattern::SafeRegex(regex(ANY_BYTES)),
    };
    StringMatcher { match_pattern: Some(pattern), ..Default::default() }
}

/// Exactly this value.
pub(crate) fn exact(value: &str) -> StringMatcher {
    StringMatcher { match_pattern: Some(MatchPattern::Exact(value.to_owned())), ..Default::default() }
}

/// An RE2 pattern; Envoy matches the whole value.
pub(crate) fn regex(pattern: &str) -> RegexMatcher {
    RegexMatcher { regex: pattern.to_owned(), ..Default::default() }
}

/// `<namespace>/<name>`.
pub(crate) fn path_of(object: &ObjectRef) -> String {
    format!("{}/{}", object.namespace, object.name)
}
