//! Rules and conditions of a policy in compiled form, each rule with its precedence.
use tidegate_limiter::matching::Condition;

use super::{objects::Read, release::ReleaseOutcome};
use crate::{
    kinds::{Match, ReleasePolicySpec},
    names,
    precedence::Precedence,
    snapshot::{ObjectRef, Rule},
    validate::{salt_seed, tag_header, value_test},
};

/// Adds the rules of one policy. A rule whose conditions do not compile is left out; validation makes sure there is none.
pub(super) fn add(
    policy: &Read<'_, ReleasePolicySpec>,
    model: &ObjectRef,
    outcome: &ReleaseOutcome,
    table: &mut Vec<(Precedence, Rule)>,
) {
    let owner = policy.name();
    for (position, rule) in policy.spec.rules.iter().enumerate() {
        let Some(conditions) = conditions(&rule.matches) else { continue };
        let arm = outcome.arm(rule.to);
        let precedence = Precedence::new(&rule.matches, policy.object.created_at, owner.clone(), position);
        let compiled = Rule {
            id: names::rule_id(owner, position),
            owner: owner.clone(),
            owner_generation: policy.object.generation,
            conditions,
            to: rule.to,
            arm: names::cluster(model, &arm.version),
            arm_label: arm.label.to_owned(),
        };
        table.push((precedence, compiled));
    }
}

/// All conditions, header names in lower case.
pub(super) fn conditions(matches: &[Match]) -> Option<Vec<Condition>> {
    matches.iter().map(condition).collect()
}

fn condition(from: &Match) -> Option<Condition> {
    Some(match from {
        Match::Header { header } => {
            Condition::Header { name: header.name.to_ascii_lowercase(), test: value_test(header)? }
        }
        Match::Tag { tag } => Condition::Header { name: tag_header(&tag.name), test: value_test(tag)? },
        Match::Tenant { tenant } => Condition::Tenant(tenant.name.clone()),
        Match::Bucket { bucket } => Condition::Bucket {
            header: bucket.header.to_ascii_lowercase(),
            seed: salt_seed(&bucket.salt),
            from: bucket.from,
            to: bucket.to,
        },
    })
}
