//! A document of each kind that is valid by its schema, is accepted, and together with the others names nothing that is missing.
use serde_json::{Value, json};

use super::{API_VERSION, Kind};

/// One document per kind, in the order in which they are best applied.
pub fn documents() -> Vec<(Kind, Value)> {
    Kind::ALL.into_iter().map(|kind| (kind, document(kind))).collect()
}

fn document(kind: Kind) -> Value {
    let (name, spec) = match kind {
        Kind::Model => ("chat", model()),
        Kind::WorkerPool => ("chat-v1", json!({"modelRef": {"name": "chat"}, "versions": ["v1"], "replicas": 2})),
        Kind::ReleasePolicy => ("chat", release()),
        Kind::RateLimitPolicy => ("chat", limits()),
    };
    json!({"apiVersion": API_VERSION, "kind": kind.name(), "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

fn model() -> Value {
    let file = |path: &str, digit: &str, size: u64| json!({"path": path, "sha256": digit.repeat(64), "size": size});
    let version = |name: &str, digit: &str| {
        json!({
            "name": name,
            "uri": format!("file:chat/{name}"),
            "task": "Chat",
            "tokenizer": "tokenizer.json",
            "chatTemplate": "chat_template.jinja",
            "files": [
                file("model.onnx", digit, 1_048_576),
                file("config.json", digit, 512),
                file("tokenizer.json", digit, 65_536),
                file("chat_template.jinja", digit, 1_024),
            ],
        })
    };
    json!({"versions": [version("v1", "a"), version("v2", "b")]})
}

fn release() -> Value {
    json!({
        "targetRef": {"kind": "Model", "name": "chat"},
        "stable": "v1",
        "candidate": "v2",
        "rules": [{
            "match": [{"type": "Header", "header": {"name": "x-gray-tag", "type": "Exact", "value": "v2"}}],
            "to": "Candidate",
        }],
        "steps": [{"weight": 10}],
        "assignment": {"header": "x-user-id"},
    })
}

fn limits() -> Value {
    json!({
        "targetRefs": [{"kind": "Model", "name": "chat"}],
        "limits": [{
            "name": "per-tenant",
            "counters": [{"type": "Tenant"}],
            "requests": {"rate": 50, "window": "1s", "burst": 100},
            "concurrency": 8,
        }],
    })
}
