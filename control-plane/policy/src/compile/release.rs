//! One routing table per model: rules in order of precedence, then the split. Which version answers for an arm now is decided in
//! `arms`; nothing is decided here about a worker.
use std::collections::{BTreeMap, BTreeSet};

use tidegate_limiter::matching::BUCKETS as TOTAL;

use super::{
    arms::Choice,
    fleet::Fleet,
    objects::{Objects, Read},
    rules,
};
use crate::{
    kinds::{ArmName, Kind, ModelSpec, ReleasePolicySpec},
    names,
    overlap::Overlap,
    ports::ObjectKey,
    snapshot::{Arm, Interval, NamedArm, NamedArms, ObjectRef, Rule, Split, Standing, Target},
};

/// Status key and label of the arms.
pub(super) const STABLE: &str = "stable";
pub(super) const CANDIDATE: &str = "candidate";

/// What the release policies come to.
#[derive(Debug, Default)]
pub(super) struct Routed {
    pub targets: Vec<Target>,
    pub arms: BTreeMap<String, Arm>,
    /// Versions that some rule or split sends requests to, by model.
    pub versions: BTreeMap<ObjectRef, BTreeSet<String>>,
    /// What each release policy came to, by its name.
    pub releases: BTreeMap<ObjectRef, ReleaseOutcome>,
    /// The version that each model uses when no rule says else.
    pub defaults: BTreeMap<ObjectRef, String>,
    /// Arms with a share and without anybody who is to serve them, by the object that names them.
    pub unserved: BTreeMap<ObjectKey, Vec<String>>,
    /// Overlaps, by the policy that they are reported on.
    pub overlaps: BTreeMap<ObjectRef, Vec<Overlap>>,
}

/// What one release policy came to.
#[derive(Clone, Debug)]
pub(super) struct ReleaseOutcome {
    pub stable: ArmNow,
    pub candidate: Option<ArmNow>,
    /// The older policy whose split is in force instead of this one's.
    pub split_shadowed_by: Option<ObjectRef>,
}

/// An arm as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ArmNow {
    /// The version that the document names.
    pub named: String,
    pub standing: Standing,
    /// What is routed.
    pub version: String,
    /// The label that requests get: of the arm whose version answers.
    pub label: &'static str,
}

impl ArmNow {
    fn interval(&self, model: &ObjectRef, weight: u32) -> Interval {
        Interval { arm: names::cluster(model, &self.version), arm_label: self.label.to_owned(), weight }
    }

    fn shown(&self, weight: u32, rules: usize) -> NamedArm {
        NamedArm {
            named: self.named.clone(),
            standing: self.standing,
            version: self.version.clone(),
            label: self.label,
            weight,
            rules,
        }
    }
}

pub(super) fn targets(objects: &Objects<'_>, fleet: &Fleet<'_>) -> Routed {
    let mut routed = Routed::default();
    for model in objects.models.values() {
        target(model, objects, fleet, &mut routed);
    }
    routed.targets.sort_by(|a, b| a.model_id.cmp(&b.model_id));
    routed
}

fn target(model: &Read<'_, ModelSpec>, objects: &Objects<'_>, fleet: &Fleet<'_>, routed: &mut Routed) {
    let name = model.name();
    let Some(first) = model.spec.versions.first() else { return };
    let choice = Choice::new(model, fleet);
    let used = model.status.arms.get(STABLE);
    let mut split = None;
    let (mut table, mut named) = (Vec::new(), Vec::new());
    let mut shadowing: Option<ObjectRef> = None;
    for policy in objects.releases_of(name) {
        let outcome = ReleaseOutcome { split_shadowed_by: shadowing.clone(), ..outcome(policy, &choice, used) };
        rules::add(policy, name, &outcome, &mut table);
        named.push(outcome.shown(policy));
        if split.is_none() {
            shadowing = Some(policy.name().clone());
            split = Some(release_split(policy, name, &outcome));
            routed.defaults.insert(name.clone(), outcome.stable.version.clone());
        }
        routed.releases.insert(policy.name().clone(), outcome);
    }
    let split = split.unwrap_or_else(|| {
        let stable = choice.stable(choice.default_version().unwrap_or(&first.name), None, used.into_iter());
        routed.defaults.insert(name.clone(), stable.version.clone());
        let shown = stable.shown(TOTAL, 0);
        named.push(NamedArms {
            kind: Kind::Model,
            owner: name.clone(),
            split_shadowed_by: None,
            stable: shown,
            candidate: None,
        });
        default_split(model, &stable.version)
    });
    table.sort_by(|a, b| a.0.cmp(&b.0));
    let rules: Vec<Rule> = table.into_iter().map(|(_, rule)| rule).collect();
    for overlap in crate::overlap::find(&rules, &split) {
        routed.overlaps.entry(overlap.owner.clone()).or_default().push(overlap);
    }
    arms(name, (&rules, &split), fleet, routed);
    let target = Target {
        model: name.clone(),
        model_id: names::model_id(name),
        task: first.task,
        rules,
        split,
        named,
        limits: Vec::new(),
    };
    for (owner, message) in crate::warnings::without_workers(&target) {
        routed.unserved.entry(owner).or_default().push(message);
    }
    routed.targets.push(target);
}

/// Notes every version that a rule or the split names, with who serves it.
fn arms(model: &ObjectRef, (rules, split): (&[Rule], &Split), fleet: &Fleet<'_>, routed: &mut Routed) {
    let versions = routed.versions.entry(model.clone()).or_default();
    let clusters = rules.iter().map(|r| &r.arm).chain(split.intervals.iter().map(|i| &i.arm));
    for cluster in clusters {
        let version = version_of(model, cluster);
        versions.insert(version.to_owned());
        routed.arms.entry(cluster.clone()).or_insert_with(|| Arm {
            cluster: cluster.clone(),
            model: model.clone(),
            version: version.to_owned(),
            endpoints: fleet.endpoints(model, version),
            max_concurrency: None,
        });
    }
}

fn version_of<'c>(model: &ObjectRef, cluster: &'c str) -> &'c str {
    cluster.strip_prefix(&names::cluster(model, "")).unwrap_or_default()
}

/// `model_used` is what the model's requests got before: a policy that is new takes over from it.
fn outcome(policy: &Read<'_, ReleasePolicySpec>, choice: &Choice<'_>, model_used: Option<&String>) -> ReleaseOutcome {
    let (arms, candidate) = (&policy.status.arms, policy.spec.candidate.as_deref());
    let used = arms.get(STABLE).into_iter().chain(model_used);
    let stable = choice.stable(&policy.spec.stable, candidate, used);
    let candidate = candidate.map(|named| choice.candidate(named, &stable, arms.get(CANDIDATE)));
    ReleaseOutcome { stable, candidate, split_shadowed_by: None }
}

impl ReleaseOutcome {
    pub fn arm(&self, arm: ArmName) -> &ArmNow {
        match arm {
            ArmName::Stable => &self.stable,
            ArmName::Candidate => self.candidate.as_ref().unwrap_or(&self.stable),
        }
    }

    /// `status.arms`: what each arm uses. An arm that another answers for has nothing of its own.
    pub fn remembered(&self) -> BTreeMap<String, String> {
        let stable = (STABLE.to_owned(), self.stable.version.clone());
        let candidate = self.candidate.as_ref().filter(|c| c.label == CANDIDATE && c.version != self.stable.version);
        std::iter::once(stable).chain(candidate.map(|c| (CANDIDATE.to_owned(), c.version.clone()))).collect()
    }

    fn shown(&self, policy: &Read<'_, ReleasePolicySpec>) -> NamedArms {
        let in_force = |weight: u32| if self.split_shadowed_by.is_none() { weight } else { 0 };
        let rules = |to: ArmName| policy.spec.rules.iter().filter(|rule| rule.to == to).count();
        let weight = self.candidate.as_ref().map_or(0, |_| candidate_weight(&policy.spec));
        let candidate = self.candidate.as_ref();
        NamedArms {
            kind: Kind::ReleasePolicy,
            owner: policy.name().clone(),
            split_shadowed_by: self.split_shadowed_by.clone(),
            stable: self.stable.shown(in_force(TOTAL - weight), rules(ArmName::Stable)),
            candidate: candidate.map(|c| c.shown(in_force(weight), rules(ArmName::Candidate))),
        }
    }
}

/// Of 10,000.
fn candidate_weight(spec: &ReleasePolicySpec) -> u32 {
    spec.steps.first().map_or(0, |s| s.weight.saturating_mul(TOTAL / 100)).min(TOTAL)
}

/// The candidate's interval first, then the stable one: growth moves users from stable to candidate only.
fn release_split(policy: &Read<'_, ReleasePolicySpec>, model: &ObjectRef, outcome: &ReleaseOutcome) -> Split {
    let owner = policy.name();
    let weight = candidate_weight(&policy.spec);
    let mut intervals = Vec::new();
    if let Some(candidate) = &outcome.candidate {
        intervals.push(candidate.interval(model, weight));
    }
    let rest = if outcome.candidate.is_some() { TOTAL - weight } else { TOTAL };
    intervals.push(outcome.stable.interval(model, rest));
    Split {
        id: format!("{owner}/split"),
        owner: owner.clone(),
        owner_generation: policy.object.generation,
        key_header: policy.spec.assignment.header.to_ascii_lowercase(),
        salt: policy.spec.assignment.salt.clone().unwrap_or_else(|| owner.to_string()),
        intervals,
    }
}

fn default_split(model: &Read<'_, ModelSpec>, version: &str) -> Split {
    let name = model.name();
    let arm = names::cluster(name, version);
    Split {
        id: format!("{name}/default"),
        owner: name.clone(),
        owner_generation: model.object.generation,
        key_header: crate::kinds::Assignment::default().header,
        salt: name.to_string(),
        intervals: vec![Interval { arm, arm_label: STABLE.to_owned(), weight: TOTAL }],
    }
}
