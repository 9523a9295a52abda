//! What is allowed but probably not meant: rules that can never decide, equal conditions that lead to different arms,
//! weights that act on nobody. A report before apply; never a reason to refuse. Says only what is certain.
use std::collections::BTreeMap;

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
    /// Nobody looked: the table has more rules than are compared.
    NotCompared,
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
    /// Id of the rule that acts instead; of the last that was compared when the others were not.
    pub by: String,
    pub message: String,
}

/// Most rules of one table that are compared with each other: the work grows with the square.
pub const MAX_COMPARED: usize = 512;

/// Everything that is certain about one table, as far as its first [`MAX_COMPARED`] rules tell.
pub fn find(rules: &[Rule], split: &Split) -> Vec<Overlap> {
    let mut found = Vec::new();
    let (compared, rest) = rules.split_at(rules.len().min(MAX_COMPARED));
    for (i, later) in compared.iter().enumerate() {
        if let Some(earlier) = compared[..i].iter().find(|earlier| implies(&later.conditions, &earlier.conditions)) {
            found.push(unreachable(earlier, later));
        }
    }
    found.extend(not_compared(compared, rest));
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

/// One for each policy with a rule that was not compared.
fn not_compared(compared: &[Rule], rest: &[Rule]) -> Vec<Overlap> {
    let by = compared.last().map(|r| r.id.clone()).unwrap_or_default();
    let mut firsts: BTreeMap<&ObjectRef, &Rule> = BTreeMap::new();
    for rule in rest {
        firsts.entry(&rule.owner).or_insert(rule);
    }
    let about = |(owner, first): (&ObjectRef, &Rule)| Overlap {
        kind: OverlapKind::NotCompared,
        owner: owner.clone(),
        id: first.id.clone(),
        by: by.clone(),
        message: format!(
            "{} and what comes after it are in force but not looked at for overlaps: the model has {} rules, the first {MAX_COMPARED} are compared",
            first.id,
            compared.len() + rest.len()
        ),
    };
    firsts.into_iter().map(about).collect()
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
        (ValueTest::Exact(value), ValueTest::Exact(other)) => value == other,
        (ValueTest::Exact(value), ValueTest::Prefix(prefix)) => value.starts_with(prefix),
        (ValueTest::Prefix(longer), ValueTest::Prefix(shorter)) => longer.starts_with(shorter),
        (ValueTest::Regex { source: a, .. }, ValueTest::Regex { source: b, .. }) => a == b,
        // To ask a pattern would build it at every compile, and for little: precedence puts an exact value before a pattern, so it
        // stands behind one only when the rule with the pattern asks for that value, too.
        (ValueTest::Exact(_), ValueTest::Regex { .. })
        | (ValueTest::Prefix(_), ValueTest::Exact(_) | ValueTest::Regex { .. })
        | (ValueTest::Regex { .. }, ValueTest::Exact(_) | ValueTest::Prefix(_))
        | (ValueTest::Present, ValueTest::Exact(_) | ValueTest::Prefix(_) | ValueTest::Regex { .. }) => false,
    }
}
