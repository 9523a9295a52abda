//! Properties over random policies: they are valid, compile, survive the store, and growth moves users one way only.
use proptest::prelude::*;
use tidegate_policy::{
    explain::{ExplainHeader, ExplainRequest, Outcome, explain, interval_at},
    kinds::Kind,
    reject::Code,
    validate::{self, parse_stored, semver},
};

use crate::scenario::{OPEN, Scenario};

/// A release policy as YAML, valid by construction.
pub fn policy(name: &'static str) -> impl Strategy<Value = String> {
    let value = "[a-c]{1,3}";
    let condition = prop_oneof![
        ("[a-d]", value).prop_map(|(n, v)| format!("{{type: Header, header: {{name: {n}, type: Exact, value: {v}}}}}")),
        ("[e-f]", value)
            .prop_map(|(n, v)| format!("{{type: Header, header: {{name: {n}, type: Prefix, value: {v}}}}}")),
        ("[g-h]", value).prop_map(|(n, v)| format!("{{type: Tag, tag: {{name: {n}, type: Regex, value: '{v}.*'}}}}")),
        (0..3_u32, 0..3_u32)
            .prop_map(|(a, b)| format!("{{type: Header, header: {{name: ver, type: Semver, value: '^{a}.{b}'}}}}")),
        Just("{type: Header, header: {name: p, type: Present}}".to_owned()),
        value.prop_map(|v| format!("{{type: Tenant, tenant: {{name: {v}}}}}")),
        (0..5000_u32, 5000..10_000_u32)
            .prop_map(|(a, b)| format!("{{type: Bucket, bucket: {{header: u, salt: s, from: {a}, to: {b}}}}}")),
    ];
    let rule = (condition, any::<bool>())
        .prop_map(|(c, to)| format!("    - {{match: [{c}], to: {}}}\n", if to { "Candidate" } else { "Stable" }));
    (prop::collection::vec(rule, 0..6), 0..=100_u32).prop_map(move |(rules, weight)| {
        let head =
            format!("apiVersion: tidegate.dev/v1alpha1\nkind: ReleasePolicy\nmetadata: {{name: {name}}}\nspec:\n");
        let body = "  targetRef: {kind: Model, name: chat}\n  stable: v1\n  candidate: v2\n  assignment: {salt: s}\n";
        format!(
            "{head}{body}  rules:\n{}  steps: [{{weight: {weight}}}]\n",
            if rules.is_empty() { "    []\n".to_owned() } else { rules.concat() }
        )
    })
}

/// A model with two versions.
pub fn model() -> String {
    let file = format!("{{path: tokenizer.json, sha256: {}, size: 1}}", "a".repeat(64));
    let version = |v: &str| format!("    - {{name: {v}, uri: 'file:chat/{v}', task: Embedding, files: [{file}]}}\n");
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Model\nmetadata: {{name: chat}}\nspec:\n  versions:\n{}{}",
        version("v1"),
        version("v2")
    )
}

pub fn world(policies: &[&str]) -> Scenario {
    let apply =
        std::iter::once(model()).chain(policies.iter().map(|p| (*p).to_owned())).collect::<Vec<_>>().join("---\n");
    Scenario { apply, ..Scenario::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_valid_policy_compiles_and_survives_the_store(text in policy("a")) {
        let objects = validate::parse(text.as_bytes()).unwrap();
        let stored = objects[0].spec().to_value();
        prop_assert_eq!(&parse_stored(Kind::ReleasePolicy, &stored).unwrap(), objects[0].spec());
        let compiled = world(&[&text]).compile();
        let target = &compiled.snapshot.targets[0];
        let rules = stored.get("rules").and_then(|r| r.as_array()).map_or(0, Vec::len);
        prop_assert_eq!(target.rules.len(), rules);
        prop_assert_eq!(target.split.intervals.iter().map(|i| i.weight).sum::<u32>(), 10_000);
        for cluster in target.rules.iter().map(|r| &r.arm).chain(target.split.intervals.iter().map(|i| &i.arm)) {
            prop_assert!(compiled.snapshot.arms.contains_key(cluster));
        }
    }

    /// What is reported as unreachable is never the answer.
    #[test]
    fn a_rule_that_is_reported_never_decides(
        a in policy("a"), b in policy("b"),
        values in prop::collection::vec(("[a-hpu]|ver|x-tag-g", "[a-c]{0,3}|2\\.1"), 0..8), tenant in "[a-c]{1,2}",
    ) {
        let snapshot = world(&[&a, &b]).compile().snapshot;
        let target = &snapshot.targets[0];
        let dead: Vec<String> = tidegate_policy::overlap::find(&target.rules, &target.split).into_iter().map(|o| o.id).collect();
        let headers = values.into_iter().map(|(name, value)| ExplainHeader { name, value: Some(value), value_base64: None }).collect();
        let answer = explain(&snapshot, OPEN, &ExplainRequest { model: "chat".to_owned(), headers, tenant: Some(tenant), ..ExplainRequest::default() });
        prop_assert_eq!(answer.outcome, Outcome::Routed);
        let id = answer.decided_by.unwrap().id;
        prop_assert!(!dead.contains(&id) || id.ends_with("/split"), "{} decided", id);
    }

    #[test]
    fn a_semver_pattern_says_what_the_range_says(
        op in "[\\^~=]?", parts in prop::collection::vec(0..13_u32, 1..4), v in "v?",
        value in prop::collection::vec(0..13_u32, 1..4), build in "(\\+b\\.1)?",
    ) {
        let text = parts.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        let range = semver::Range::parse(&format!("{op}{text}")).unwrap();
        let pattern = tidegate_limiter::matching::Pattern::parse(&range.pattern()).unwrap();
        let shown = value.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        let full = [0, 1, 2].map(|i| value.get(i).copied().unwrap_or(0));
        prop_assert_eq!(
            pattern.compiled.is_match(format!("{v}{shown}{build}").as_bytes()), oracle(&op, &parts, full), "{}{} on {}", op, text, shown
        );
    }
}

/// npm's rules, in words rather than as a pattern.
fn oracle(op: &str, parts: &[u32], value: [u32; 3]) -> bool {
    let low = [0, 1, 2].map(|i| parts.get(i).copied().unwrap_or(0));
    let same = |n: usize| value[..n] == low[..n];
    value >= low
        && match op {
            "^" => match parts.iter().position(|p| *p != 0) {
                Some(first) => same(first + 1),
                None => same(parts.len()),
            },
            "~" => same(parts.len().min(2)),
            _ => same(parts.len()),
        }
}

#[test]
fn large_versions_fit_into_envoys_limit_for_patterns() {
    for range in ["^123.456.789", "~999.999.999", "=123456.123456.123456", "^10.20.30", "*", "^0.12.3"] {
        let pattern = semver::Range::parse(range).unwrap().pattern();
        tidegate_limiter::matching::Pattern::parse(&pattern).unwrap_or_else(|e| panic!("{range}: {e}"));
    }
}

/// `^` and `~` need a pattern with "at least": whatever its digits are, it fits as long as the numbers are not too long.
#[test]
fn ranges_of_numbers_that_always_fit_do_fit() {
    let numbers =
        ["0", "1", "8", "11", "88", "99", "100", "111", "118", "181", "188", "811", "888", "899", "989", "998", "999"];
    for (major, operator) in [("0", '^'), ("1", '^'), ("999999", '^'), ("999999", '~')] {
        for minor in numbers {
            for patch in numbers {
                let text = format!("{operator}{major}.{minor}.{patch}");
                let pattern = semver::Range::parse(&text).unwrap().pattern();
                tidegate_limiter::matching::Pattern::parse(&pattern).unwrap_or_else(|e| panic!("{text}: {e}"));
            }
        }
    }
}

#[test]
fn a_range_whose_pattern_is_too_large_is_refused_as_a_range() {
    let refused = |range: &str| {
        let rule =
            format!("{{match: [{{type: Header, header: {{name: a, type: Semver, value: '{range}'}}}}], to: Stable}}");
        let head = "apiVersion: tidegate.dev/v1alpha1\nkind: ReleasePolicy\nmetadata: {name: a}\nspec:\n";
        let text = format!("{head}  targetRef: {{kind: Model, name: chat}}\n  stable: v1\n  rules: [{rule}]\n");
        validate::parse(text.as_bytes()).err().map(|e| (e.0[0].code, e.0[0].message.clone()))
    };
    let (code, message) = refused("^1.111111.111111").unwrap();
    assert_eq!(code, Code::Semver);
    assert!(message.contains("too long") && message.contains("999"), "{message}");
    assert_eq!(refused("1.111111.111111"), None, "exactly one version is short");
}

/// Growing the candidate from w to w+1 per cent moves nobody but users who go from stable to candidate; over all buckets.
#[test]
fn growth_only_moves_users_from_stable_to_candidate() {
    let intervals = |weight: u32| {
        let head = "apiVersion: tidegate.dev/v1alpha1\nkind: ReleasePolicy\nmetadata: {name: a}\nspec:\n";
        let text = format!(
            "{head}  targetRef: {{kind: Model, name: chat}}\n  stable: v1\n  candidate: v2\n  steps: [{{weight: {weight}}}]\n"
        );
        world(&[&text]).compile().snapshot.targets.remove(0).split.intervals
    };
    let arms = |weight: u32| {
        let intervals = intervals(weight);
        (0..10_000).map(|bucket| interval_at(&intervals, bucket).unwrap().arm_label.clone()).collect::<Vec<_>>()
    };
    let mut before = arms(0);
    assert!(before.iter().all(|a| a == "stable"));
    for weight in (10..=100).step_by(10) {
        let after = arms(weight);
        let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count();
        assert!(before.iter().zip(&after).all(|(b, a)| b == a || (b == "stable" && a == "candidate")));
        assert_eq!(moved, 1_000);
        before = after;
    }
}
