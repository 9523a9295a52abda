//! Documents to a snapshot, as the control plane does it, with a worker for every version of every pool.
use std::net::SocketAddr;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tidegate_policy::{
    compile::{CompileInput, compile},
    kinds::Kind,
    ports::{ApiKey, Everything, LeasedVersion, Source, StoredObject, VersionState, WorkerLease},
    snapshot::Snapshot,
    validate,
};

/// What `documents` (YAML) compile to. Pools named `idle…` have no workers.
pub fn snapshot(documents: &str) -> Snapshot {
    let now: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut everything = Everything { revision: 7, api_keys: keys(documents, now), ..Everything::default() };
    for (i, valid) in validate::parse(documents.as_bytes()).unwrap_or_else(|e| panic!("{e:?}")).into_iter().enumerate()
    {
        let write = valid.to_write();
        everything.objects.push(StoredObject {
            key: write.key,
            uid: uuid::Uuid::from_u128(i as u128),
            generation: i as i64 + 1,
            revision: 7,
            created_at: now,
            source: Source::Rest,
            labels: write.labels,
            annotations: write.annotations,
            spec: write.spec,
            status: Value::Null,
        });
    }
    everything.fleet = everything.objects.iter().filter_map(lease).collect();
    compile(&CompileInput { everything: &everything, now }).snapshot
}

fn lease(object: &StoredObject) -> Option<WorkerLease> {
    let pool = object.key.object.clone();
    if object.key.kind != Kind::WorkerPool || pool.name.starts_with("idle") {
        return None;
    }
    let versions = object.spec["versions"].as_array()?.iter().filter_map(Value::as_str);
    let serving = |v: &str| LeasedVersion {
        name: v.to_owned(),
        state: VersionState::Serving,
        error: String::new(),
        outdated: false,
    };
    let port = 20_000 + u16::try_from(object.generation).ok()?;
    Some(WorkerLease {
        node_id: format!("{}-{}", pool.name, port),
        incarnation: "1".to_owned(),
        pool,
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        ready: true,
        versions: versions.map(serving).collect(),
        expires_at: "2036-01-01T00:00:00Z".parse().ok()?,
    })
}

/// A line `# key: ID TENANT` makes an API key.
fn keys(documents: &str, created_at: DateTime<Utc>) -> Vec<ApiKey> {
    let lines = documents.lines().filter_map(|l| l.strip_prefix("# key: ")?.split_once(' '));
    let key = |(id, tenant): (&str, &str)| ApiKey {
        id: id.to_owned(),
        tenant: tenant.to_owned(),
        description: String::new(),
        jwk: json!({"alg": "EdDSA", "crv": "Ed25519", "kid": id, "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        created_at,
        expires_at: None,
        revoked_at: None,
    };
    lines.map(key).collect()
}
