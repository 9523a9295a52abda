//! Names that policies give things on the wire, and the headers that they may not touch. Formatting only.
use crate::snapshot::ObjectRef;

/// Namespace of a document that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Everything under this prefix belongs to Tidegate; a client's are removed at the gateway.
pub const RESERVED_PREFIX: &str = "x-tidegate-";

/// A tag `T` is the request header `x-tag-T`.
pub const TAG_PREFIX: &str = "x-tag-";

/// Headers that the gateway makes, rewrites, joins or removes before a route is picked, so that a condition on them would
/// not see what the client sent.
pub(crate) const GATEWAY_HEADERS: [&str; 15] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-request-id",
];

/// Prefixes of headers that the gateway makes or rewrites.
pub(crate) const GATEWAY_PREFIXES: [&str; 2] = ["x-envoy-", "x-forwarded-"];

/// Whether a (lower-case) header belongs to the gateway.
pub fn is_gateway_header(name: &str) -> bool {
    GATEWAY_HEADERS.contains(&name) || GATEWAY_PREFIXES.iter().any(|p| name.starts_with(p))
}

/// What a request carries in the body's `model`: the name in namespace `default`, else `<namespace>/<name>`.
pub fn model_id(model: &ObjectRef) -> String {
    if model.namespace == DEFAULT_NAMESPACE { model.name.clone() } else { model.to_string() }
}

/// Envoy's cluster name of an arm: `model.<namespace>.<name>.<version>`.
pub fn cluster(model: &ObjectRef, version: &str) -> String {
    format!("model.{}.{}.{version}", model.namespace, model.name)
}

/// Id of a rule: `<namespace>/<policy>/rules/<n>`.
pub fn rule_id(policy: &ObjectRef, n: usize) -> String {
    format!("{policy}/rules/{n}")
}

/// Id of a limit: `<namespace>/<policy>/<limit>`.
pub fn limit_id(policy: &ObjectRef, limit: &str) -> String {
    format!("{policy}/{limit}")
}
