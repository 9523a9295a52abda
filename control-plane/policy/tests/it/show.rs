//! A compiled world as text, one line per fact, for goldens.
use std::fmt::Write as _;

use tidegate_policy::{
    compile::Compiled,
    explain::{Explanation, describe},
    snapshot::{Arm, Limit, PoolPlan, Snapshot, Target},
    status::{ConditionStatus, ObjectStatus},
};

pub fn compiled(compiled: &Compiled) -> String {
    let mut out = snapshot(&compiled.snapshot);
    for (key, status) in &compiled.statuses {
        self::status(&key.to_string(), status, &mut out);
    }
    out
}

fn snapshot(snapshot: &Snapshot) -> String {
    let mut out = format!("revision {}\n", snapshot.revision);
    snapshot.targets.iter().for_each(|t| target(t, &mut out));
    snapshot.arms.values().for_each(|a| arm(a, &mut out));
    snapshot.pools.values().for_each(|p| pool(p, &mut out));
    snapshot.limits.values().for_each(|l| limit(l, &mut out));
    for key in snapshot.api_keys.values() {
        writeln!(out, "key {} tenant {}", key.id, key.tenant).unwrap();
    }
    out
}

fn target(target: &Target, out: &mut String) {
    writeln!(out, "\ntarget {} = {} ({:?})", target.model_id, target.model, target.task).unwrap();
    for rule in &target.rules {
        let conditions: Vec<String> = rule.conditions.iter().map(describe).collect();
        writeln!(out, "  rule {} -> {} ({}) if {}", rule.id, rule.arm, rule.arm_label, conditions.join(" and "))
            .unwrap();
    }
    let split = &target.split;
    writeln!(out, "  split {} by {} salt {}", split.id, split.key_header, split.salt).unwrap();
    for interval in &split.intervals {
        writeln!(out, "    {:>5} -> {} ({})", interval.weight, interval.arm, interval.arm_label).unwrap();
    }
    if !target.limits.is_empty() {
        writeln!(out, "  limits {}", target.limits.join(", ")).unwrap();
    }
}

fn arm(arm: &Arm, out: &mut String) {
    let endpoints: Vec<String> = arm.endpoints.iter().map(ToString::to_string).collect();
    let breaker = arm.max_concurrency.map_or(String::new(), |n| format!(", at most {n} in flight"));
    writeln!(out, "arm {}: {} {}: [{}]{breaker}", arm.cluster, arm.model, arm.version, endpoints.join(", ")).unwrap();
}

fn pool(pool: &PoolPlan, out: &mut String) {
    let version = |v: &tidegate_policy::snapshot::PlannedVersion| {
        format!("{}{}", v.version.name, if v.retained { " (retained)" } else { "" })
    };
    let versions: Vec<String> = pool.versions.iter().map(version).collect();
    writeln!(
        out,
        "pool {} of {}: [{}], limits [{}]",
        pool.pool,
        pool.model_id,
        versions.join(", "),
        pool.limits.join(", ")
    )
    .unwrap();
}

fn limit(limit: &Limit, out: &mut String) {
    let conditions: Vec<String> = limit.conditions.iter().map(describe).collect();
    writeln!(
        out,
        "limit {}: {:?}, concurrency {:?}, counters {:?}, if [{}]{}",
        limit.id,
        limit.requests,
        limit.concurrency,
        limit.counters,
        conditions.join(" and "),
        if limit.shadow { ", shadow" } else { "" }
    )
    .unwrap();
}

pub fn status(key: &str, status: &ObjectStatus, out: &mut String) {
    writeln!(out, "\nstatus {key}").unwrap();
    for condition in &status.conditions {
        let sign = match condition.status {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        };
        writeln!(out, "  {}={sign} {}: {}", condition.condition_type, condition.reason, condition.message).unwrap();
    }
    if !status.arms.is_empty() {
        writeln!(out, "  arms {:?}", status.arms).unwrap();
    }
    if let Some(w) = &status.workers {
        writeln!(
            out,
            "  workers desired {} live {} ready {} loading {} failed {} {:?}",
            w.desired, w.live, w.ready, w.loading, w.failed, w.reasons
        )
        .unwrap();
    }
    status.bounds.iter().for_each(|b| writeln!(out, "  bound {b}").unwrap());
    status.warnings.iter().for_each(|w| writeln!(out, "  warning {w}").unwrap());
}

pub fn explanation(explanation: &Explanation) -> String {
    tidegate_text::write(&serde_json::to_value(explanation).unwrap())
}
