//! Typed matches and targets, shared by all policies.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds;

/// One condition over a request. All conditions of a list must hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum Match {
    Header {
        #[schemars(extend("properties" = serde_json::json!({"name": {"not": bounds::reserved_headers()}})))]
        header: HeaderMatch,
    },
    /// A tag T is the request header `x-tag-T`, for example `version` or `region`.
    Tag {
        #[schemars(extend("properties" = serde_json::json!({"name": {"pattern": bounds::TAG}})))]
        tag: HeaderMatch,
    },
    Tenant {
        tenant: TenantMatch,
    },
    Bucket {
        bucket: BucketMatch,
    },
}

/// A header (or tag) and what its value must be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = bounds::header_value)]
pub struct HeaderMatch {
    /// Case-insensitive.
    #[schemars(pattern(bounds::HEADER))]
    pub name: String,
    #[serde(rename = "type")]
    pub op: MatchType,
    /// Absent for `Present` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// How a value is compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
pub enum MatchType {
    /// The whole value, byte for byte.
    Exact,
    Prefix,
    /// An RE2 pattern that must match the whole value.
    Regex,
    /// A range such as `^2.1`, `~2.1.3`, `2.x` or `=2.1.0`; the value may begin with `v`.
    Semver,
    /// The header is there, whatever its value.
    Present,
}

/// The authenticated tenant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TenantMatch {
    /// As the API key says it.
    #[schemars(pattern(bounds::TENANT))]
    pub name: String,
}

/// A sticky share of the values of a header.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BucketMatch {
    /// Header whose value is hashed. A request without it does not match.
    #[schemars(pattern(bounds::HEADER), extend("not" = bounds::reserved_headers()))]
    pub header: String,
    /// Different salts give independent buckets.
    #[serde(default)]
    #[schemars(pattern(bounds::SALT))]
    pub salt: String,
    /// First bucket, 0 to 9,999.
    #[schemars(range(max = bounds::BUCKETS - 1))]
    pub from: u32,
    /// One past the last bucket, at most 10,000.
    #[schemars(range(min = 1, max = bounds::BUCKETS))]
    pub to: u32,
}

/// What a policy is about; in the same namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    pub kind: TargetKind,
    /// Of the object, in the same namespace.
    #[schemars(pattern(bounds::NAME))]
    pub name: String,
}

/// What can be a target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
pub enum TargetKind {
    Model,
    WorkerPool,
}
