//! The condition `Programmed`: whether every node that needs an object has it. Pure: it asks what the nodes answered and says
//! what that means.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use tidegate_api::{
    ads::{GATEWAY_GROUP, TYPE_LIMIT_SET, TYPE_MODEL_SET},
    nodes::{Progress, RefusedResource},
};
use tidegate_policy::{
    kinds::Kind,
    ports::{ObjectKey, StoredObject},
    status::{ACCEPTED, Condition, ConditionStatus, ObjectStatus, PROGRAMMED},
};
use tidegate_translate::types::{CLUSTER, ENDPOINT, EXTENSION, LIMITS, ROUTE};

use super::{needs::Needs, troubles::Troubles};

/// By object: what was published last of it (generation of its spec, and what is routed), and at which sequence number of each group.
pub(super) type ServedSince = BTreeMap<ObjectKey, ((i64, u64), BTreeMap<String, u64>)>;

/// Reasons that say no more than that some node was not heard: it may be about to come back.
const DOUBTS: [&str; 4] = ["Pending", "Disconnected", "NoGateway", "NoNodes"];

/// Nobody refuses anything; somebody was not heard.
pub(super) fn is_doubt(condition: &Condition) -> bool {
    !condition.holds() && DOUBTS.contains(&condition.reason.as_str())
}

/// What is published to a node group, and what its nodes answered.
pub(super) trait Nodes {
    /// Sequence number of the group's newest publication.
    fn published(&self, group: &str) -> u64;
    /// How far its nodes are with publication `from`, as far as it `concerns` somebody.
    fn progress(&self, group: &str, from: u64, concerns: &dyn Fn(&RefusedResource) -> bool) -> Progress;
}

/// The condition of one object with what compile made of it, as if it had changed `now`.
pub(super) fn programmed(
    (object, made, needs): (&StoredObject, &ObjectStatus, &Needs<'_>),
    (served_since, nodes, troubles): (&mut ServedSince, &dyn Nodes, &Troubles),
    now: DateTime<Utc>,
) -> Condition {
    let (key, generation) = (&object.key, object.generation);
    let condition = |status, reason: &str, message: String| {
        Condition::new(PROGRAMMED, status, (reason, message), (generation, now))
    };
    if made.condition(ACCEPTED).is_none_or(|c| !c.holds()) {
        return condition(ConditionStatus::False, "NotAccepted", "nothing of it is served".to_owned());
    }
    let groups = needs.groups(key);
    if groups.is_empty() {
        return condition(ConditionStatus::False, "NoTarget", told_to_nobody(key.kind).to_owned());
    }
    let version = (generation, needs.fingerprint(key));
    let (known, since) = served_since.entry(key.clone()).or_insert_with(|| (version, BTreeMap::new()));
    if *known != version {
        (*known, *since) = (version, BTreeMap::new());
    }
    let mut all = Progress::default();
    let mut no_gateway = false;
    let mut turned_away: &[String] = &[];
    for group in groups {
        let from = *since.entry(group.clone()).or_insert_with(|| nodes.published(&group));
        let progress = nodes.progress(&group, from, &|refused| carries(refused, key, needs));
        if group == GATEWAY_GROUP {
            no_gateway = progress.acked.is_empty() && progress.pending.is_empty();
            turned_away = &troubles.gateways;
        }
        all.acked.extend(progress.acked);
        all.pending.extend(progress.pending);
        all.refused.extend(progress.refused);
        all.absent.extend(progress.absent);
    }
    let idle = key.kind == Kind::WorkerPool && needs.replicas(&key.object) == 0;
    verdict(&all, (no_gateway, idle, turned_away), condition)
}

fn told_to_nobody(kind: Kind) -> &'static str {
    match kind {
        Kind::Model | Kind::RateLimitPolicy => "no node is told of it: nothing that it targets exists",
        Kind::WorkerPool => "its workers are told nothing and keep what they have: its Model has none of its versions",
        Kind::ReleasePolicy => "no gateway is told of it: it decides nothing for any Model",
    }
}

fn verdict(
    all: &Progress,
    (no_gateway, idle, turned_away): (bool, bool, &[String]),
    condition: impl Fn(ConditionStatus, &str, String) -> Condition,
) -> Condition {
    let no = |reason: &str, message: String| condition(ConditionStatus::False, reason, message);
    let have = all.acked.len();
    let need = have + all.pending.len() + all.absent.len();
    if let Some((node, refused)) = all.refused.first() {
        let more = match all.refused.len() - 1 {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let named = if refused.name.is_empty() { String::new() } else { format!(" {:?}", refused.name) };
        return no("Refused", format!("{node} refuses {}{named}: {}{more}", short(&refused.type_url), refused.error));
    }
    let gone: Vec<String> = all.absent.iter().map(|node| format!("{node} left")).collect();
    let gone = [gone.as_slice(), turned_away].concat().join("; ");
    if no_gateway {
        let why = if gone.is_empty() { gone } else { format!(": {gone}") };
        return no("NoGateway", format!("no gateway is connected{why}"));
    }
    if !all.pending.is_empty() {
        return no(
            "Pending",
            format!("{have} of {} have it; {} did not answer yet", nodes(need), all.pending.join(", ")),
        );
    }
    if !all.absent.is_empty() {
        return no("Disconnected", format!("{have} of {} have it: {gone}", nodes(need)));
    }
    match (have, idle) {
        (0, true) => condition(ConditionStatus::True, "ScaledToZero", "no worker has to have it".to_owned()),
        (0, false) => no("NoNodes", "no node that needs it is connected".to_owned()),
        (1, _) => condition(ConditionStatus::True, "Programmed", "the one node that needs it has it".to_owned()),
        _ => condition(ConditionStatus::True, "Programmed", format!("all {have} nodes that need it have it")),
    }
}

fn nodes(count: usize) -> String {
    format!("{count} node{}", if count == 1 { "" } else { "s" })
}

/// `Cluster` of `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
fn short(type_url: &str) -> &str {
    type_url.rsplit(['.', '/']).next().unwrap_or(type_url)
}

/// Whether a refused resource carries something of this object. What is shared by all objects of a kind concerns each of them;
/// what is not known here concerns everybody, the listener for one: without it nothing is served.
fn carries(refused: &RefusedResource, key: &ObjectKey, needs: &Needs<'_>) -> bool {
    match refused.type_url.as_str() {
        CLUSTER | ENDPOINT => needs.arm(&refused.name).is_some_and(|arm| needs.uses(key, arm)),
        ROUTE => matches!(key.kind, Kind::Model | Kind::ReleasePolicy),
        EXTENSION => key.kind == Kind::RateLimitPolicy && refused.name == LIMITS,
        TYPE_MODEL_SET => matches!(key.kind, Kind::Model | Kind::WorkerPool),
        TYPE_LIMIT_SET => key.kind == Kind::RateLimitPolicy,
        _ => true,
    }
}
