//! Question and answer of `explain`, as they stand in REST. Plain data.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request to explain.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainRequest {
    /// What the body's `model` says.
    pub model: String,
    /// Path of the POST. Absent: the one that fits the model. No rule looks at it, but what is not there or not the model's is
    /// refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/"))]
    pub path: Option<String>,
    /// In order; a header may stand several times.
    #[serde(default)]
    pub headers: Vec<ExplainHeader>,
    /// The tenant of the API key. Absent: the one of the key in the header `authorization`; without either the request has no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// What a gateway is set to, apart from the policies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GatewayFacts {
    /// Whether a request without an API key is refused.
    pub require_api_key: bool,
}

/// A header: `value`, or `valueBase64` for bytes that are not UTF-8.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = one_value)]
pub struct ExplainHeader {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(pattern(BASE64))]
    pub value_base64: Option<String>,
}

/// Standard base64 with padding, as the decoder takes it: the bits that count for nothing are 0.
const BASE64: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

/// `value` or `valueBase64`, not both.
fn one_value(schema: &mut schemars::Schema) {
    let absent = serde_json::json!({"type": "null"});
    schema.insert("if".to_owned(), serde_json::json!({"properties": {"value": absent}}));
    schema.insert("else".to_owned(), serde_json::json!({"properties": {"valueBase64": absent}}));
}

impl ExplainHeader {
    /// The value's bytes.
    ///
    /// # Errors
    /// Both or bad base64, in words.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        match (&self.value, &self.value_base64) {
            (Some(_), Some(_)) => Err("it has both `value` and `valueBase64`".to_owned()),
            (Some(text), None) => Ok(text.clone().into_bytes()),
            (None, Some(text)) => STANDARD.decode(text).map_err(|e| format!("`valueBase64` is not base64: {e}")),
            (None, None) => Ok(Vec::new()),
        }
    }
}

/// How it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    #[default]
    Routed,
    /// No such model: the gateway answers 404.
    UnknownModel,
}

/// What the client gets, as far as policies and fleet decide it: a limit that is used up (429), a body that is wrong and a worker
/// that fails are not foreseen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// HTTP status.
    pub status: u16,
    /// `error.code` of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    pub from: Answerer,
    /// In words; empty when the request is answered.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl Default for Verdict {
    fn default() -> Self {
        Self { status: 200, code: None, from: Answerer::Worker, why: String::new() }
    }
}

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum Answerer {
    Gateway,
    Worker,
}

/// The answer.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub outcome: Outcome,
    /// The rest says what is routed, also when the request is refused before a route is looked for.
    #[serde(default)]
    pub verdict: Verdict,
    pub model: String,
    /// "<namespace>/<name>" of the Model object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `stable` or `candidate`; absent when chance decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Envoy's cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Workers behind the cluster.
    pub endpoints: usize,
    /// Which rule or split decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<Decider>,
    /// Rules in order, up to the one that decided.
    pub rules: Vec<RuleVerdict>,
    /// When the split decided: the header that is hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_header: Option<String>,
    /// When the split decided and the header is there: 0 to 9,999.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<u32>,
    /// True when the key header is absent and chance decides between the shares.
    pub random: bool,
    /// When the split decided: its intervals in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<ArmShare>,
    /// Limits that count this request: those of the model, and those of the pools that may answer.
    pub limits: Vec<LimitVerdict>,
    /// Ids of limits that are about a tenant and were not looked at, because the request has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits_left_out: Vec<String>,
    /// Revision of the store that the snapshot was made from.
    pub revision: i64,
    pub notes: Vec<String>,
}

/// What decided.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decider {
    /// As in the response header `x-tidegate-rule`.
    pub id: String,
    pub kind: DeciderKind,
    /// "<namespace>/<name>" of the policy (or of the model, for its default).
    pub owner: String,
    /// As in the response header `x-tidegate-generation`.
    pub generation: i64,
}

/// A rule or the split.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum DeciderKind {
    Rule,
    Split,
}

/// A rule and whether it matched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleVerdict {
    pub id: String,
    /// The arm that answers.
    pub arm: String,
    /// The arm and version that the rule names, when another answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
    pub matched: bool,
    pub conditions: Vec<ConditionVerdict>,
}

/// A condition, what it saw, and whether it holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionVerdict {
    /// In words: `x-gray-tag = "v2"`.
    pub condition: String,
    /// In words: `"v1"`, `absent`, `bucket 1234`.
    pub saw: String,
    pub holds: bool,
}

/// An interval of the split.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArmShare {
    pub arm: String,
    pub cluster: String,
    pub version: String,
    /// Of 10,000.
    pub weight: u32,
    /// Workers behind the cluster.
    #[serde(default)]
    pub endpoints: usize,
    pub probability: f64,
}

/// A limit that counts the request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitVerdict {
    pub id: String,
    pub generation: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
    /// Whose balance: `tenant "acme"`.
    pub counters: Vec<String>,
    pub shadow: bool,
    /// Who counts: `gateway`, and `WorkerPool <namespace>/<name>` for each pool that may answer.
    #[serde(rename = "where", default)]
    pub places: Vec<String>,
}
