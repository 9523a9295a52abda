//! `Ready` as far as documents and leases tell: whether what an object asks for is there now. The contract is in
//! docs/reference/kinds.md. It says nothing of what the nodes were told: the status writer adds that.
use std::collections::BTreeSet;

use super::{
    fleet::serves,
    limits::{Reach, gateway_holds_concurrency, gateway_holds_requests},
    objects::{Read, target_of},
    release::{ArmNow, CANDIDATE, ReleaseOutcome, STABLE},
    statuses::{Finding, Statuses},
};
use crate::{
    kinds::{ArmName, ModelSpec, RateLimitPolicySpec, ReleasePolicySpec, WorkerPoolSpec},
    names::cluster,
    ports::{LeasedVersion, VersionState, WorkerLease},
    snapshot::{ObjectRef, Standing},
    status::Workers,
};

/// Causes that one message names; the rest is counted.
const MAX_CAUSES: usize = 3;

impl Statuses<'_, '_> {
    /// Every version that some rule or share sends requests to is answered.
    pub(super) fn model_ready(&self, model: &Read<'_, ModelSpec>) -> Finding {
        let name = model.name();
        if self.objects.pools_of(name).is_empty() {
            return Finding::no("NoWorkerPool", "no WorkerPool serves it: requests for it are answered 503");
        }
        let routed = self.versions_with_share(name);
        let silent: Vec<&str> = routed.iter().copied().filter(|v| !self.is_answered(name, v)).collect();
        if !silent.is_empty() {
            let causes = silent.iter().map(|v| format!("no worker answers for {v}: {}", self.why_silent(name, v)));
            return Finding::no("NotServed", causes.collect::<Vec<_>>().join("; "));
        }
        let old: Vec<String> = routed.iter().filter_map(|v| self.old_files(name, v)).collect();
        if !old.is_empty() {
            return Finding::no("OldFiles", old.join("; "));
        }
        let count = routed.len();
        Finding::yes("Ready", format!("{} answered", if count == 1 { "its version is" } else { "all versions are" }))
    }

    /// All replicas serve all versions, from the files that are wanted.
    pub(super) fn pool_ready(&self, pool: &Read<'_, WorkerPoolSpec>, missing: &[String], workers: &Workers) -> Finding {
        if !missing.is_empty() {
            return Finding::no("RefNotFound", missing.join("; "));
        }
        let desired = workers.desired as usize;
        if desired == 0 {
            return Finding::yes("ScaledToZero", "0 replicas are asked for");
        }
        let leases = self.fleet.of_pool(pool.name());
        let whole = |w: &&&WorkerLease| {
            pool.spec.versions.iter().all(|v| serves(w, v))
                && !w.versions.iter().any(|v| is_wrong(pool, v) || is_outdated(pool, v))
        };
        let ready = leases.iter().filter(whole).count();
        if ready >= desired {
            return Finding::yes("Ready", format!("{ready} of {desired} ready"));
        }
        let wrong = leases.iter().flat_map(|w| {
            let of = w.versions.iter().filter(|v| is_wrong(pool, v));
            of.map(|v| format!("{} {}: {}", w.node_id, v.name, cause(v)))
        });
        let mut causes: Vec<String> = wrong.collect();
        let (failed, live) = (!causes.is_empty(), leases.len());
        let loading = leases.iter().filter(|w| !whole(w) && !w.versions.iter().any(|v| is_wrong(pool, v)));
        let loading: Vec<&str> = loading.map(|w| w.node_id.as_str()).collect();
        if !loading.is_empty() {
            causes.push(format!("{} loading", some(&loading)));
        }
        if live < desired {
            causes.push(format!("{} of {desired} workers report nothing", desired - live));
        }
        let reason = match (failed, loading.is_empty()) {
            (true, _) => "VersionFailed",
            (false, false) => "Loading",
            (false, true) => "WorkersMissing",
        };
        Finding::no(reason, format!("{ready} of {desired} ready: {}", first(&causes)))
    }

    /// Both arms answer with the versions that are written, as far as anything is sent to them.
    pub(super) fn release_ready(&self, policy: &Read<'_, ReleasePolicySpec>, missing: &[String]) -> Finding {
        let model = target_of(policy);
        let Some(outcome) = self.routed.releases.get(policy.name()) else {
            return Finding::no("TargetNotFound", format!("Model {model} does not exist"));
        };
        if let Some(older) = &outcome.split_shadowed_by {
            return Finding::no("SplitShadowed", shadowed(older));
        }
        let candidate = outcome.candidate.as_ref().filter(|_| is_asked(policy, ArmName::Candidate));
        let stable = Some(&outcome.stable).filter(|_| is_asked(policy, ArmName::Stable));
        let arms = [(STABLE, "StableNotServed", stable), (CANDIDATE, "CandidateNotServed", candidate)];
        let mut causes = Vec::new();
        for (label, reason, arm) in arms {
            let Some(arm) = arm else { continue };
            if let Some(cause) = self.arm_is_off(&model, label, arm) {
                let waits = arm.standing == Standing::Loading;
                causes.push((if waits { "Waiting" } else { reason }, cause));
            }
        }
        let Some((reason, _)) = causes.iter().find(|(reason, _)| *reason != "Waiting").or(causes.first()) else {
            // Nothing is sent to what is missing.
            let note = if missing.is_empty() { String::new() } else { format!("; {}", missing.join("; ")) };
            return Finding::yes("Ready", format!("{}{note}", answered(outcome, policy)));
        };
        Finding::no(reason, causes.iter().map(|(_, cause)| cause.as_str()).collect::<Vec<_>>().join("; "))
    }

    /// Every target is there, and somebody enforces every limit.
    pub(super) fn limit_ready(&self, policy: &Read<'_, RateLimitPolicySpec>, reach: &Reach) -> Finding {
        if let [_, ..] = reach.missing.as_slice() {
            return Finding::no("TargetNotFound", super::statuses::not_there(policy, reach).join("; "));
        }
        let workers: usize = reach.pools.iter().map(|p| self.fleet.of_pool(p).len()).sum();
        let ids = policy.spec.limits.iter().map(|l| crate::names::limit_id(policy.name(), &l.name));
        let mut limits = ids.filter_map(|id| self.limits.limits.get(&id));
        let only_workers = limits.find(|limit| {
            let requests = limit.requests.is_none() || gateway_holds_requests(limit);
            let concurrency = limit.concurrency.is_none() || gateway_holds_concurrency(limit);
            reach.models.is_empty() || !requests || !concurrency
        });
        if let Some(limit) = only_workers.filter(|_| workers == 0) {
            return Finding::no("NoWorkers", format!("{} is enforced at workers only, and none is there", limit.id));
        }
        Finding::yes("Ready", super::statuses::places(reach))
    }

    /// Versions that a rule, or a share above zero, sends requests to.
    fn versions_with_share(&self, model: &ObjectRef) -> BTreeSet<&str> {
        let Some(target) = self.targets.get(model) else { return BTreeSet::new() };
        let rules = target.rules.iter().map(|rule| &rule.arm);
        let shares = target.split.intervals.iter().filter(|i| i.weight > 0).map(|i| &i.arm);
        rules.chain(shares).filter_map(|arm| self.routed.arms.get(arm)).map(|arm| arm.version.as_str()).collect()
    }

    fn is_answered(&self, model: &ObjectRef, version: &str) -> bool {
        self.routed.arms.get(&cluster(model, version)).is_some_and(|arm| !arm.endpoints.is_empty())
    }

    /// Why nobody answers for a version.
    fn why_silent(&self, model: &ObjectRef, version: &str) -> String {
        let failed = self.fleet.of_model(model).iter().flat_map(|w| {
            let of = w.versions.iter().filter(|v| v.name == version && !v.error.is_empty());
            of.map(|v| format!("{}: {}", w.node_id, v.error))
        });
        let failed: Vec<String> = failed.collect();
        if !failed.is_empty() {
            return first(&failed);
        }
        let pools = self.objects.pools_of(model).iter().filter_map(|pool| self.objects.pools.get(pool));
        let asking: Vec<_> = pools.filter(|pool| pool.spec.versions.iter().any(|v| v == version)).collect();
        let of_pool = |pool: &&Read<'_, WorkerPoolSpec>| match (pool.spec.replicas, self.fleet.of_pool(pool.name())) {
            (0, []) => format!("WorkerPool {} has 0 replicas", pool.name()),
            (_, leases) => {
                let ready = leases.iter().filter(|w| serves(w, version)).count();
                format!("WorkerPool {} has {ready} of {} workers ready", pool.name(), pool.spec.replicas)
            }
        };
        match asking.as_slice() {
            [] => "no WorkerPool asks for it".to_owned(),
            pools => first(&pools.iter().map(of_pool).collect::<Vec<_>>()),
        }
    }

    /// What a version says that answers from other files than those that are wanted.
    fn old_files(&self, model: &ObjectRef, version: &str) -> Option<String> {
        let of = |w: &&WorkerLease| {
            let found = w.versions.iter().find(|v| v.name == version && (v.outdated || !v.error.is_empty()))?;
            let why = if found.error.is_empty() { "the files that are wanted are loading" } else { &found.error };
            Some(format!("{} {version}: {why}", w.node_id))
        };
        let answers = self.fleet.of_model(model).iter().filter(|w| serves(w, version));
        answers.filter_map(of).next()
    }

    /// Why an arm does not answer with the version that is written.
    fn arm_is_off(&self, model: &ObjectRef, label: &str, arm: &ArmNow) -> Option<String> {
        if arm.version == arm.named && arm.label == label {
            let silent = !self.is_answered(model, &arm.version);
            return silent
                .then(|| format!("no worker answers for {}: {}", arm.version, self.why_silent(model, &arm.version)));
        }
        let why = self.why_silent(model, &arm.named);
        let instead = if arm.label == label { arm.version.clone() } else { format!("the {} arm", arm.label) };
        Some(format!("{label} {} is not answered yet, {instead} is instead: {why}", arm.named))
    }
}

/// A version of the pool's that does not do what is asked of it.
fn is_wrong(pool: &Read<'_, WorkerPoolSpec>, version: &LeasedVersion) -> bool {
    pool.spec.versions.contains(&version.name) && (version.state == VersionState::Failed || !version.error.is_empty())
}

/// A version of the pool's that answers from what was wanted before.
fn is_outdated(pool: &Read<'_, WorkerPoolSpec>, version: &LeasedVersion) -> bool {
    pool.spec.versions.contains(&version.name) && version.outdated
}

fn cause(version: &LeasedVersion) -> &str {
    if version.error.is_empty() { "failed" } else { &version.error }
}

/// Whether anything of the policy sends requests to an arm.
fn is_asked(policy: &Read<'_, ReleasePolicySpec>, arm: ArmName) -> bool {
    let weight = policy.spec.steps.first().map_or(0, |step| step.weight);
    let share = match arm {
        ArmName::Candidate => policy.spec.candidate.is_some() && weight > 0,
        ArmName::Stable => policy.spec.candidate.is_none() || weight < 100,
    };
    share || policy.spec.rules.iter().any(|rule| rule.to == arm)
}

fn answered(outcome: &ReleaseOutcome, policy: &Read<'_, ReleasePolicySpec>) -> String {
    let stable = format!("stable is {}", outcome.stable.version);
    match &outcome.candidate {
        Some(candidate) if is_asked(policy, ArmName::Candidate) => {
            format!("{stable}, candidate is {}", candidate.version)
        }
        Some(candidate) => format!("{stable}; nothing is sent to the candidate {}", candidate.named),
        None => stable,
    }
}

pub(super) fn shadowed(older: &ObjectRef) -> String {
    format!("its rules are in force, its weights are not: the older ReleasePolicy {older} splits the Model")
}

/// The first few, and how many more there are.
fn first(causes: &[String]) -> String {
    let (shown, rest) = causes.split_at(causes.len().min(MAX_CAUSES));
    let more = if rest.is_empty() { String::new() } else { format!("; and {} more", rest.len()) };
    format!("{}{more}", shown.join("; "))
}

fn some(nodes: &[&str]) -> String {
    match nodes {
        [one] => format!("{one} is"),
        _ => format!("{} workers are", nodes.len()),
    }
}
