//! A world in one YAML file: documents, workers, keys, requests. Only for tests.
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::Value;
use tidegate_policy::{
    compile::{CompileInput, Compiled, compile},
    explain::{ExplainRequest, GatewayFacts},
    ports::{
        ApiKey, Everything, LeasedVersion, NodeIdentity, NodeRole, NodeToken, Source, StoredObject, VersionState,
        WorkerLease,
    },
    snapshot::ObjectRef,
    validate::{self, ValidObject},
};

/// A gateway that takes requests without a key.
pub const OPEN: GatewayFacts = GatewayFacts { require_api_key: false };

/// The world.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scenario {
    /// A body as `tidegate apply` takes it; the first document is the oldest object.
    pub apply: String,
    pub gateways: usize,
    pub workers: Vec<Worker>,
    pub keys: Vec<Key>,
    /// Status before compile, by "Kind namespace/name".
    pub statuses: BTreeMap<String, Value>,
    /// Specs that replace the applied ones without validation, by "Kind namespace/name".
    pub stored: BTreeMap<String, Value>,
    pub requests: Vec<ExplainRequest>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Worker {
    pub node: String,
    pub pool: String,
    pub port: u16,
    #[serde(default = "yes")]
    pub ready: bool,
    pub versions: BTreeMap<String, VersionState>,
    #[serde(default)]
    pub error: String,
    /// Versions that answer from files that are no longer wanted.
    #[serde(default)]
    pub outdated: BTreeSet<String>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Key {
    pub id: String,
    pub tenant: String,
    #[serde(default)]
    pub expires: Option<DateTime<Utc>>,
    #[serde(default)]
    pub revoked: Option<DateTime<Utc>>,
}

/// 2026-01-01, the moment of every test.
pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

pub fn object_ref(text: &str) -> ObjectRef {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectRef { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// A stored object, `age` seconds younger than the first.
pub fn stored(object: &ValidObject, age: i64) -> StoredObject {
    let write = object.to_write();
    StoredObject {
        uid: uuid::Uuid::from_u128(u128::try_from(age).unwrap() + 1),
        key: write.key,
        generation: 1,
        revision: age + 1,
        created_at: now() - TimeDelta::days(1) + TimeDelta::seconds(age),
        source: Source::Rest,
        labels: write.labels,
        annotations: write.annotations,
        spec: write.spec,
        status: Value::Null,
    }
}

/// A worker that serves versions.
pub fn lease(worker: &Worker) -> WorkerLease {
    let version = |(name, state): (&String, &VersionState)| LeasedVersion {
        name: name.clone(),
        state: *state,
        error: if *state == VersionState::Failed { worker.error.clone() } else { String::new() },
        outdated: worker.outdated.contains(name),
    };
    WorkerLease {
        node_id: worker.node.clone(),
        incarnation: "1".to_owned(),
        pool: object_ref(&worker.pool),
        address: ([127, 0, 0, 1], worker.port).into(),
        ready: worker.ready,
        versions: worker.versions.iter().map(version).collect(),
        expires_at: now() + TimeDelta::seconds(10),
    }
}

impl Scenario {
    pub fn read(text: &str) -> Self {
        serde_json::from_value(tidegate_text::one(text).unwrap().unwrap()).unwrap()
    }

    pub fn everything(&self) -> Everything {
        let objects = validate::parse(self.apply.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
        let mut objects: Vec<StoredObject> = objects.iter().zip(0..).map(|(o, age)| stored(o, age)).collect();
        for object in &mut objects {
            let key = object.key.to_string();
            if let Some(status) = self.statuses.get(&key) {
                object.status = status.clone();
            }
            if let Some(spec) = self.stored.get(&key) {
                object.spec = spec.clone();
            }
        }
        let token = |n: usize| NodeToken {
            sha256: vec![],
            identity: NodeIdentity { node_id: format!("gateway-{n}"), role: NodeRole::Gateway },
            created_at: now(),
            ends_at: None,
            last_used_at: None,
        };
        let key = |k: &Key| ApiKey {
            id: k.id.clone(),
            tenant: k.tenant.clone(),
            description: String::new(),
            jwk: Value::Null,
            created_at: now(),
            expires_at: k.expires,
            revoked_at: k.revoked,
        };
        Everything {
            revision: i64::try_from(objects.len()).unwrap(),
            objects,
            fleet: self.workers.iter().map(lease).collect(),
            api_keys: self.keys.iter().map(key).collect(),
            node_tokens: (0..self.gateways).map(token).collect(),
            admin_tokens: vec![],
        }
    }

    pub fn compile(&self) -> Compiled {
        compile(&CompileInput { everything: &self.everything(), now: now() })
    }
}
