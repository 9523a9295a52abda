//! One routing table per model: rules in order of precedence, then the split. Decides which version each arm uses *now*:
//! a new version takes over only when every worker that should have it serves it, so that weights change without an error.
use std::collections::{BTreeMap, BTreeSet};

use tidegate_limiter::matching::BUCKETS as TOTAL;

use super::{
    fleet::Fleet,
    objects::{Objects, Read},
    rules,
};
use crate::{
    kinds::{ArmName, ModelSpec, ReleasePolicySpec},
    names,
    overlap::Overlap,
    snapshot::{Arm, Interval, ObjectRef, Rule, Split, Target},
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
    pub wanted: String,
    /// What is routed.
    pub version: String,
    /// The label that requests get: a candidate that was never there yet is answered by the stable arm.
    pub label: &'static str,
    /// To be remembered in the status.
    pub remember: bool,
}

impl ArmNow {
    fn interval(&self, model: &ObjectRef, weight: u32) -> Interval {
        Interval { arm: names::cluster(model, &self.version), arm_label: self.label.to_owned(), weight }
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
    // In the model's order, because several pools have several orders.
    let wanted =
        model.spec.versions.iter().map(|v| &v.name).find(|v| fleet.is_declared(name, v)).unwrap_or(&first.name);
    let used = model.status.arms.get(STABLE);
    let fallback = pick(&Wanted { model: name, version: wanted, used: used.into_iter().collect(), fleet });
    let mut split = None;
    let mut table = Vec::new();
    let mut shadowing: Option<ObjectRef> = None;
    for policy in objects.releases_of(name) {
        let outcome = outcome(policy, name, &fallback, fleet);
        let outcome = ReleaseOutcome { split_shadowed_by: shadowing.clone(), ..outcome };
        rules::add(policy, name, &outcome, &mut table);
        if split.is_none() {
            shadowing = Some(policy.name().clone());
            split = Some(release_split(policy, name, &outcome));
            routed.defaults.insert(name.clone(), outcome.stable.version.clone());
        }
        routed.releases.insert(policy.name().clone(), outcome);
    }
    let split = split.unwrap_or_else(|| {
        routed.defaults.insert(name.clone(), fallback.clone());
        default_split(model, &fallback)
    });
    table.sort_by(|a, b| a.0.cmp(&b.0));
    let rules: Vec<Rule> = table.into_iter().map(|(_, rule)| rule).collect();
    for overlap in crate::overlap::find(&rules, &split) {
        routed.overlaps.entry(overlap.owner.clone()).or_default().push(overlap);
    }
    let versions = routed.versions.entry(name.clone()).or_default();
    let clusters = rules.iter().map(|r| &r.arm).chain(split.intervals.iter().map(|i| &i.arm));
    for cluster in clusters {
        let version = version_of(name, cluster);
        versions.insert(version.to_owned());
        routed.arms.entry(cluster.clone()).or_insert_with(|| Arm {
            cluster: cluster.clone(),
            model: name.clone(),
            version: version.to_owned(),
            endpoints: fleet.endpoints(name, version),
            max_concurrency: None,
        });
    }
    routed.targets.push(Target {
        model: name.clone(),
        model_id: names::model_id(name),
        task: first.task,
        rules,
        split,
        limits: Vec::new(),
    });
}

fn version_of<'c>(model: &ObjectRef, cluster: &'c str) -> &'c str {
    cluster.strip_prefix(&names::cluster(model, "")).unwrap_or_default()
}

/// What an arm should use, and what it or its like used until now.
struct Wanted<'a> {
    model: &'a ObjectRef,
    version: &'a String,
    /// In order of preference.
    used: Vec<&'a String>,
    fleet: &'a Fleet<'a>,
}

/// The wanted version once it is available; until then what was used while somebody serves it; else the wanted one.
fn pick(wanted: &Wanted<'_>) -> String {
    if wanted.fleet.is_available(wanted.model, wanted.version) {
        return wanted.version.clone();
    }
    let used = wanted.used.iter().find(|v| wanted.fleet.is_served(wanted.model, v));
    used.map_or(wanted.version, |v| *v).clone()
}

fn outcome(
    policy: &Read<'_, ReleasePolicySpec>,
    model: &ObjectRef,
    fallback: &String,
    fleet: &Fleet<'_>,
) -> ReleaseOutcome {
    let arms = &policy.status.arms;
    // A policy that is new takes over from what was routed without it.
    let used = arms.get(STABLE).into_iter().chain([fallback]).collect();
    let version = pick(&Wanted { model, version: &policy.spec.stable, used, fleet });
    let remember = fleet.is_served(model, &version) || arms.get(STABLE) == Some(&version);
    let stable = ArmNow { wanted: policy.spec.stable.clone(), version, label: STABLE, remember };
    let candidate = policy.spec.candidate.as_ref().map(|wanted| {
        let used = arms.get(CANDIDATE);
        let version = pick(&Wanted { model, version: wanted, used: used.into_iter().collect(), fleet });
        let served = fleet.is_served(model, &version);
        if !served && used != Some(&version) && fleet.is_served(model, &stable.version) {
            // Never there yet, and nobody to ask: its share stays with the stable arm.
            return ArmNow { wanted: wanted.clone(), version: stable.version.clone(), label: STABLE, remember: false };
        }
        ArmNow { wanted: wanted.clone(), remember: served || used == Some(&version), version, label: CANDIDATE }
    });
    ReleaseOutcome { stable, candidate, split_shadowed_by: None }
}

impl ReleaseOutcome {
    pub fn arm(&self, arm: ArmName) -> &ArmNow {
        match arm {
            ArmName::Stable => &self.stable,
            ArmName::Candidate => self.candidate.as_ref().unwrap_or(&self.stable),
        }
    }

    /// `status.arms`.
    pub fn remembered(&self) -> BTreeMap<String, String> {
        let stable = Some(&self.stable).filter(|a| a.remember).map(|a| (STABLE.to_owned(), a.version.clone()));
        let candidate =
            self.candidate.as_ref().filter(|a| a.remember).map(|a| (CANDIDATE.to_owned(), a.version.clone()));
        stable.into_iter().chain(candidate).collect()
    }
}

/// The candidate's interval first, then the stable one: growth moves users from stable to candidate only.
fn release_split(policy: &Read<'_, ReleasePolicySpec>, model: &ObjectRef, outcome: &ReleaseOutcome) -> Split {
    let owner = policy.name();
    let weight = policy.spec.steps.first().map_or(0, |s| s.weight.saturating_mul(TOTAL / 100)).min(TOTAL);
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
