//! What the system says about an object. Made by `compile`; the status writer adds what the nodes answer: `Programmed`,
//! and their part of `Ready`.
use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound as _, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The object is well-formed and in force, as far as it can be.
pub const ACCEPTED: &str = "Accepted";
/// Everything that the object names exists.
pub const RESOLVED_REFS: &str = "ResolvedRefs";
/// Every node that needs it has it. Set by the status writer.
pub const PROGRAMMED: &str = "Programmed";
/// It does now what it says. Compile says what documents and leases tell; the status writer adds what the nodes say.
pub const READY: &str = "Ready";

/// Most reasons that a pool's status lists.
pub const MAX_REASONS: usize = 16;

/// The order in which a status shows its conditions.
const ORDER: [&str; 4] = [ACCEPTED, RESOLVED_REFS, PROGRAMMED, READY];

/// `status` of every kind; each kind fills its part.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectStatus {
    /// The generation of the spec that this status is about.
    pub observed_generation: i64,
    /// What holds of the object now; `tidegate get` shows the worst.
    pub conditions: Vec<Condition>,
    /// Which version each arm uses now: `stable`, `candidate`. On a Model: the version that is routed when no rule says else.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub arms: BTreeMap<String, String>,
    /// RateLimitPolicy: what each limit admits at most, per process and in the fleet; the form is in docs/reference/kinds.md.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bounds: Vec<String>,
    /// WorkerPool: what its workers report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,
    /// What is allowed but probably not meant: unreachable rules, shadowed weights.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl ObjectStatus {
    /// Reads a stored status; anything that does not parse counts as no status.
    pub fn from_value(value: &Value) -> Self {
        Self::deserialize(value).unwrap_or_default()
    }

    /// The condition of a type.
    pub fn condition(&self, condition_type: &str) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.condition_type == condition_type)
    }

    /// Sets a condition. `lastTransitionTime` moves only when `status` does. Conditions stand in a fixed order.
    pub fn set(&mut self, mut condition: Condition) {
        match self.conditions.iter_mut().find(|c| c.condition_type == condition.condition_type) {
            Some(old) => {
                condition.keep_time_of(old);
                *old = condition;
            }
            None => self.conditions.push(condition),
        }
        let place = |c: &Condition| ORDER.iter().position(|name| *name == c.condition_type).unwrap_or(ORDER.len());
        self.conditions.sort_by_key(place);
    }
}

/// A Kubernetes condition (KEP-1623).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Accepted`, `ResolvedRefs`, `Programmed` or `Ready`.
    #[serde(rename = "type")]
    pub condition_type: String,
    pub status: ConditionStatus,
    /// One word for machines.
    pub reason: String,
    /// The reason in words.
    pub message: String,
    /// The generation of the spec that this is about.
    pub observed_generation: i64,
    /// When `status` last changed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: DateTime<Utc>,
}

impl Condition {
    /// As if its status had changed at `at`. Kept to the second, as Kubernetes writes it.
    pub fn new(
        condition_type: &str,
        status: ConditionStatus,
        (reason, message): (&str, impl Into<String>),
        (observed_generation, at): (i64, DateTime<Utc>),
    ) -> Self {
        Self {
            condition_type: condition_type.to_owned(),
            status,
            reason: reason.to_owned(),
            message: message.into(),
            observed_generation,
            last_transition_time: at.trunc_subsecs(0),
        }
    }

    /// Takes over when `old` changed last, if its status is the same.
    pub fn keep_time_of(&mut self, old: &Self) {
        if self.status == old.status {
            self.last_transition_time = old.last_transition_time.trunc_subsecs(0);
        }
    }

    pub fn holds(&self) -> bool {
        self.status == ConditionStatus::True
    }
}

/// Of a condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// The workers of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Workers {
    /// `spec.replicas`.
    pub desired: u32,
    /// Workers with a live lease.
    pub live: u32,
    /// Live workers that serve every version of the spec.
    pub ready: u32,
    /// Live workers that load a version now.
    pub loading: u32,
    /// Live workers with a version that failed.
    pub failed: u32,
    /// Why versions failed: `<node> <version>: <reason>`, at most 16.
    pub reasons: Vec<String>,
}
