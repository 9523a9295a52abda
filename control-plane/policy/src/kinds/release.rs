//! `ReleasePolicy`: who sees which version.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Match, TargetRef, bounds};

/// Who sees which version of a model.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = bounds::no_candidate)]
pub struct ReleasePolicySpec {
    /// A Model.
    #[schemars(extend("properties" = serde_json::json!({"kind": {"const": "Model"}})))]
    pub target_ref: TargetRef,
    /// The version that everybody sees who is not told otherwise.
    #[schemars(pattern(bounds::LABEL_PART))]
    pub stable: String,
    /// The version on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(pattern(bounds::LABEL_PART))]
    pub candidate: Option<String>,
    /// Requests that go to an arm whatever the weight. Precedence is by how specific the matches are, not by order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::RULES))]
    pub rules: Vec<ReleaseRule>,
    /// The weight of the candidate. At most one step, without `hold`, for now.
    #[schemars(length(max = bounds::STEPS))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<ReleaseStep>,
    /// What keeps a user in one arm.
    #[serde(default)]
    pub assignment: Assignment,
    /// When a step may go on. Not supported yet: must be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub gates: Option<ReleaseGates>,
    /// What happens when a gate fails. Not supported yet: must be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub on_fail: Option<OnFail>,
}

/// Requests that match go to one arm.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseRule {
    /// All must hold; at least one.
    #[serde(rename = "match")]
    #[schemars(length(min = 1, max = bounds::MATCHES))]
    pub matches: Vec<Match>,
    /// The arm that they get.
    pub to: ArmName,
}

/// The two arms of a release.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
pub enum ArmName {
    Stable,
    Candidate,
}

/// One step of a release.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseStep {
    /// Per cent of the users that see the candidate, 0 to 100.
    #[schemars(range(max = bounds::WEIGHT))]
    pub weight: u32,
    /// How long to stay. Not supported yet: must be absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::units::maybe_duration")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub hold: Option<String>,
}

/// What keeps a user in one arm.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assignment {
    /// Request header whose value is hashed. A request without it is assigned at random.
    #[serde(default = "default_key")]
    #[schemars(pattern(bounds::HEADER), extend("not" = bounds::reserved_headers()))]
    pub header: String,
    /// Different salts give independent assignments. Absent: made from the policy's namespace and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(pattern(bounds::SALT))]
    pub salt: Option<String>,
}

fn default_key() -> String {
    "x-user-id".to_owned()
}

impl Default for Assignment {
    fn default() -> Self {
        Self { header: default_key(), salt: None }
    }
}

/// When a step may go on.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseGates {
    /// Slowest 5 per cent of the candidate, by that of the stable version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ratio: Option<f64>,
    /// How much more of the requests may fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_delta: Option<f64>,
    /// Fewest requests before anything is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_samples: Option<u64>,
    /// Longest time of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::units::maybe_duration")]
    pub max_latency: Option<String>,
    /// Most requests of the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u64>,
    /// Most requests of the candidate at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u64>,
}

/// What happens when a gate fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum OnFail {
    Rollback,
    Pause,
}
