//! `RateLimitPolicy`: who may use how much.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Match, TargetRef, bounds};

/// Who may use how much of some models.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimitPolicySpec {
    /// At least one Model or WorkerPool.
    #[schemars(length(min = 1, max = bounds::TARGETS), extend("uniqueItems" = true))]
    pub target_refs: Vec<TargetRef>,
    /// At least one, names unique.
    #[schemars(length(min = 1, max = bounds::LIMITS))]
    pub limits: Vec<LimitSpec>,
    /// Request and token budgets that act on each other. Not supported yet: must be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub hybrid: Option<Hybrid>,
    /// Who counts. `Global` is not supported yet.
    #[serde(default)]
    pub scope: Scope,
    /// Whether a limit refuses, or only counts and reports.
    #[serde(default)]
    pub mode: Mode,
    /// What happens when the shared counter cannot be reached. Only for `Global`: must be absent for `Local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub failure_mode: Option<FailureMode>,
}

/// One limit: which requests, and how much: `requests`, `concurrency` or both.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = bounds::some_limit)]
pub struct LimitSpec {
    /// Of this limit; it stands in the answer that it refuses.
    #[schemars(pattern(bounds::NAME))]
    pub name: String,
    /// All must hold; none means every request.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::MATCHES))]
    pub matches: Vec<Match>,
    /// Each combination of their values has a balance of its own; none means one balance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::COUNTERS), extend("uniqueItems" = true))]
    pub counters: Vec<CounterSpec>,
    /// Requests per time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Rate>,
    /// Requests in flight at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = bounds::CONCURRENCY))]
    pub concurrency: Option<u64>,
    /// Bytes per second. Not supported yet: must be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub bandwidth: Option<Rate>,
    /// Tokens of the language model. Not supported yet: must be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub tokens: Option<Rate>,
}

/// What gets a balance of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum CounterSpec {
    /// Each authenticated tenant.
    Tenant,
    /// Each value of a request header.
    Header { header: CounterHeader },
}

/// A header to count by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CounterHeader {
    /// Case-insensitive.
    #[schemars(pattern(bounds::HEADER), extend("not" = bounds::reserved_headers()))]
    pub name: String,
}

/// `rate` per `window`, and `burst` at once: at most burst + rate * t / window in any interval t.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// How many per window; 1 to 1,000,000,000.
    #[schemars(range(min = 1, max = bounds::RATE))]
    pub rate: u64,
    /// Such as `1s`, `1m`, `1h`; 50ms to 24h.
    #[serde(default = "one_second", deserialize_with = "crate::units::duration")]
    #[schemars(pattern(bounds::duration(&bounds::WINDOW)))]
    pub window: String,
    /// How many at once. Absent: the same as `rate`.
    #[schemars(range(min = 1, max = bounds::RATE))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Hold `rate` in every sliding window. Not supported yet: must be false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub strict: bool,
}

fn one_second() -> String {
    "1s".to_owned()
}

/// Request and token budgets that act on each other.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hybrid {
    /// How long the request rate must be exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::units::maybe_duration")]
    pub after: Option<String>,
}

/// Who counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// One shared counter. Not supported yet.
    #[schemars(extend("x-tidegate-not-supported" = true))]
    Global,
    /// Every gateway and every worker by itself; `status` states the bound for the fleet.
    #[default]
    Local,
}

/// Whether a limit refuses or only reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    #[default]
    Enforce,
    Shadow,
}

/// What happens when the shared counter cannot be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum FailureMode {
    FailOpen,
    FailClose,
    LocalShare,
}
