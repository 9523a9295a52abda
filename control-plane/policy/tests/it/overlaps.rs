//! How much work the report of overlaps may be, and what it says when that is not enough.
use tidegate_limiter::matching::{Condition, ValueTest};
use tidegate_policy::{
    kinds::ArmName,
    overlap::{MAX_COMPARED, Overlap, OverlapKind, find},
    snapshot::{Interval, Rule, Split},
};

use crate::scenario::object_ref;

fn found(rules: &[Rule]) -> Vec<Overlap> {
    let owner = object_ref("default/r");
    let interval = Interval { arm: "v1".to_owned(), arm_label: "stable".to_owned(), weight: 10_000 };
    let split = Split {
        id: "default/r/split".to_owned(),
        owner,
        owner_generation: 1,
        key_header: "x-user-id".to_owned(),
        salt: String::new(),
        intervals: vec![interval],
    };
    find(rules, &split)
}

fn rule(n: usize, owner: &str, test: ValueTest) -> Rule {
    Rule {
        id: format!("{owner}/rules/{n}"),
        owner: object_ref(owner),
        owner_generation: 1,
        conditions: vec![Condition::Header { name: "a".to_owned(), test }],
        to: ArmName::Stable,
        arm: "v1".to_owned(),
        arm_label: "stable".to_owned(),
    }
}

#[test]
fn only_so_many_rules_are_compared_and_the_policies_beyond_are_told() {
    let one = |n: usize, owner: &str| rule(n, owner, ValueTest::Exact(format!("v{n}")));
    let mut rules: Vec<Rule> = (0..MAX_COMPARED - 1).map(|n| one(n, "default/old")).collect();
    // The same as the first, within what is compared and beyond it.
    rules.push(one(0, "default/twin"));
    assert_eq!(found(&rules).len(), 1);
    rules.extend([one(0, "default/young"), one(1, "default/young"), one(2, "default/younger")]);
    let found = found(&rules);
    let kinds: Vec<_> = found.iter().map(|o| (o.kind, o.owner.name.as_str())).collect();
    let expected = [
        (OverlapKind::Unreachable, "twin"),
        (OverlapKind::NotCompared, "young"),
        (OverlapKind::NotCompared, "younger"),
    ];
    assert_eq!(kinds, expected);
    assert!(found[1].message.contains(&format!("has {} rules", MAX_COMPARED + 3)), "{}", found[1].message);
}

#[test]
fn a_pattern_is_compared_by_its_text_only() {
    let pattern = || ValueTest::regex("v.*").unwrap();
    assert_eq!(found(&[rule(0, "default/r", pattern()), rule(1, "default/r", pattern())]).len(), 1);
    let behind = [rule(0, "default/r", pattern()), rule(1, "default/r", ValueTest::Exact("v2".to_owned()))];
    assert_eq!(
        found(&behind),
        [],
        "certain, but no table has this order, and a pattern would be built at every compile"
    );
    let prefix = ValueTest::Prefix("v".to_owned());
    assert_eq!(
        found(&[rule(0, "default/r", prefix), rule(1, "default/r", ValueTest::Exact("v2".to_owned()))]).len(),
        1
    );
}
