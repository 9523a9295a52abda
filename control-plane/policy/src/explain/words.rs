//! Conditions and values in words. Only formatting; the verdicts come from the same code as everywhere.
use tidegate_limiter::matching::{Condition, RequestView, ValueTest, bucket};

use super::ConditionVerdict;
use crate::{
    documents::suggest,
    snapshot::{Counter, RequestRate, Snapshot},
};

/// Longest value shown, in bytes.
const MAX_SHOWN: usize = 200;

pub(super) fn verdict(condition: &Condition, view: &RequestView<'_>) -> ConditionVerdict {
    ConditionVerdict { condition: describe(condition), saw: saw(condition, view), holds: condition.holds(view) }
}

/// A condition in words.
pub fn describe(condition: &Condition) -> String {
    match condition {
        Condition::Tenant(tenant) => format!("tenant = {tenant:?}"),
        Condition::Bucket { header, from, to, .. } => format!("bucket of {header} in {from}..{to}"),
        Condition::Header { name, test } => match test {
            ValueTest::Exact(value) => format!("{name} = {value:?}"),
            ValueTest::Prefix(prefix) => format!("{name} begins with {prefix:?}"),
            ValueTest::Regex { source, .. } => format!("{name} matches {source}"),
            ValueTest::Present => format!("{name} is present"),
        },
    }
}

fn saw(condition: &Condition, view: &RequestView<'_>) -> String {
    match condition {
        Condition::Tenant(_) => view.tenant.map_or("no tenant".to_owned(), |t| format!("{t:?}")),
        Condition::Header { name, .. } => value(view, name),
        Condition::Bucket { header, seed, .. } => match view.header(header) {
            Some(value) => format!("bucket {}", bucket(&value, *seed)),
            None => "absent".to_owned(),
        },
    }
}

fn value(view: &RequestView<'_>, name: &str) -> String {
    match view.header(name) {
        None => "absent".to_owned(),
        Some(bytes) => {
            let shown = &bytes[..bytes.len().min(MAX_SHOWN)];
            let dots = if shown.len() < bytes.len() { "…" } else { "" };
            format!("\"{}{dots}\"", shown.escape_ascii())
        }
    }
}

pub(super) fn counter(counter: &Counter, view: &RequestView<'_>) -> String {
    match counter {
        Counter::Tenant => view.tenant.map_or("tenant: none".to_owned(), |t| format!("tenant {t:?}")),
        Counter::Header(name) => format!("{name} {}", value(view, name)),
    }
}

pub(super) fn rate(rate: RequestRate) -> String {
    format!("{} per {}ms, burst {}", rate.rate, rate.window_ms, rate.burst)
}

/// Most names that are shown when a model is not known.
const MAX_NEAR: usize = 3;

pub(super) fn unknown_model(model: &str, snapshot: &Snapshot) -> String {
    let asked: String = model.chars().take(100).collect();
    let last = |id: &str| id.rsplit('/').next().unwrap_or_default().to_owned();
    let mut near: Vec<(usize, &str)> = snapshot
        .targets
        .iter()
        .map(|t| (suggest::distance(&last(&asked), &last(&t.model_id)), t.model_id.as_str()))
        .filter(|(far, id)| *far <= 1 + id.len() / 4)
        .collect();
    near.sort_unstable();
    let (what, ids): (&str, Vec<&str>) = match near.as_slice() {
        [] => ("known", snapshot.targets.iter().take(20).map(|t| t.model_id.as_str()).collect()),
        [_, ..] => ("the nearest", near.iter().take(MAX_NEAR).map(|(_, id)| *id).collect()),
    };
    format!("there is no model {asked:?}; {what}: {}", if ids.is_empty() { "none".to_owned() } else { ids.join(", ") })
}
