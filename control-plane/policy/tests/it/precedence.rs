//! The precedence of rules: the documented table and the code are the same, and the order is total.
use std::cmp::Ordering;

use chrono::TimeDelta;
use proptest::prelude::*;
use tidegate_policy::{
    kinds::{BucketMatch, HeaderMatch, Match, MatchType, TenantMatch},
    precedence::{Precedence, Rank},
};

use crate::scenario::{now, object_ref};

pub fn header(name: &str, op: MatchType, value: &str) -> Match {
    let value = (op != MatchType::Present).then(|| value.to_owned());
    Match::Header { header: HeaderMatch { name: name.to_owned(), op, value } }
}

/// One condition of every rank, on a header of its own.
fn of_rank(rank: Rank, n: usize) -> Match {
    let name = format!("h{n}");
    match rank {
        Rank::Tenant => Match::Tenant { tenant: TenantMatch { name: "t".to_owned() } },
        Rank::Exact => header(&name, MatchType::Exact, "v"),
        Rank::Semver => header(&name, MatchType::Semver, "2.x"),
        Rank::Regex => header(&name, MatchType::Regex, "v.*"),
        Rank::Prefix => header(&name, MatchType::Prefix, "v"),
        Rank::Present => header(&name, MatchType::Present, ""),
        Rank::Bucket => Match::Bucket { bucket: BucketMatch { header: name, salt: String::new(), from: 0, to: 100 } },
    }
}

fn at(matches: &[Match], age: i64, owner: &str, position: usize) -> Precedence {
    Precedence::new(matches, now() + TimeDelta::seconds(age), object_ref(owner), position)
}

fn before(a: &[Match], b: &[Match]) -> bool {
    at(a, 0, "default/p", 1) < at(b, 0, "default/p", 0)
}

#[test]
fn the_documented_table_is_the_order_of_the_code() {
    let page = include_str!("../../../../docs/reference/precedence.md");
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|l| l.strip_prefix("| "))
        .filter(|l| l.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    let names: Vec<&str> = documented.iter().map(|l| l.split('|').nth(1).unwrap().trim().trim_matches('`')).collect();
    let expected: Vec<String> = Rank::ALL.iter().map(|r| format!("{r:?}")).collect();
    assert_eq!(names, expected);
    for pair in Rank::ALL.windows(2) {
        assert!(before(&[of_rank(pair[0], 0)], &[of_rank(pair[1], 0)]), "{:?} before {:?}", pair[0], pair[1]);
    }
}

/// Every combination of up to three ranks, in the order that the code gives them, is in a golden.
#[test]
fn every_combination_has_its_place() {
    let mut rules: Vec<Vec<Rank>> = Vec::new();
    for (i, a) in Rank::ALL.iter().enumerate() {
        rules.push(vec![*a]);
        for (j, b) in Rank::ALL.iter().enumerate().skip(i) {
            rules.push(vec![*a, *b]);
            rules.extend(Rank::ALL.iter().skip(j).map(|c| vec![*a, *b, *c]));
        }
    }
    rules.retain(|r| r.iter().filter(|x| **x == Rank::Tenant).count() < 2);
    let conditions = |ranks: &Vec<Rank>| ranks.iter().enumerate().map(|(n, r)| of_rank(*r, n)).collect::<Vec<_>>();
    rules.sort_by_key(|ranks| at(&conditions(ranks), 0, "default/p", 0));
    let text: String = rules
        .iter()
        .map(|r| format!("{}\n", r.iter().map(|x| format!("{x:?}")).collect::<Vec<_>>().join(" + ")))
        .collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/precedence.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap_or_default(), "UPDATE=1 rewrites, if this is meant");
}

#[test]
fn more_conditions_come_before_fewer_of_the_same_kind() {
    let one = [header("a", MatchType::Exact, "x")];
    let two = [header("a", MatchType::Exact, "x"), header("b", MatchType::Present, "")];
    assert!(before(&two, &one));
}

#[test]
fn a_longer_prefix_and_a_narrower_bucket_come_first() {
    assert!(before(&[header("a", MatchType::Prefix, "ab")], &[header("a", MatchType::Prefix, "a")]));
    let bucket =
        |to| [Match::Bucket { bucket: BucketMatch { header: "u".to_owned(), salt: String::new(), from: 0, to } }];
    assert!(before(&bucket(10), &bucket(11)));
}

#[test]
fn ties_go_to_the_older_policy_then_the_name_then_the_position() {
    let rule = [header("a", MatchType::Exact, "x")];
    assert!(at(&rule, 0, "default/z", 9) < at(&rule, 1, "default/a", 0));
    assert!(at(&rule, 0, "default/a", 9) < at(&rule, 0, "default/b", 0));
    assert!(at(&rule, 0, "default/a", 0) < at(&rule, 0, "default/a", 1));
}

fn any_rule() -> impl Strategy<Value = Vec<Match>> {
    prop::collection::vec((0..7_usize, 0..3_usize), 1..4)
        .prop_map(|v| v.into_iter().map(|(r, n)| of_rank(Rank::ALL[r], n)).collect())
}

fn any_place() -> impl Strategy<Value = Precedence> {
    (any_rule(), 0..2_i64, 0..2_usize, 0..2_usize)
        .prop_map(|(m, age, owner, p)| at(&m, age, ["default/a", "default/b"][owner], p))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_order_is_total(a in any_place(), b in any_place(), c in any_place()) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a == b, a.cmp(&b) == Ordering::Equal);
        if a <= b && b <= c {
            prop_assert!(a <= c);
        }
    }

    /// A rule that asks for everything that another asks for, and more, is never behind it.
    #[test]
    fn a_narrower_rule_comes_first(rule in any_rule(), more in any_rule()) {
        let narrower: Vec<Match> = rule.iter().chain(&more).cloned().collect();
        prop_assert!(before(&narrower, &rule));
    }
}
