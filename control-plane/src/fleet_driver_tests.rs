//! Tokens of workers that go end whatever fails on the way, and the operator is told once.
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde_json::{Value, json};
use tidegate_policy::{
    ports::{AdminToken, AdminTokenAdded, AdminTokenRevoked, ApiKey, NodeToken, Page},
    snapshot::{ObjectRef, PlannedVersion, PoolPlan},
};

use super::*;

/// A store of node tokens, by node id.
#[derive(Clone, Default)]
struct Tokens {
    held: Arc<Mutex<BTreeSet<String>>>,
    /// Revoking these fails.
    stuck: Arc<Mutex<BTreeSet<String>>>,
}

fn unavailable<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("away".into()))
}

#[async_trait]
impl CredentialStore for Tokens {
    async fn add_admin_token(&self, _: &AdminToken) -> Result<AdminTokenAdded, StoreError> {
        unavailable()
    }

    async fn list_admin_tokens(&self, _: u32, _: Option<&str>) -> Result<Page<AdminToken>, StoreError> {
        unavailable()
    }

    async fn revoke_admin_token(&self, _: &str, _: bool) -> Result<AdminTokenRevoked, StoreError> {
        unavailable()
    }

    async fn add_node_token(&self, _: &NodeToken) -> Result<Option<NodeToken>, StoreError> {
        unavailable()
    }

    async fn list_node_tokens(&self, _: u32, _: Option<&str>) -> Result<Page<NodeToken>, StoreError> {
        unavailable()
    }

    async fn tokens_used(&self, _: &[(Vec<u8>, chrono::DateTime<Utc>)]) -> Result<(), StoreError> {
        unavailable()
    }

    async fn rotate_node_token(&self, token: &NodeToken, _: u64) -> Result<(), StoreError> {
        self.held.lock().unwrap().insert(token.identity.node_id.clone());
        Ok(())
    }

    async fn revoke_node_token(&self, node_id: &str) -> Result<(), StoreError> {
        if self.stuck.lock().unwrap().contains(node_id) {
            return unavailable();
        }
        let held = self.held.lock().unwrap().remove(node_id);
        if held { Ok(()) } else { Err(StoreError::NotFound { key: node_id.to_owned() }) }
    }

    async fn add_api_key(&self, _: &ApiKey) -> Result<(), StoreError> {
        unavailable()
    }

    async fn list_api_keys(&self, _: u32, _: Option<&str>) -> Result<Page<ApiKey>, StoreError> {
        unavailable()
    }

    async fn revoke_api_key(&self, _: &str) -> Result<ApiKey, StoreError> {
        unavailable()
    }
}

/// A supervisor that refuses sets while it is told to, and keeps the names of the last one that it took.
#[derive(Clone)]
struct Supervisor {
    names: Arc<Mutex<Vec<String>>>,
    refuses: Arc<Mutex<bool>>,
    store: Tokens,
    /// What the store held when a set came.
    held_at_put: Arc<Mutex<Vec<BTreeSet<String>>>>,
}

async fn list(State(it): State<Supervisor>) -> Json<Value> {
    let names = it.names.lock().unwrap();
    Json(names.iter().map(|n| json!({"name": n, "nodeId": n, "pool": "a/b", "state": "Running"})).collect())
}

async fn put(State(it): State<Supervisor>, Json(set): Json<Value>) -> StatusCode {
    let held = it.store.held.lock().unwrap().clone();
    it.held_at_put.lock().unwrap().push(held);
    if *it.refuses.lock().unwrap() {
        return StatusCode::BAD_REQUEST;
    }
    let workers = set["workers"].as_array().unwrap();
    *it.names.lock().unwrap() = workers.iter().map(|w| w["name"].as_str().unwrap().to_owned()).collect();
    StatusCode::OK
}

struct Bench {
    driver: FleetDriver<Tokens>,
    supervisor: Supervisor,
    _dir: tempfile::TempDir,
}

fn bench(running: &[&str]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let store = Tokens::default();
    let supervisor = Supervisor {
        names: Arc::new(Mutex::new(running.iter().map(|n| (*n).to_owned()).collect())),
        refuses: Arc::default(),
        store: store.clone(),
        held_at_put: Arc::default(),
    };
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let router = Router::new().route("/v1/workers", get(list).put(put)).with_state(supervisor.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    *store.held.lock().unwrap() = running.iter().map(|n| (*n).to_owned()).collect();
    Bench { driver: FleetDriver::new(store, socket, 16), supervisor, _dir: dir }
}

fn worker(name: &str) -> Wanted {
    Wanted { name: name.to_owned(), node_id: name.to_owned(), pool: "a/b".to_owned(), token: None }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

#[tokio::test]
async fn the_token_of_a_worker_that_goes_ends_before_the_supervisor_forgets_it() {
    let mut bench = bench(&["a", "b", "c"]);
    let (driver, supervisor) = (&mut bench.driver, &bench.supervisor);
    supervisor.store.held.lock().unwrap().remove("b");
    *supervisor.refuses.lock().unwrap() = true;
    assert!(driver.converge(vec![worker("a")]).await.is_err(), "the supervisor refuses");
    assert_eq!(*supervisor.held_at_put.lock().unwrap(), [names(&["a"])], "b had none any more, which hinders nothing");
    *supervisor.refuses.lock().unwrap() = false;
    driver.converge(vec![worker("a")]).await.unwrap();
    assert_eq!(*supervisor.names.lock().unwrap(), ["a"]);
    driver.converge(vec![worker("a")]).await.unwrap();
    assert_eq!(supervisor.held_at_put.lock().unwrap().len(), 2, "nothing differs: nothing is put");
}

#[tokio::test]
async fn a_worker_that_is_wanted_again_after_its_token_ended_starts_anew() {
    let mut bench = bench(&["a", "b"]);
    let (driver, supervisor) = (&mut bench.driver, &bench.supervisor);
    *supervisor.refuses.lock().unwrap() = true;
    assert!(driver.converge(vec![worker("a")]).await.is_err(), "b's token has ended, its process has not");
    *supervisor.refuses.lock().unwrap() = false;
    driver.converge(vec![worker("a"), worker("b")]).await.unwrap();
    assert_eq!(*supervisor.names.lock().unwrap(), ["a"]);
    driver.converge(vec![worker("a"), worker("b")]).await.unwrap();
    assert_eq!(*supervisor.names.lock().unwrap(), ["a", "b"]);
    assert_eq!(*supervisor.store.held.lock().unwrap(), names(&["a", "b"]), "with a token of its own");
}

#[tokio::test]
async fn a_token_that_cannot_be_revoked_keeps_its_worker_known_and_spares_no_other() {
    let mut bench = bench(&["a", "b", "c"]);
    let (driver, supervisor) = (&mut bench.driver, &bench.supervisor);
    supervisor.store.stuck.lock().unwrap().insert("a".to_owned());
    assert!(driver.converge(Vec::new()).await.is_err());
    assert_eq!(*supervisor.store.held.lock().unwrap(), names(&["a"]));
    assert_eq!(supervisor.names.lock().unwrap().len(), 3, "the next round still knows whose token is left");
    supervisor.store.stuck.lock().unwrap().clear();
    driver.converge(Vec::new()).await.unwrap();
    assert!(supervisor.store.held.lock().unwrap().is_empty() && supervisor.names.lock().unwrap().is_empty());
}

/// Counts warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() == tracing::Level::WARN {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn too_many_wanted_workers_are_told_when_their_number_changes() {
    use tracing_subscriber::layer::SubscriberExt as _;
    let warnings = Warnings::default();
    let many = |n: usize| (0..n).map(|i| worker(&format!("w{i}"))).collect::<Vec<_>>();
    let mut driver = FleetDriver::new(Tokens::default(), PathBuf::new(), 2);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(warnings.clone()), || {
        for (wanted, told) in [(2, 0), (4, 1), (4, 1), (5, 2), (5, 2), (1, 2), (5, 3)] {
            assert_eq!(driver.bounded(many(wanted)).len(), wanted.min(2));
            assert_eq!(warnings.0.load(Ordering::SeqCst), told, "{wanted}");
        }
    });
}

/// A plan of one worker, with or without something to load.
fn plan(name: &str, versions: &[&str]) -> (ObjectRef, PoolPlan) {
    let pool = ObjectRef { namespace: "default".to_owned(), name: name.to_owned() };
    let spec = json!({"modelRef": {"name": "m"}, "versions": ["v1"], "replicas": 1});
    let version = |name: &&str| {
        let version = json!({"name": name, "uri": "file:m", "task": "Embedding", "files": []});
        PlannedVersion { version: serde_json::from_value(version).unwrap(), retained: false }
    };
    let plan = PoolPlan {
        pool: pool.clone(),
        generation: 1,
        model: ObjectRef { namespace: "default".to_owned(), name: "m".to_owned() },
        model_id: "m".to_owned(),
        spec: serde_json::from_value(spec).unwrap(),
        versions: versions.iter().map(version).collect(),
        limits: Vec::new(),
    };
    (pool, plan)
}

#[test]
fn a_pool_with_nothing_to_load_takes_no_place_from_others() {
    let pools = [plan("a-typo", &[]), plan("b-good", &["v1"]), plan("c-good", &["v1"])].into_iter().collect();
    let (targets, arms, limits, api_keys) = Default::default();
    let snapshot = Snapshot { revision: 1, targets, arms, pools, limits, api_keys };
    let names: Vec<_> = wanted(&snapshot).into_iter().map(|w| w.pool).collect();
    assert_eq!(names, ["default/b-good", "default/c-good", "default/a-typo"]);
}
