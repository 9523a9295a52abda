//! Why an arm that a document names gets nothing, or is answered for by another. Only words about what `compile` decided.
use super::Explanation;
use crate::{
    kinds::ArmName,
    snapshot::{NamedArm, NamedArms, Rule, Target},
    warnings,
};

/// `candidate v2`, when another version answers for the arm that a rule names.
pub(super) fn named(target: &Target, rule: &Rule) -> Option<String> {
    let owner = target.named.iter().find(|n| n.owner == rule.owner)?;
    let (name, arm) = match rule.to {
        ArmName::Stable => ("stable", &owner.stable),
        ArmName::Candidate => ("candidate", owner.candidate.as_ref()?),
    };
    (arm.version != arm.named).then(|| format!("{name} {}", arm.named))
}

/// Of every document about the model: arms with a share that do not answer as named, and candidates that get nothing.
pub(super) fn note(target: &Target, answer: &mut Explanation) {
    for named in &target.named {
        let arms = named.candidate.iter().map(|arm| ("candidate", arm)).chain([("stable", &named.stable)]);
        answer.notes.extend(arms.filter_map(|(name, arm)| one(named, name, arm, target)));
        answer.notes.extend(nothing(named));
    }
}

fn one(named: &NamedArms, name: &str, arm: &NamedArm, target: &Target) -> Option<String> {
    let share = warnings::share(arm)?;
    let why = warnings::why(arm, &target.model)?;
    let then = if arm.version == arm.named { String::new() } else { format!("; {} answers instead", arm.version) };
    Some(format!("{} gives {share} to {name} {}: {why}{then}", named.owner, arm.named))
}

/// A candidate without users, and why.
fn nothing(named: &NamedArms) -> Option<String> {
    let candidate = named.candidate.as_ref().filter(|c| c.weight == 0)?;
    let (owner, version) = (&named.owner, &candidate.named);
    let only = match candidate.rules {
        0 => "and no rule leads to it".to_owned(),
        1 => "and only 1 rule leads to it".to_owned(),
        n => format!("and only {n} rules lead to it"),
    };
    Some(match &named.split_shadowed_by {
        Some(older) => {
            format!("{owner}: its weights are not in force, the older ReleasePolicy {older} splits the model")
        }
        None => format!("{owner} gives candidate {version} weight 0, {only}"),
    })
}
