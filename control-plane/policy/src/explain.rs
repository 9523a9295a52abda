//! Why a request gets what it gets: the same table, conditions and hashes as stock Envoy, answered from a snapshot.
mod answer;
mod words;

pub use answer::{
    ArmShare, ConditionVerdict, Decider, DeciderKind, ExplainHeader, ExplainRequest, Explanation, LimitVerdict,
    Outcome, RuleVerdict,
};
use tidegate_limiter::matching::RequestView;
pub use tidegate_limiter::matching::split_bucket;
pub use words::describe;

use crate::{
    names::RESERVED_PREFIX,
    snapshot::{Arm, Interval, Limit, Rule, Snapshot, Split, Target},
};

/// Answers from a snapshot which arm a request gets, and why.
pub fn explain(snapshot: &Snapshot, request: &ExplainRequest) -> Explanation {
    let mut notes = Vec::new();
    let headers = headers(request, &mut notes);
    let Some(target) = snapshot.targets.iter().find(|t| t.model_id == request.model) else {
        notes.push(words::unknown_model(&request.model, snapshot));
        return Explanation {
            outcome: Outcome::UnknownModel,
            model: request.model.clone(),
            revision: snapshot.revision,
            notes,
            ..Explanation::default()
        };
    };
    let view = RequestView { headers: &headers, tenant: request.tenant.as_deref() };
    let mut answer = Explanation {
        outcome: Outcome::Routed,
        model: request.model.clone(),
        target: Some(target.model.to_string()),
        revision: snapshot.revision,
        notes,
        ..Explanation::default()
    };
    decide(snapshot, target, &view, &mut answer);
    let limits = target.limits.iter().filter_map(|id| snapshot.limits.get(id));
    answer.limits = limits.filter_map(|l| limit(l, &view)).collect();
    answer
}

/// Headers as the matchers see them: lower-case names, without what the gateway removes.
fn headers(request: &ExplainRequest, notes: &mut Vec<String>) -> Vec<(String, Vec<u8>)> {
    let mut seen = Vec::new();
    for header in &request.headers {
        let name = header.name.to_ascii_lowercase();
        if name.starts_with(RESERVED_PREFIX) {
            notes.push(format!("{name} is removed at the gateway"));
            continue;
        }
        match header.bytes() {
            Ok(value) => seen.push((name, value)),
            Err(problem) => notes.push(format!("{name} is left out: {problem}")),
        }
    }
    seen
}

fn decide(snapshot: &Snapshot, target: &Target, view: &RequestView<'_>, answer: &mut Explanation) {
    for rule in &target.rules {
        let verdict = rule_verdict(rule, view);
        let matched = verdict.matched;
        answer.rules.push(verdict);
        if matched {
            answer.decided_by = Some(Decider {
                id: rule.id.clone(),
                kind: DeciderKind::Rule,
                owner: rule.owner.to_string(),
                generation: rule.owner_generation,
            });
            set_arm(answer, snapshot, &rule.arm, &rule.arm_label);
            return;
        }
    }
    let split = &target.split;
    answer.decided_by = Some(Decider {
        id: split.id.clone(),
        kind: DeciderKind::Split,
        owner: split.owner.to_string(),
        generation: split.owner_generation,
    });
    answer.key_header = Some(split.key_header.clone());
    answer.shares = shares(snapshot, split);
    // The gateway joins a repeated header before it hashes.
    match view.header(&split.key_header).and_then(|key| split_bucket(&split.salt, &[&key])) {
        Some(bucket) => {
            answer.bucket = Some(bucket);
            if let Some(interval) = interval_at(&split.intervals, bucket) {
                set_arm(answer, snapshot, &interval.arm, &interval.arm_label);
            }
        }
        // One arm with all the weight leaves nothing to chance.
        None => match split.intervals.iter().find(|i| i.weight == tidegate_limiter::matching::BUCKETS) {
            Some(only) => set_arm(answer, snapshot, &only.arm, &only.arm_label),
            None => answer.random = true,
        },
    }
}

/// The interval that holds a bucket: cumulative weights in order, as Envoy's weighted clusters.
pub fn interval_at(intervals: &[Interval], bucket: u32) -> Option<&Interval> {
    let mut end = 0_u32;
    intervals.iter().find(|interval| {
        end = end.saturating_add(interval.weight);
        bucket < end
    })
}

fn set_arm(answer: &mut Explanation, snapshot: &Snapshot, cluster: &str, label: &str) {
    let arm = snapshot.arms.get(cluster);
    answer.cluster = Some(cluster.to_owned());
    answer.arm = Some(label.to_owned());
    answer.version = arm.map(|a| a.version.clone());
    answer.endpoints = arm.map_or(0, endpoints);
    if answer.endpoints == 0 {
        answer.notes.push(format!("no worker serves {cluster} now: the gateway answers 503"));
    }
}

fn endpoints(arm: &Arm) -> usize {
    arm.endpoints.len()
}

fn shares(snapshot: &Snapshot, split: &Split) -> Vec<ArmShare> {
    let share = |interval: &Interval| ArmShare {
        arm: interval.arm_label.clone(),
        cluster: interval.arm.clone(),
        version: snapshot.arms.get(&interval.arm).map(|a| a.version.clone()).unwrap_or_default(),
        weight: interval.weight,
        probability: f64::from(interval.weight) / f64::from(tidegate_limiter::matching::BUCKETS),
    };
    split.intervals.iter().map(share).collect()
}

fn rule_verdict(rule: &Rule, view: &RequestView<'_>) -> RuleVerdict {
    let conditions: Vec<ConditionVerdict> = rule.conditions.iter().map(|c| words::verdict(c, view)).collect();
    RuleVerdict {
        id: rule.id.clone(),
        arm: rule.arm_label.clone(),
        matched: conditions.iter().all(|c| c.holds),
        conditions,
    }
}

fn limit(limit: &Limit, view: &RequestView<'_>) -> Option<LimitVerdict> {
    let counters = limit.counters.iter().map(|c| words::counter(c, view)).collect();
    limit.conditions.iter().all(|c| c.holds(view)).then(|| LimitVerdict {
        id: limit.id.clone(),
        generation: limit.owner_generation,
        requests: limit.requests.map(words::rate),
        concurrency: limit.concurrency,
        counters,
        shadow: limit.shadow,
    })
}
