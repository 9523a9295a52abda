//! Random policies as documents, through the same door as a user's: parsed, validated, compiled. Seeded.
use std::{collections::BTreeMap, net::SocketAddr};

use chrono::{DateTime, TimeDelta, Utc};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};
use tidegate_policy::{
    compile::{CompileInput, compile},
    kinds::ReleasePolicySpec,
    ports::{Everything, LeasedVersion, Source, StoredObject, VersionState, WorkerLease},
    snapshot::{ObjectRef, Snapshot, Target},
    validate,
};

use super::requests::keys;

pub const TENANTS: [&str; 2] = ["acme", "globex/eu"];
pub const HEADERS: [&str; 5] = ["x-gray-tag", "X-Canary", "x-client_kind", "accept-language", "x.odd!name"];
pub const TAGS: [&str; 2] = ["version", "region"];
pub const BUCKET_HEADERS: [&str; 2] = ["x-user-id", "x-bucket-key"];
pub const EXACT: [&str; 5] = ["beta", "v2.1", "a,b", "größe", "x y"];
pub const PREFIX: [&str; 4] = ["be", "v2.", "a,", "gr"];
pub const REGEX: [&str; 8] =
    ["v2.*", "[a-c]+x?", "(?:beta|canary)", "a.b", "[^a]b*", "[0-9]+[.][0-9]{1,3}", "a?", "(a|b),.+"];
pub const SEMVER: [&str; 6] = ["^2.1", "~2.1.3", "2.x", "=2.1.0", "1.2", "^0.3.1"];

/// A release policy as it was written.
pub struct Policy {
    pub spec: ReleasePolicySpec,
    pub created_at: DateTime<Utc>,
}

/// Many policy sets, one per model, compiled together.
pub struct World {
    pub snapshot: Snapshot,
    /// By `<namespace>/<name>`.
    pub policies: BTreeMap<String, Policy>,
    /// Authorization header per tenant.
    pub keys: BTreeMap<&'static str, Vec<u8>>,
    origins: [SocketAddr; 2],
}

impl World {
    pub fn random(seed: u64, sets: usize, buckets: bool, origins: [SocketAddr; 2]) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut everything = Everything { revision: 1, ..Everything::default() };
        let began: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        for set in 0..sets {
            let name = format!("m{set}");
            let mut documents = fleet_documents(&name);
            for policy in 0..rng.random_range(1..=3) {
                documents.push(release(&mut rng, &name, policy, buckets));
            }
            for document in documents {
                let age = TimeDelta::seconds(rng.random_range(0..4));
                everything.objects.push(store(&document, began + age, rng.random_range(1..50)));
            }
            for (version, address) in ["v1", "v2"].into_iter().zip(origins) {
                everything.fleet.push(lease(&name, version, address));
            }
        }
        let (api_keys, keys) = keys();
        everything.api_keys = api_keys;
        let policies = everything.objects.iter().filter_map(policy_of).collect();
        let snapshot = compile(&CompileInput { everything: &everything, now: began + TimeDelta::days(1) }).snapshot;
        Self { snapshot, policies, keys, origins }
    }

    pub fn target(&self, model: &str) -> &Target {
        self.snapshot.targets.iter().find(|t| t.model_id == model).unwrap()
    }

    pub fn version_at(&self, port: u16) -> &'static str {
        if port == self.origins[0].port() { "v1" } else { "v2" }
    }

    /// The policies of a model, for a failure's message.
    pub fn describe(&self, model: &str) -> String {
        let of_model = self.policies.iter().filter(|(_, p)| p.spec.target_ref.name == model);
        of_model
            .map(|(name, p)| format!("{name} ({}): {}\n", p.created_at, serde_json::to_string(&p.spec).unwrap()))
            .collect()
    }
}

fn policy_of(object: &StoredObject) -> Option<(String, Policy)> {
    if object.key.kind != tidegate_policy::kinds::Kind::ReleasePolicy {
        return None;
    }
    let spec = serde_json::from_value(object.spec.clone()).unwrap();
    Some((object.key.object.to_string(), Policy { spec, created_at: object.created_at }))
}

fn document(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn fleet_documents(name: &str) -> Vec<Value> {
    let version = |v: &str| {
        let files =
            ["model.onnx", "tokenizer.json"].map(|path| json!({"path": path, "sha256": "0".repeat(64), "size": 1}));
        json!({"name": v, "uri": format!("file:{name}/{v}"), "files": files, "task": "Embedding"})
    };
    let pool =
        |v: &str| document("WorkerPool", &format!("{name}-{v}"), json!({"modelRef": {"name": name}, "versions": [v]}));
    vec![document("Model", name, json!({"versions": [version("v1"), version("v2")]})), pool("v1"), pool("v2")]
}

fn store(document: &Value, created_at: DateTime<Utc>, generation: i64) -> StoredObject {
    let valid =
        validate::parse(document.to_string().as_bytes()).unwrap_or_else(|e| panic!("{document:#}\n{e:?}")).remove(0);
    let write = valid.to_write();
    StoredObject {
        key: write.key,
        uid: uuid::Uuid::from_u128(1),
        generation,
        revision: 1,
        created_at,
        source: Source::Rest,
        labels: write.labels,
        annotations: write.annotations,
        spec: write.spec,
        status: Value::Null,
    }
}

fn lease(model: &str, version: &str, address: SocketAddr) -> WorkerLease {
    WorkerLease {
        node_id: format!("{model}-{version}"),
        incarnation: "1".to_owned(),
        pool: ObjectRef { namespace: "default".to_owned(), name: format!("{model}-{version}") },
        address,
        ready: true,
        versions: vec![LeasedVersion {
            name: version.to_owned(),
            state: VersionState::Serving,
            error: String::new(),
            outdated: false,
        }],
        expires_at: "2036-01-01T00:00:00Z".parse().unwrap(),
    }
}

fn release(rng: &mut StdRng, model: &str, n: usize, buckets: bool) -> Value {
    let rules: Vec<Value> = (0..rng.random_range(0..=4)).map(|_| rule(rng, buckets)).collect();
    let weight = *[0, 10, 30, 50, 100].choose(rng).unwrap();
    let mut assignment = json!({"header": *["x-user-id", "X-Session"].choose(rng).unwrap()});
    if rng.random_bool(0.7) {
        assignment["salt"] = json!(format!("salt-{}", rng.random_range(0..9)));
    }
    let spec = json!({
        "targetRef": {"kind": "Model", "name": model}, "stable": "v1", "candidate": "v2",
        "rules": rules, "steps": [{"weight": weight}], "assignment": assignment,
    });
    document("ReleasePolicy", &format!("{model}-{n}"), spec)
}

fn rule(rng: &mut StdRng, buckets: bool) -> Value {
    let mut matches = Vec::new();
    let wanted = rng.random_range(1..=3);
    let mut headers = HEADERS.to_vec();
    let mut tags = TAGS.to_vec();
    let mut tenant = true;
    while matches.len() < wanted {
        match rng.random_range(0..10) {
            0 if tenant => {
                tenant = false;
                matches.push(json!({"type": "Tenant", "tenant": {"name": TENANTS.choose(rng).unwrap()}}));
            }
            1 | 2 if buckets && !matches.iter().any(|m: &Value| m["type"] == "Bucket") => {
                let from = rng.random_range(0..6_000);
                let to = rng.random_range(from + 1_000..=10_000);
                let (header, salt) = (BUCKET_HEADERS.choose(rng).unwrap(), format!("b{}", rng.random_range(0..3)));
                matches.push(
                    json!({"type": "Bucket", "bucket": {"header": header, "salt": salt, "from": from, "to": to}}),
                );
            }
            3 | 4 if !tags.is_empty() => {
                let name = tags.swap_remove(rng.random_range(0..tags.len()));
                matches.push(json!({"type": "Tag", "tag": test(rng, name)}));
            }
            5.. if !headers.is_empty() => {
                let name = headers.swap_remove(rng.random_range(0..headers.len()));
                matches.push(json!({"type": "Header", "header": test(rng, name)}));
            }
            _ => {}
        }
    }
    json!({"match": matches, "to": *["Stable", "Candidate"].choose(rng).unwrap()})
}

fn test(rng: &mut StdRng, name: &str) -> Value {
    let (op, values): (&str, &[&str]) = match rng.random_range(0..5) {
        0 => ("Exact", &EXACT),
        1 => ("Prefix", &PREFIX),
        2 => ("Regex", &REGEX),
        3 => ("Semver", &SEMVER),
        _ => return json!({"name": name, "type": "Present"}),
    };
    json!({"name": name, "type": op, "value": values.choose(rng).unwrap()})
}
