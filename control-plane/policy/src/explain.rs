//! Why a request gets what it gets: the same table, conditions and hashes as stock Envoy, answered from a snapshot.
mod answer;
mod arms;
mod door;
mod headers;
mod limits;
mod words;

pub use answer::{
    Answerer, ArmShare, ConditionVerdict, Decider, DeciderKind, ExplainHeader, ExplainRequest, Explanation,
    GatewayFacts, LimitVerdict, Outcome, RuleVerdict, Verdict,
};
use door::{Asked, Caller};
use tidegate_limiter::matching::{BUCKETS, RequestView, split_bucket};
pub use words::describe;

use crate::snapshot::{Arm, Interval, Rule, Snapshot, Split, Target};

/// Answers from a snapshot which arm a request gets and why, and what the client reads.
pub fn explain(snapshot: &Snapshot, gateway: GatewayFacts, request: &ExplainRequest) -> Explanation {
    let mut notes = Vec::new();
    let headers::Seen { headers, refused } = headers::seen(request, &mut notes);
    let caller = door::caller(request, &headers, (snapshot, &mut notes));
    let asked = Asked::read(request.path.as_deref());
    let refused = if let Asked::Bad(problem) = asked { Some(problem.to_owned()) } else { refused };
    let refused = refused.map(|problem| door::refusal(400, "bad_request", problem));
    let at_the_door = refused.or_else(|| door::key(&caller, gateway)).or_else(|| asked.refused());
    let mut answer = Explanation {
        outcome: Outcome::Routed,
        model: request.model.clone(),
        revision: snapshot.revision,
        notes,
        ..Explanation::default()
    };
    let Some(target) = snapshot.targets.iter().find(|t| t.model_id == request.model) else {
        answer.outcome = Outcome::UnknownModel;
        let unknown = || door::refusal(404, "model_not_found", "there is no such model");
        answer.verdict = at_the_door.unwrap_or_else(unknown);
        answer.notes.push(words::unknown_model(&request.model, snapshot));
        return answer;
    };
    answer.target = Some(target.model.to_string());
    let tenant = if let Caller::Tenant(tenant) = &caller { Some(tenant.as_str()) } else { None };
    let view = RequestView { headers: &headers, tenant };
    decide(snapshot, target, &view, &mut answer);
    limits::fill(snapshot, target, &mut answer, &view);
    if !answer.limits_left_out.is_empty() {
        let ids = answer.limits_left_out.join(", ");
        answer.notes.push(format!("limits about a tenant were left out, as none is given (--tenant): {ids}"));
    }
    arms::note(target, &mut answer);
    let served = || nobody(&answer).or_else(|| asked.fits(snapshot, target, &answer));
    answer.verdict = at_the_door.or_else(served).unwrap_or_default();
    answer
}

/// No worker is there to ask.
fn nobody(answer: &Explanation) -> Option<Verdict> {
    let shares = || answer.shares.iter().filter(|s| s.weight > 0);
    let none = if answer.random { shares().all(|s| s.endpoints == 0) } else { answer.endpoints == 0 };
    none.then(|| door::refusal(503, "no_worker", "no worker serves this version now"))
}

fn decide(snapshot: &Snapshot, target: &Target, view: &RequestView<'_>, answer: &mut Explanation) {
    for rule in &target.rules {
        let verdict = rule_verdict(target, rule, view);
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
    match view.header(&split.key_header) {
        Some(key) => {
            let bucket = split_bucket(&split.salt, &key);
            answer.bucket = Some(bucket);
            if let Some(interval) = interval_at(&split.intervals, bucket) {
                set_arm(answer, snapshot, &interval.arm, &interval.arm_label);
            }
        }
        // One arm with all the weight leaves nothing to chance.
        None => match only_arm(&split.intervals) {
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

/// The arm that has all the weight, in one interval or in several.
fn only_arm(intervals: &[Interval]) -> Option<&Interval> {
    let mut with_weight = intervals.iter().filter(|i| i.weight > 0);
    let first = with_weight.next()?;
    with_weight.all(|i| (&i.arm, &i.arm_label) == (&first.arm, &first.arm_label)).then_some(first)
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
        endpoints: snapshot.arms.get(&interval.arm).map_or(0, endpoints),
        probability: f64::from(interval.weight) / f64::from(BUCKETS),
    };
    split.intervals.iter().map(share).collect()
}

fn rule_verdict(target: &Target, rule: &Rule, view: &RequestView<'_>) -> RuleVerdict {
    let conditions: Vec<ConditionVerdict> = rule.conditions.iter().map(|c| words::verdict(c, view)).collect();
    RuleVerdict {
        id: rule.id.clone(),
        arm: rule.arm_label.clone(),
        named: arms::named(target, rule),
        matched: conditions.iter().all(|c| c.holds),
        conditions,
    }
}
