//! What is allowed but probably not meant: rules that can never decide, equal conditions that lead to different arms,
//! weights that act on nobody. A report before apply; never a reason to refuse. Says only what is certain.
use serde::{Deserialize, Serialize};
use tidegate_limiter::matching::{BUCKETS, Condition, ValueTest};

use crate::snapshot::{ObjectRef, Rule, Split};

/// What kind of overlap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OverlapKind {
    /// An earlier rule takes every request that this rule could take.
    Unreachable,
    /// As Unreachable, with the very same conditions and another arm.
    Contradiction,
    /// A rule takes every request that the weights could decide by key.
    WeightsShadowed,
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overlap {
    pub kind: OverlapKind,
    /// The policy that does not act as written.
    pub owner: ObjectRef,
    /// Id of the rule or split that does not act.
    pub id: String,
    /// Id of the rule that acts instead.
    pub by: String,
    pub message: String,
}

/// Everything that is certain about one table.
pub fn find(rules: &[Rule], split: &Split) -> Vec<Overlap> {
    let mut found = Vec::new();
    for (i, later) in rules.iter().enumerate() {
        if let Some(earlier) = rules[..i].iter().find(|earlier| implies(&later.conditions, &earlier.conditions)) {
            found.push(unreachable(earlier, later));
        }
    }
    if let Some(rule) = rules.iter().find(|rule| takes_every_key(rule, split)) {
        let message = format!(
            "the weights act only on requests without the header {}: {} takes all the others",
            split.key_header, rule.id
        );
        found.push(Overlap {
            kind: OverlapKind::WeightsShadowed,
            owner: split.owner.clone(),
            id: split.id.clone(),
            by: rule.id.clone(),
            message,
        });
    }
    found
}

fn unreachable(earlier: &Rule, later: &Rule) -> Overlap {
    let same = implies(&earlier.conditions, &later.conditions);
    let (kind, message) = if same && earlier.arm != later.arm {
        let message = format!(
            "{} never decides: {} has the same conditions, comes first and leads to another arm",
            later.id, earlier.id
        );
        (OverlapKind::Contradiction, message)
    } else {
        let why = if same { "has the same conditions" } else { "takes every request that it could take" };
        (OverlapKind::Unreachable, format!("{} never decides: {} comes first and {why}", later.id, earlier.id))
    };
    Overlap { kind, owner: later.owner.clone(), id: later.id.clone(), by: earlier.id.clone(), message }
}

/// Whether every request with the split's key meets the rule.
fn takes_every_key(rule: &Rule, split: &Split) -> bool {
    rule.conditions.iter().all(|c| match c {
        Condition::Header { name, test: ValueTest::Present } => *name == split.key_header,
        Condition::Bucket { header, from: 0, to, .. } => *header == split.key_header && *to == BUCKETS,
        Condition::Header { .. } | Condition::Tenant(_) | Condition::Bucket { .. } => false,
    })
}

/// Whether all of `premises` together certainly make all of `conclusions` hold.
pub fn implies(premises: &[Condition], conclusions: &[Condition]) -> bool {
    conclusions.iter().all(|conclusion| premises.iter().any(|premise| implies_one(premise, conclusion)))
}

fn implies_one(premise: &Condition, conclusion: &Condition) -> bool {
    if premise == conclusion {
        return true;
    }
    match (premise, conclusion) {
        (Condition::Header { name: a, test: p }, Condition::Header { name: b, test: c }) => {
            a == b && test_implies(p, c)
        }
        (Condition::Bucket { header: a, .. }, Condition::Header { name: b, test: ValueTest::Present }) => a == b,
        (
            Condition::Bucket { header: a, seed: s, from, to },
            Condition::Bucket { header: b, seed: z, from: first, to: end },
        ) => a == b && (s == z && first <= from && to <= end || *first == 0 && *end == BUCKETS),
        (Condition::Header { name, .. }, Condition::Bucket { header, from: 0, to, .. }) => {
            name == header && *to == BUCKETS
        }
        (Condition::Header { .. } | Condition::Bucket { .. } | Condition::Tenant(_), Condition::Tenant(_))
        | (Condition::Tenant(_), Condition::Header { .. } | Condition::Bucket { .. })
        | (Condition::Bucket { .. }, Condition::Header { .. })
        | (Condition::Header { .. }, Condition::Bucket { .. }) => false,
    }
}

fn test_implies(premise: &ValueTest, conclusion: &ValueTest) -> bool {
    match (premise, conclusion) {
        (_, ValueTest::Present) => true,
        (ValueTest::Exact(value), test) => test.holds(value.as_bytes()),
        (ValueTest::Prefix(longer), ValueTest::Prefix(shorter)) => longer.starts_with(shorter),
        (ValueTest::Regex { source: a, .. }, ValueTest::Regex { source: b, .. }) => a == b,
        (ValueTest::Prefix(_), ValueTest::Exact(_) | ValueTest::Regex { .. })
        | (ValueTest::Regex { .. }, ValueTest::Exact(_) | ValueTest::Prefix(_))
        | (ValueTest::Present, ValueTest::Exact(_) | ValueTest::Prefix(_) | ValueTest::Regex { .. }) => false,
    }
}
