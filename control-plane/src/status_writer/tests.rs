//! What is written, when, and what a store that fails or a stop does to it.
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tidegate_api::nodes::{NodeRegistry, Progress, RefusedResource};
use tidegate_policy::{
    compile::{CompileInput, compile},
    kinds::Kind,
    ports::{Everything, ObjectKey, Source, StoreError, StoredObject},
    snapshot::ObjectRef,
    status::{Condition, ConditionStatus, ObjectStatus, PROGRAMMED},
};
use tidegate_translate::types::{API_KEYS, CLUSTER, ENDPOINT, EXTENSION, LIMITS, LISTENER, ROUTE};
use tidegate_xds::Hub;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{StatusWriter, Statuses, ledger::Ledger, programmed::Nodes};
use crate::compile_loop::Published;

fn object(kind: Kind, name: &str, spec: Value) -> StoredObject {
    let object = ObjectRef { namespace: "default".to_owned(), name: name.to_owned() };
    StoredObject {
        key: ObjectKey { kind, object },
        uid: Default::default(),
        generation: 1,
        revision: 1,
        created_at: DateTime::UNIX_EPOCH,
        source: Source::Rest,
        labels: json!({}),
        annotations: json!({}),
        spec,
        status: Value::Null,
    }
}

fn model(name: &str) -> StoredObject {
    let file = |path: &str| json!({"path": path, "sha256": "0123456789abcdef".repeat(4), "size": 10});
    let files = [file("model.onnx"), file("tokenizer.json"), file("chat_template.jinja")];
    let version = |name: &str| {
        json!({
            "name": name, "uri": format!("file:m/{name}"), "task": "Chat", "chatTemplate": "chat_template.jinja",
            "files": files,
        })
    };
    object(Kind::Model, name, json!({"versions": [version("v1"), version("v2")]}))
}

fn pool(model: &str) -> StoredObject {
    object(Kind::WorkerPool, model, json!({"modelRef": {"name": model}, "versions": ["v1", "v2"]}))
}

fn limit(model: &str) -> StoredObject {
    let all = json!({"name": "all", "concurrency": 3});
    object(Kind::RateLimitPolicy, model, json!({"targetRefs": [{"kind": "Model", "name": model}], "limits": [all]}))
}

fn published(objects: Vec<StoredObject>) -> Published {
    let everything = Everything { objects, ..Everything::default() };
    let compiled = compile(&CompileInput { everything: &everything, now: at(0) });
    Published {
        snapshot: Arc::new(compiled.snapshot),
        statuses: Arc::new(compiled.statuses),
        objects: Arc::new(everything.objects),
    }
}

/// Three objects that have nothing to do with each other.
fn three() -> Published {
    published(vec![model("a"), model("b"), model("c")])
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

/// One node, `n`, in every group.
struct Told {
    here: bool,
    refused: Vec<RefusedResource>,
}

impl Nodes for Told {
    fn published(&self, _: &str) -> u64 {
        1
    }

    fn progress(&self, group: &str, _: u64, concerns: &dyn Fn(&RefusedResource) -> bool) -> Progress {
        let mine = self.refused.iter().filter(|row| group == "gateway" && concerns(row));
        let refused: Vec<_> = mine.map(|row| ("n".to_owned(), row.clone())).collect();
        let acked = if self.here && refused.is_empty() { vec!["n".to_owned()] } else { Vec::new() };
        Progress { acked, pending: Vec::new(), refused }
    }
}

const HERE: Told = Told { here: true, refused: Vec::new() };
const AWAY: Told = Told { here: false, refused: Vec::new() };

/// What one pass writes, by object: the condition `Programmed`. The store takes all of it.
fn pass(ledger: &mut Ledger, published: &Published, nodes: &Told, now: i64) -> BTreeMap<String, Condition> {
    let due = ledger.due(published, nodes, at(now));
    let mut written = BTreeMap::new();
    for change in due {
        let status = ObjectStatus::from_value(&change.status);
        written.insert(change.object.key.to_string(), status.condition(PROGRAMMED).unwrap().clone());
        ledger.begun(&change.object.key);
        ledger.stored(change);
    }
    written
}

fn only(mut written: BTreeMap<String, Condition>) -> (ConditionStatus, String, DateTime<Utc>) {
    assert_eq!(written.len(), 1, "{written:?}");
    let (_, condition) = written.pop_first().unwrap();
    (condition.status, condition.reason, condition.last_transition_time)
}

#[test]
fn what_was_written_counts_and_not_what_compile_read_before_it() {
    let (mut ledger, published) = (Ledger::default(), published(vec![model("a")]));
    let yes = |since| (ConditionStatus::True, "Programmed".to_owned(), at(since));
    assert_eq!(only(pass(&mut ledger, &published, &HERE, 1)), yes(1));
    for later in 2..5 {
        assert_eq!(pass(&mut ledger, &published, &HERE, later), BTreeMap::new(), "nothing changed");
    }
    // The gateway restarts, and comes back with the very status that compile once read.
    let (status, reason, since) = only(pass(&mut ledger, &published, &AWAY, 5));
    assert_eq!((status, reason.as_str(), since), (ConditionStatus::False, "NoNodes", at(5)));
    assert_eq!(only(pass(&mut ledger, &published, &HERE, 6)), yes(6));
    assert_eq!(pass(&mut ledger, &published, &HERE, 7), BTreeMap::new());
}

#[test]
fn a_status_that_may_not_be_the_stored_one_is_written_again() {
    let (mut ledger, first) = (Ledger::default(), published(vec![model("a")]));
    let begun = ledger.due(&first, &HERE, at(1));
    ledger.begun(&begun[0].object.key);
    // Not answered: it may be stored or not. What it was before may be it, too.
    assert_eq!(ledger.due(&first, &AWAY, at(2)).len(), 1);
    assert_eq!(pass(&mut ledger, &first, &AWAY, 3).len(), 1);
    assert_eq!(pass(&mut ledger, &first, &AWAY, 4).len(), 0);

    // Somebody else wrote: what compile reads is neither what it read before nor what was written.
    let mut other = model("a");
    other.status = json!({"observedGeneration": 7});
    let read = published(vec![other.clone()]);
    assert_eq!(pass(&mut ledger, &read, &AWAY, 5).len(), 1);
    assert_eq!(pass(&mut ledger, &read, &AWAY, 6).len(), 0);

    // Deleted and made anew with the same name.
    other.uid = serde_json::from_value(json!("00000000-0000-0000-0000-000000000009")).unwrap();
    other.status = Value::Null;
    assert_eq!(pass(&mut ledger, &published(vec![other]), &AWAY, 7).len(), 1);
}

#[test]
fn a_refused_resource_is_told_of_its_own_objects_only() {
    let objects = || vec![model("a"), pool("a"), limit("a"), model("b"), pool("b"), limit("b"), release("b")];
    let published = published(objects());
    let of = |type_url: &str, name: &str| {
        let row = RefusedResource {
            type_url: type_url.to_owned(),
            name: name.to_owned(),
            version: String::new(),
            error: "no".to_owned(),
        };
        let written = pass(&mut Ledger::default(), &published, &Told { here: true, refused: vec![row] }, 1);
        assert_eq!(written.len(), 7);
        let refused = written.into_iter().filter(|(_, condition)| condition.reason == "Refused");
        refused.map(|(key, _)| key).collect::<Vec<_>>()
    };
    let models = ["Model default/a", "Model default/b"];
    let limits = ["RateLimitPolicy default/a", "RateLimitPolicy default/b"];
    assert_eq!(of(CLUSTER, "model.default.a.v1"), [models[0], limits[0]]);
    assert_eq!(of(ENDPOINT, "model.default.b.v1"), [models[1], limits[1], "ReleasePolicy default/b"]);
    assert_eq!(of(CLUSTER, "tidegate.otlp"), [""; 0]);
    assert_eq!(of(ROUTE, "tidegate.routes"), [models[0], models[1], "ReleasePolicy default/b"]);
    assert_eq!(of(EXTENSION, LIMITS), limits);
    assert_eq!(of(EXTENSION, API_KEYS), [""; 0]);
    assert_eq!(of(LISTENER, "tidegate.gateway").len(), 5, "all that a gateway serves");
}

fn release(model: &str) -> StoredObject {
    let spec = json!({
        "targetRef": {"kind": "Model", "name": model}, "stable": "v1", "candidate": "v2", "steps": [{"weight": 10}],
    });
    object(Kind::ReleasePolicy, model, spec)
}

/// A store that can be away, or say nothing at all.
#[derive(Clone, Default)]
struct Store {
    asked: Arc<AtomicUsize>,
    mood: Arc<AtomicUsize>,
    begun: Arc<Notify>,
}

const WELL: usize = 0;
const AWAY_NOW: usize = 1;
const SILENT: usize = 2;

impl Statuses for Store {
    async fn put(&self, _: &StoredObject, _: Value) -> Result<(), StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.begun.notify_one();
        match self.mood.load(Ordering::SeqCst) {
            WELL => Ok(()),
            SILENT => std::future::pending().await,
            _ => Err(StoreError::Unavailable("away".into())),
        }
    }
}

fn writer(mood: usize) -> (Store, StatusWriter<Store>) {
    let store = Store { mood: Arc::new(mood.into()), ..Store::default() };
    let (_, hub) = watch::channel(Arc::new(Hub::default()));
    let writer = StatusWriter::new(store.clone(), NodeRegistry::new(), hub);
    (store, writer)
}

#[tokio::test]
async fn a_store_that_is_away_is_asked_once_and_gets_everything_later() {
    let (store, mut writer) = writer(AWAY_NOW);
    let (asked, published) = (|| store.asked.load(Ordering::SeqCst), three());
    assert!(!writer.write(&published).await);
    assert_eq!(asked(), 1, "the others were tried although the store is away");
    store.mood.store(WELL, Ordering::SeqCst);
    assert!(writer.write(&published).await);
    assert_eq!(asked(), 1 + 3);
    assert!(writer.write(&published).await);
    assert_eq!(asked(), 1 + 3, "written again although nothing changed");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_store_that_says_nothing() {
    let (store, writer) = writer(SILENT);
    let (publish, published) = watch::channel(None);
    let stop = CancellationToken::new();
    let running = tokio::spawn(writer.run(published, stop.clone()));
    publish.send_replace(Some(three()));
    store.begun.notified().await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running).await.expect("it stops").unwrap();
}
