//! The store against a real Postgres: what the traits of `policy::ports` promise, also under contention and after crashes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod changes;
mod connect;
mod crash;
mod credentials;
mod failures;
mod history;
mod leases;
mod model;
mod objects;
mod pg;
mod pooler;
mod promise;
mod queue;
mod retention;
mod statuses;

use serde_json::{Value, json};
use tidegate_policy::{
    kinds::Kind,
    ports::{Author, ObjectKey, Source, StatusWrite, Write},
    snapshot::ObjectRef,
};
use tidegate_store::PgStore;

async fn store() -> PgStore {
    PgStore::connect(&pg::database()).await.unwrap()
}

fn key(kind: Kind, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey { kind, object: ObjectRef { namespace: namespace.to_owned(), name: name.to_owned() } }
}

fn model(name: &str) -> ObjectKey {
    key(Kind::Model, "default", name)
}

fn put(key: &ObjectKey, spec: Value) -> Write {
    Write { key: key.clone(), labels: json!({}), annotations: json!({}), spec, expected_revision: None }
}

fn status(uid: uuid::Uuid, status: Value) -> StatusWrite {
    StatusWrite { uid, status }
}

fn rest() -> Author {
    Author { name: "tester".to_owned(), source: Source::Rest }
}

fn kubernetes() -> Author {
    Author { name: "controller".to_owned(), source: Source::Kubernetes }
}
