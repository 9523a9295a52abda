//! No field is accepted and ignored: for every field of every kind's schema, a change is refused, or changes what gateways or
//! workers are told. A field that is new in a schema has no row here and fails.
use std::collections::{BTreeMap, BTreeSet};

use prost::bytes::Bytes;
use serde_json::{Value, json};
use tidegate_policy::{
    kinds::{Kind, schemas},
    validate,
};
use tidegate_proto::contract::{TYPE_LIMIT_SET, TYPE_MODEL_SET};
use tidegate_translate::{GatewaySettings, gateway, pool, types};

use crate::world;

/// What a change of a field does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    /// Gateways or workers are told something else.
    Told,
    /// The document is refused: the field, or any other value of it, is not supported yet.
    Refused,
}
use Effect::{Refused, Told};

/// By kind: the field, where it stands in the base document, another value, and what that does.
type Row = (Kind, &'static str, &'static str, Value, Effect);

fn base() -> BTreeMap<Kind, Value> {
    let digest = |c: char| c.to_string().repeat(64);
    let version = |name: &str| {
        json!({
            "name": name, "uri": format!("file:chat/{name}"), "task": "Chat", "chatTemplate": "a.jinja",
            "tokenizer": "tokenizer.json",
            "files": [
                {"path": "model.onnx", "sha256": digest('a'), "size": 10},
                {"path": "tokenizer.json", "sha256": digest('b'), "size": 10},
                {"path": "other.json", "sha256": digest('b'), "size": 10},
                {"path": "a.jinja", "sha256": digest('c'), "size": 10},
                {"path": "b.jinja", "sha256": digest('d'), "size": 10},
            ],
        })
    };
    let matches = json!([
        {"type": "Header", "header": {"name": "x-a", "type": "Exact", "value": "1"}},
        {"type": "Tag", "tag": {"name": "region", "type": "Exact", "value": "eu"}},
        {"type": "Tenant", "tenant": {"name": "acme"}},
        {"type": "Bucket", "bucket": {"header": "x-user-id", "salt": "s", "from": 0, "to": 100}},
    ]);
    let spec = |kind| match kind {
        Kind::Model => json!({"versions": [version("v1"), version("v2"), version("v3")]}),
        Kind::WorkerPool => json!({
            "modelRef": {"name": "chat"}, "versions": ["v1", "v2", "v3"], "replicas": 1,
            "batching": {"maxBatch": 8, "maxDelay": "2ms"}, "queue": {"maxRequests": 100},
            "timeouts": {"inference": "20s", "drain": "20s"},
        }),
        Kind::ReleasePolicy => json!({
            "targetRef": {"kind": "Model", "name": "chat"}, "stable": "v1", "candidate": "v2",
            "rules": [{"match": matches, "to": "Candidate"}],
            "steps": [{"weight": 10}], "assignment": {"header": "x-user-id", "salt": "t"},
        }),
        Kind::RateLimitPolicy => json!({
            "targetRefs": [{"kind": "Model", "name": "chat"}], "scope": "Local", "mode": "Enforce",
            "limits": [
                {"name": "a", "match": matches, "counters": [{"type": "Header", "header": {"name": "x-c"}}],
                 "requests": {"rate": 5, "window": "1s", "burst": 7}},
                {"name": "b", "concurrency": 9},
            ],
        }),
    };
    Kind::ALL.into_iter().map(|kind| (kind, spec(kind))).collect()
}

/// The conditions of a list are the same type under both policies.
fn match_rows(kind: Kind, list: &'static str, at: &'static str) -> Vec<Row> {
    let of = |field: &str, place: &str, value: Value| {
        let name: &'static str = Box::leak(format!("{list}.{field}").into_boxed_str());
        let pointer: &'static str = Box::leak(format!("{at}/{place}").into_boxed_str());
        (kind, name, pointer, value, Told)
    };
    let exists = json!({"type": "Header", "header": {"name": "x-b", "type": "Present"}});
    vec![
        of("type", "3", exists),
        of("header.name", "0/header/name", json!("x-z")),
        of("header.type", "0/header/type", json!("Prefix")),
        of("header.value", "0/header/value", json!("2")),
        of("tag.name", "1/tag/name", json!("zone")),
        of("tag.type", "1/tag/type", json!("Prefix")),
        of("tag.value", "1/tag/value", json!("us")),
        of("tenant.name", "2/tenant/name", json!("globex")),
        of("bucket.header", "3/bucket/header", json!("x-z")),
        of("bucket.salt", "3/bucket/salt", json!("z")),
        of("bucket.from", "3/bucket/from", json!(1)),
        of("bucket.to", "3/bucket/to", json!(101)),
    ]
}

fn model_rows() -> Vec<Row> {
    let told = |field, at, value| (Kind::Model, field, at, value, Told);
    let refused = |field, at, value| (Kind::Model, field, at, value, Refused);
    let adapter = json!([{"name": "a", "generation": 1, "sha256": "a".repeat(64), "rank": 8}]);
    vec![
        told("versions[].name", "/versions/2/name", json!("v4")),
        told("versions[].uri", "/versions/0/uri", json!("file:chat/other")),
        told("versions[].files[].path", "/versions/0/files/2/path", json!("another.json")),
        told("versions[].files[].sha256", "/versions/0/files/0/sha256", json!("e".repeat(64))),
        told("versions[].files[].size", "/versions/0/files/0/size", json!(11)),
        told("versions[].task", "/versions", json!(["v1", "v2", "v3"].map(embedding))),
        told("versions[].quantization", "/versions/0/quantization", json!("Int8")),
        told("versions[].tokenizer", "/versions/0/tokenizer", json!("other.json")),
        told("versions[].chatTemplate", "/versions/0/chatTemplate", json!("b.jinja")),
        refused("versions[].signature", "/versions/0/signature", json!("s")),
        refused("adapters[].name", "/adapters", adapter.clone()),
        refused("adapters[].generation", "/adapters", adapter.clone()),
        refused("adapters[].sha256", "/adapters", adapter.clone()),
        refused("adapters[].rank", "/adapters", adapter),
    ]
}

/// A version for another task; the versions of a model have one task.
fn embedding(name: &str) -> Value {
    let file = |path: &str| json!({"path": path, "sha256": "f".repeat(64), "size": 1});
    let uri = format!("file:chat/{name}");
    json!({"name": name, "uri": uri, "task": "Embedding", "files": [file("model.onnx"), file("tokenizer.json")]})
}

fn pool_rows() -> Vec<Row> {
    let told = |field, at, value| (Kind::WorkerPool, field, at, value, Told);
    let refused = |field, at, value| (Kind::WorkerPool, field, at, value, Refused);
    vec![
        told("modelRef.name", "/modelRef/name", json!("other")),
        told("versions[]", "/versions", json!(["v2"])),
        told("replicas", "/replicas", json!(0)),
        told("batching.maxBatch", "/batching/maxBatch", json!(9)),
        told("batching.maxDelay", "/batching/maxDelay", json!("3ms")),
        told("queue.maxRequests", "/queue/maxRequests", json!(101)),
        told("timeouts.inference", "/timeouts/inference", json!("21s")),
        told("timeouts.drain", "/timeouts/drain", json!("21s")),
        refused("batching.buckets[]", "/batching/buckets", json!([128])),
        refused("queue.maxTokens", "/queue/maxTokens", json!(1000)),
        refused("queue.timeout", "/queue/timeout", json!("1s")),
        refused("devices.visible[]", "/devices", json!({"visible": ["0"]})),
        refused("devices.cores[]", "/devices", json!({"cores": [1]})),
        refused("devices.memoryLimit", "/devices", json!({"memoryLimit": "8Gi"})),
        refused("labels", "/labels", json!({"region": "eu"})),
    ]
}

fn release_rows() -> Vec<Row> {
    let told = |field, at, value| (Kind::ReleasePolicy, field, at, value, Told);
    let refused = |field, at, value| (Kind::ReleasePolicy, field, at, value, Refused);
    let mut rows = match_rows(Kind::ReleasePolicy, "rules[].match[]", "/rules/0/match");
    rows.extend([
        refused("targetRef.kind", "/targetRef/kind", json!("WorkerPool")),
        told("targetRef.name", "/targetRef/name", json!("other")),
        told("stable", "/stable", json!("v3")),
        told("candidate", "/candidate", json!("v3")),
        told("rules[].to", "/rules/0/to", json!("Stable")),
        told("steps[].weight", "/steps/0/weight", json!(11)),
        told("assignment.header", "/assignment/header", json!("x-z")),
        told("assignment.salt", "/assignment/salt", json!("z")),
        refused("steps[].hold", "/steps/0/hold", json!("1m")),
        refused("onFail", "/onFail", json!("Pause")),
    ]);
    let gates = [
        ("gates.p95Ratio", json!({"p95Ratio": 1.5})),
        ("gates.errorDelta", json!({"errorDelta": 0.1})),
        ("gates.minSamples", json!({"minSamples": 10})),
        ("gates.maxLatency", json!({"maxLatency": "1s"})),
        ("gates.maxRequests", json!({"maxRequests": 10})),
        ("gates.maxConcurrency", json!({"maxConcurrency": 10})),
    ];
    rows.extend(gates.into_iter().map(|(field, value)| refused(field, "/gates", value)));
    rows
}

fn limit_rows() -> Vec<Row> {
    let told = |field, at, value| (Kind::RateLimitPolicy, field, at, value, Told);
    let refused = |field, at, value| (Kind::RateLimitPolicy, field, at, value, Refused);
    let mut rows = match_rows(Kind::RateLimitPolicy, "limits[].match[]", "/limits/0/match");
    rows.extend([
        told("targetRefs[].kind", "/targetRefs/0/kind", json!("WorkerPool")),
        told("targetRefs[].name", "/targetRefs/0/name", json!("other")),
        told("mode", "/mode", json!("Shadow")),
        told("limits[].name", "/limits/0/name", json!("z")),
        told("limits[].counters[].type", "/limits/0/counters/0", json!({"type": "Tenant"})),
        told("limits[].counters[].header.name", "/limits/0/counters/0/header/name", json!("x-z")),
        told("limits[].requests.rate", "/limits/0/requests/rate", json!(6)),
        told("limits[].requests.window", "/limits/0/requests/window", json!("2s")),
        told("limits[].requests.burst", "/limits/0/requests/burst", json!(8)),
        told("limits[].concurrency", "/limits/1/concurrency", json!(10)),
        refused("limits[].requests.strict", "/limits/0/requests/strict", json!(true)),
        refused("scope", "/scope", json!("Global")),
        refused("failureMode", "/failureMode", json!("FailOpen")),
        refused("hybrid.after", "/hybrid", json!({"after": "30s"})),
    ]);
    for member in ["bandwidth", "tokens"] {
        for (field, value) in
            [("rate", json!(1)), ("window", json!("1s")), ("burst", json!(1)), ("strict", json!(true))]
        {
            let name: &'static str = Box::leak(format!("limits[].{member}.{field}").into_boxed_str());
            let at: &'static str = Box::leak(format!("/limits/0/{member}").into_boxed_str());
            let mut rate = json!({"rate": 1});
            rate[field] = value;
            rows.push(refused(name, at, rate));
        }
    }
    rows
}

fn rows() -> Vec<Row> {
    [model_rows(), pool_rows(), release_rows(), limit_rows()].concat()
}

/// Every field of a schema that holds a value and not an object, by path: `limits[].requests.rate`.
fn leaves(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
        return leaves(&schemas()[name], path, found);
    }
    if let Some(properties) = schema["properties"].as_object() {
        // Branches beside fields say which of them go together, and name no other.
        for (name, field) in properties {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            leaves(field, &path, found);
        }
        return;
    }
    if !schema["items"].is_null() {
        return leaves(&schema["items"], &format!("{path}[]"), found);
    }
    let variants = ["oneOf", "anyOf", "allOf"].iter().filter_map(|k| schema[*k].as_array()).flatten();
    let inner: Vec<&Value> = variants.filter(|v| !v["$ref"].is_null() || !v["properties"].is_null()).collect();
    if inner.is_empty() {
        found.insert(path.to_owned());
    }
    for variant in inner {
        leaves(variant, path, found);
    }
}

fn set(document: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    match key.parse::<usize>() {
        Ok(place) => parent[place] = value,
        Err(_) => parent[key] = value,
    }
}

fn text(specs: &BTreeMap<Kind, Value>) -> String {
    let document = |(kind, spec): (&Kind, &Value)| json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": kind.name(), "metadata": {"name": "chat"}, "spec": spec});
    let mut all: String = specs.iter().map(|entry| format!("{}\n---\n", document(entry))).collect();
    // With a second pool a limit on one pool is another thing than a limit on the model.
    let second = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "second"},
        "spec": {"modelRef": {"name": "chat"}, "versions": ["v1"]},
    });
    all.push_str(&second.to_string());
    all
}

/// Everything that gateways and workers are told, by node group, type and name.
fn told(documents: &str) -> BTreeMap<(String, String), Bytes> {
    let snapshot = world::snapshot(documents);
    let gateway_types = [types::LISTENER, types::ROUTE, types::CLUSTER, types::ENDPOINT, types::EXTENSION];
    let mut sets = vec![("gateway".to_owned(), gateway(&snapshot, &GatewaySettings::default()), &gateway_types[..])];
    let worker_types = [TYPE_MODEL_SET, TYPE_LIMIT_SET];
    for (name, plan) in &snapshot.pools {
        sets.push((format!("{name} x {}", plan.spec.replicas), pool(&snapshot, plan), &worker_types[..]));
    }
    let mut all = BTreeMap::new();
    for (group, set, urls) in &sets {
        for url in *urls {
            for (name, resource) in set.of_type(url).into_iter().flatten() {
                all.insert((format!("{group} {url}"), name.to_string()), resource.body.clone());
            }
        }
    }
    all
}

#[test]
fn every_field_has_a_row() {
    let rows = rows();
    let mut wrong = Vec::new();
    for kind in Kind::ALL {
        let mut fields = BTreeSet::new();
        leaves(&schemas()[kind.spec_schema()], "", &mut fields);
        let known: BTreeSet<String> = rows.iter().filter(|r| r.0 == kind).map(|r| r.1.to_owned()).collect();
        wrong.extend(fields.difference(&known).map(|f| format!("{kind} {f}: a field without a row")));
        wrong.extend(known.difference(&fields).map(|f| format!("{kind} {f}: a row without a field")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_change_of_any_field_is_told_or_refused() {
    let before = told(&text(&base()));
    assert!(!before.is_empty());
    let mut wrong = Vec::new();
    for (kind, field, at, value, expected) in rows() {
        let mut specs = base();
        let spec = specs.get_mut(&kind).unwrap();
        set(spec, at, value);
        let changed = text(&specs);
        let effect = match validate::parse(changed.as_bytes()) {
            Err(_) => Some(Refused),
            Ok(_) if told(&changed) != before => Some(Told),
            Ok(_) => None,
        };
        if effect != Some(expected) {
            wrong.push(format!("{kind} {field}: {effect:?} and not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
