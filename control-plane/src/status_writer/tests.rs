//! What is written, when, and what a store that fails or a stop does to it.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
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
    ports::{
        Everything, LeasedVersion, ObjectKey, Source, StatusWrite, StoreError, StoredObject, Uuid, VersionState,
        WorkerLease,
    },
    snapshot::ObjectRef,
    status::{Condition, ConditionStatus, PROGRAMMED, READY},
};
use tidegate_translate::types::{API_KEYS, CLUSTER, ENDPOINT, EXTENSION, LIMITS, LISTENER, ROUTE};
use tidegate_xds::Hub;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    BATCH_OBJECTS, Ended, Heard, StatusWriter, Statuses,
    ledger::{self, Ledger},
    programmed::Nodes,
    troubles::Troubles,
};
use crate::{
    compile_loop::Published,
    fleet_driver::{Process, Processes},
};

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
    with_fleet(objects, Vec::new())
}

fn with_fleet(objects: Vec<StoredObject>, fleet: Vec<WorkerLease>) -> Published {
    let everything = Everything { objects, fleet, ..Everything::default() };
    let compiled = compile(&CompileInput { everything: &everything, now: at(0) });
    Published {
        snapshot: Arc::new(compiled.snapshot),
        statuses: Arc::new(compiled.statuses),
        objects: Arc::new(everything.objects),
        nodes: Arc::default(),
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
        Progress { acked, refused, ..Progress::default() }
    }
}

const HERE: Told = Told { here: true, refused: Vec::new() };
const AWAY: Told = Told { here: false, refused: Vec::new() };

/// What one pass writes, by object: the condition `Programmed`. The store takes all of it.
fn pass(ledger: &mut Ledger, published: &Published, nodes: &Told, now: i64) -> BTreeMap<String, Condition> {
    let due = ledger.due((published, &Troubles::default()), nodes, at(now));
    let mut written = BTreeMap::new();
    for change in due.changes {
        written.insert(change.object.key.to_string(), change.status.condition(PROGRAMMED).unwrap().clone());
        ledger.begun(&change.object.key);
        ledger.stored(change);
    }
    written
}

fn refused(type_url: &str, name: &str) -> RefusedResource {
    RefusedResource {
        type_url: type_url.to_owned(),
        name: name.to_owned(),
        version: String::new(),
        error: "no".to_owned(),
    }
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
    // The gateway goes, for longer than the grace, and comes back with the very status that compile once read.
    assert_eq!(pass(&mut ledger, &published, &AWAY, 5), BTreeMap::new());
    let (status, reason, since) = only(pass(&mut ledger, &published, &AWAY, 7));
    assert_eq!((status, reason.as_str(), since), (ConditionStatus::False, "NoGateway", at(7)));
    assert_eq!(only(pass(&mut ledger, &published, &HERE, 8)), yes(8));
    assert_eq!(pass(&mut ledger, &published, &HERE, 9), BTreeMap::new());
}

#[test]
fn a_gateway_that_is_back_within_the_grace_costs_no_write_and_its_end_is_looked_for() {
    let (mut ledger, published) = (Ledger::default(), published(vec![model("a")]));
    let mut stored = model("a");
    let first = ledger.due((&published, &Troubles::default()), &HERE, at(1)).changes.remove(0);
    stored.status = serde_json::to_value(&first.status).unwrap();
    ledger.stored(first);
    let due = ledger.due((&published, &Troubles::default()), &AWAY, at(5));
    assert_eq!((due.changes.len(), due.again), (0, Some(at(5) + ledger::GRACE)));
    assert_eq!(pass(&mut ledger, &published, &HERE, 6), BTreeMap::new());
    assert_eq!(ledger.due((&published, &Troubles::default()), &HERE, at(6)).again, None);
    assert_eq!(pass(&mut ledger, &published, &AWAY, 9), BTreeMap::new(), "each time anew");
    // So it is after a restart of this program: what is stored counts.
    let (mut anew, read) = (Ledger::default(), self::published(vec![stored]));
    assert_eq!(pass(&mut anew, &read, &AWAY, 10), BTreeMap::new());
    assert_eq!(only(pass(&mut anew, &read, &AWAY, 12)).1, "NoGateway");
    // A refusal is no doubt: it is told at once.
    let row = refused(LISTENER, "tidegate.gateway");
    let refuses = Told { here: true, refused: vec![row] };
    assert_eq!(only(pass(&mut ledger, &published, &refuses, 10)).1, "Refused");
}

#[test]
fn a_status_that_may_not_be_the_stored_one_is_written_again() {
    let (mut ledger, first) = (Ledger::default(), published(vec![model("a")]));
    let begun = ledger.due((&first, &Troubles::default()), &HERE, at(1));
    let key = begun.changes[0].object.key.clone();
    ledger.begun(&key);
    // Not answered: it may be stored or not. What it was before may be it, too.
    assert_eq!(ledger.due((&first, &Troubles::default()), &AWAY, at(2)).changes.len(), 1);
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
        let row = refused(type_url, name);
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
    /// The batches that it took.
    written: Arc<Mutex<Vec<Vec<Uuid>>>>,
}

const WELL: usize = 0;
const AWAY_NOW: usize = 1;
const SILENT: usize = 2;
/// Somebody else holds the first of each batch.
const BUSY: usize = 3;

impl Statuses for Store {
    async fn put(&self, batch: &[StatusWrite]) -> Result<Vec<Uuid>, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.begun.notify_one();
        let uids: Vec<Uuid> = batch.iter().map(|write| write.uid).collect();
        match self.mood.load(Ordering::SeqCst) {
            WELL => {
                self.written.lock().unwrap().push(uids.clone());
                Ok(uids)
            }
            SILENT => std::future::pending().await,
            BUSY => Ok(uids.into_iter().skip(1).collect()),
            _ => Err(StoreError::Unavailable("away".into())),
        }
    }
}

fn writer(mood: usize) -> (Store, StatusWriter<Store>) {
    let store = Store { mood: Arc::new(mood.into()), ..Store::default() };
    let (_, hub) = watch::channel(Arc::new(Hub::default()));
    let (_, processes) = watch::channel(Arc::default());
    let writer = StatusWriter::new(store.clone(), Heard { nodes: NodeRegistry::new(), hub, processes });
    (store, writer)
}

/// `n` objects that nobody uses, each with a uid of its own.
fn many(n: u128) -> Vec<StoredObject> {
    let model = |n| StoredObject { uid: Uuid::from_u128(n), ..model(&format!("m{n}")) };
    (1..=n).map(model).collect()
}

#[tokio::test]
async fn a_store_that_is_away_is_asked_once_and_gets_everything_later() {
    let (store, mut writer) = writer(AWAY_NOW);
    let (asked, published) = (|| store.asked.load(Ordering::SeqCst), published(many(600)));
    assert_eq!(writer.write(&published, &|| false).await, Ended::Incomplete);
    assert_eq!(asked(), 1, "the others were tried although the store is away");
    store.mood.store(WELL, Ordering::SeqCst);
    assert!(matches!(writer.write(&published, &|| false).await, Ended::Complete(_)));
    assert_eq!(asked(), 1 + 3);
    assert!(matches!(writer.write(&published, &|| false).await, Ended::Complete(_)));
    assert_eq!(asked(), 1 + 3, "written again although nothing changed");
}

#[tokio::test]
async fn what_somebody_else_holds_is_written_later() {
    let (store, mut writer) = writer(BUSY);
    let published = published(many(10));
    assert_eq!(writer.write(&published, &|| false).await, Ended::Incomplete);
    store.mood.store(WELL, Ordering::SeqCst);
    assert!(matches!(writer.write(&published, &|| false).await, Ended::Complete(_)));
    assert_eq!(*store.written.lock().unwrap(), [[Uuid::from_u128(1)]], "only what was left out");
}

#[tokio::test]
async fn ten_thousand_objects_are_a_few_writes_and_those_in_use_come_first() {
    let (store, mut writer) = writer(WELL);
    let in_use: Vec<_> = [model("zz"), pool("zz"), limit("zz"), release("zz")].into_iter().zip(20_000..).collect();
    let in_use = in_use.into_iter().map(|(object, n)| StoredObject { uid: Uuid::from_u128(n), ..object });
    // What was written before and only differs comes last: here the first ten.
    let mut objects = many(10_000);
    objects.iter_mut().take(10).for_each(|object| object.status = json!({"observedGeneration": 1}));
    objects.extend(in_use);
    let lease = WorkerLease {
        node_id: "zz".to_owned(),
        incarnation: String::new(),
        pool: pool("zz").key.object,
        address: ([127, 0, 0, 1], 9).into(),
        ready: true,
        versions: ["v1", "v2"].map(serving).into(),
        expires_at: at(100),
    };
    let published = with_fleet(objects, vec![lease]);
    assert!(matches!(writer.write(&published, &|| false).await, Ended::Complete(_)));
    let written = store.written.lock().unwrap().clone();
    assert!(written.len() <= 10_004 / BATCH_OBJECTS + 1, "{} writes", written.len());
    assert_eq!(written.iter().map(Vec::len).sum::<usize>(), 10_004);
    let first: Vec<u128> = written[0].iter().take(4).map(|uid| uid.as_u128()).collect();
    assert_eq!(BTreeSet::from_iter(first), (20_000..20_004).collect());
    let last: Vec<u128> = written.iter().flatten().rev().take(10).map(|uid| uid.as_u128()).collect();
    assert_eq!(BTreeSet::from_iter(last), (1..=10).collect());
    // Something newer ends the plan after the batch at hand.
    let (store, mut writer) = self::writer(WELL);
    assert_eq!(writer.write(&published, &|| true).await, Ended::Overtaken);
    assert_eq!(store.asked.load(Ordering::SeqCst), 1);
}

fn serving(name: &str) -> LeasedVersion {
    LeasedVersion { name: name.to_owned(), state: VersionState::Serving, error: String::new(), outdated: false }
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

#[test]
fn what_keeps_workers_away_reaches_the_pool_and_its_model() {
    let objects = published(vec![model("a"), pool("a"), model("b"), pool("b")]);
    let process = |state: &str, failures| Process {
        name: "default.a.0".to_owned(),
        node_id: "default.a.0".to_owned(),
        pool: "default/a".to_owned(),
        state: state.to_owned(),
        failures,
        last_exit: Some(3),
    };
    let ran = |workers: Vec<Process>| Processes { workers, ..Processes::default() };
    let beyond = Processes { beyond: [("default/a".to_owned(), 2)].into(), max_workers: 4, ..Processes::default() };
    let away = Processes { error: Some("no answer".to_owned()), ..Processes::default() };
    let cases = [
        (ran(vec![process("BackingOff", 1)]), "NotStarted", "default.a.0 ended with status 3 and is started again"),
        (ran(vec![process("Running", 4)]), "NotStarted", "4 times in a row"),
        (ran(vec![process("Running", 0)]), "WorkersMissing", "runs and reports nothing"),
        (ran(vec![process("NoProgram", 0)]), "NotStarted", "was not found"),
        (ran(vec![process("Starting", 0)]), "WorkersMissing", "report nothing"),
        (beyond, "MaxWorkers", "2 of its workers are not started"),
        (away, "NotStarted", "no answer"),
    ];
    for (processes, reason, says) in cases {
        let troubles = Troubles::new(Vec::new(), &[], &processes);
        let due = Ledger::default().due((&objects, &troubles), &HERE, at(1));
        let ready = |kind, name: &str| {
            let change = due.changes.iter().find(|c| c.object.key.kind == kind && c.object.key.object.name == name);
            change.unwrap().status.condition(READY).unwrap().clone()
        };
        let (pool, model) = (ready(Kind::WorkerPool, "a"), ready(Kind::Model, "a"));
        assert_eq!((pool.status, pool.reason.as_str()), (ConditionStatus::False, reason), "{pool:?}");
        assert!(pool.message.contains(says), "{pool:?}");
        assert_eq!(model.reason, "NotServed");
        assert!(says == "report nothing" || model.message.contains(says), "{model:?}");
        let other = ready(Kind::WorkerPool, "b");
        assert_eq!(other.message.contains(says), ["report nothing", "no answer"].contains(&says), "{other:?}");
    }
}

#[test]
fn ready_holds_only_while_what_is_there_has_been_told() {
    let lease = WorkerLease {
        node_id: "w".to_owned(),
        incarnation: String::new(),
        pool: pool("a").key.object,
        address: ([127, 0, 0, 1], 9).into(),
        ready: true,
        versions: ["v1", "v2"].map(serving).into(),
        expires_at: at(100),
    };
    let objects = with_fleet(vec![model("a"), pool("a"), limit("a"), release("a")], vec![lease]);
    let ready = |nodes: &Told| {
        let due = Ledger::default().due((&objects, &Troubles::default()), nodes, at(1));
        let of = |c: &ledger::Change<'_>| {
            let ready = c.status.condition(READY).unwrap();
            (c.object.key.kind, ready.holds(), ready.reason.clone())
        };
        due.changes.iter().map(of).collect::<BTreeSet<_>>()
    };
    let all = |holds: bool, reason: &str| Kind::ALL.map(|kind| (kind, holds, reason.to_owned()));
    assert_eq!(ready(&HERE), all(true, "Ready").into());
    let mut nobody: BTreeSet<_> = all(false, "NoGateway").into();
    nobody.remove(&(Kind::WorkerPool, false, "NoGateway".to_owned()));
    nobody.insert((Kind::WorkerPool, false, "NoNodes".to_owned()));
    assert_eq!(ready(&AWAY), nobody);
    let refuses = Told { here: true, refused: vec![refused(LISTENER, "tidegate.gateway")] };
    assert!(ready(&refuses).contains(&(Kind::Model, false, "Refused".to_owned())));
}

#[test]
fn an_object_that_is_told_to_nobody_is_not_programmed() {
    let mut lost = limit("a");
    lost.spec =
        json!({"targetRefs": [{"kind": "Model", "name": "nowhere"}], "limits": [{"name": "l", "concurrency": 1}]});
    let mut orphan = release("b");
    orphan.spec["targetRef"]["name"] = json!("nowhere");
    let written = pass(&mut Ledger::default(), &published(vec![lost, orphan, pool("c"), model("d")]), &HERE, 1);
    let reasons: Vec<_> = written.iter().map(|(key, c)| (key.as_str(), c.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            ("Model default/d", "Programmed"),
            ("RateLimitPolicy default/a", "NoTarget"),
            ("ReleasePolicy default/b", "NoTarget"),
            ("WorkerPool default/c", "NoTarget"),
        ]
    );
}
