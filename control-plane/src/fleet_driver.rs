//! Pools say how many workers they want; the supervisor runs them. Level-triggered: the wanted set is put again whenever it
//! or what the supervisor has differs. It starts no process itself and never stops one because the store is away.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tidegate_api::credentials::make_node_token;
use tidegate_policy::{
    ports::{CredentialStore, NodeIdentity, NodeRole, StoreError},
    snapshot::Snapshot,
};
use tokio::{net::UnixStream, sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

const EVERY: Duration = Duration::from_secs(1);
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Largest answer of the supervisor that is read, bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Keeps the supervisor's workers what the pools want.
pub struct FleetDriver<S> {
    store: S,
    socket: PathBuf,
    max_workers: u32,
    complained: bool,
    /// Workers that the pools want beyond `max_workers`; told when it changes.
    beyond: usize,
    /// Workers whose token ended while the supervisor still had them.
    revoked: BTreeSet<String>,
    told: watch::Sender<Arc<Processes>>,
}

/// What is known of the processes of workers: the other half of a pool's status.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Processes {
    pub workers: Vec<Process>,
    /// Workers that are not started for want of room, by pool.
    pub beyond: BTreeMap<String, usize>,
    pub max_workers: u32,
    /// Why the supervisor does not run what it should.
    pub error: Option<String>,
}

/// A worker of the supervisor's.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    pub name: String,
    pub node_id: String,
    pub pool: String,
    /// As docs/reference/cli.md lists them: `Running`, `BackingOff`, `NoProgram` and others.
    pub state: String,
    /// Times in a row that it ended soon after its start.
    #[serde(default)]
    pub failures: u32,
    #[serde(default)]
    pub last_exit: Option<i32>,
}

/// A worker that should run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    name: String,
    node_id: String,
    pool: String,
    /// Only for a worker that the supervisor does not know yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

#[derive(Serialize)]
struct WantedSet {
    workers: Vec<Wanted>,
}

impl<S: CredentialStore> FleetDriver<S> {
    /// `socket` is the supervisor's; tokens of the workers are kept in `store`.
    pub fn new(store: S, socket: PathBuf, max_workers: u32) -> Self {
        let told = watch::Sender::new(Arc::default());
        Self { store, socket, max_workers, complained: false, beyond: 0, revoked: BTreeSet::new(), told }
    }

    /// Says what is known of the processes there.
    #[must_use]
    pub fn telling(self, told: watch::Sender<Arc<Processes>>) -> Self {
        Self { told, ..self }
    }

    /// Runs until cancelled; the workers go on.
    pub async fn run(mut self, mut snapshot: watch::Receiver<Option<Arc<Snapshot>>>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = snapshot.changed() => if changed.is_err() { return },
                _ = tick.tick() => {}
            }
            let wanted = snapshot.borrow_and_update().as_ref().map(|s| wanted(s));
            let Some(wanted) = wanted else { continue };
            let beyond = beyond(&wanted, self.max_workers as usize);
            let wanted = self.bounded(wanted);
            let converged = self.converge(wanted).await;
            let error = converged.as_ref().err().map(|error| format!("{error:#}"));
            match &error {
                Some(error) if !std::mem::replace(&mut self.complained, true) => {
                    tracing::warn!("the supervisor could not be told which workers to run: {error}");
                }
                Some(_) => {}
                None => self.complained = false,
            }
            self.tell(converged.unwrap_or_default(), (beyond, error));
        }
    }

    fn tell(&self, workers: Vec<Process>, (beyond, error): (BTreeMap<String, usize>, Option<String>)) {
        let now = Processes { workers, beyond, max_workers: self.max_workers, error };
        self.told.send_if_modified(|old| {
            let changed = **old != now;
            *old = Arc::new(now);
            changed
        });
    }

    /// The first `max_workers`. Whoever wants more is told once, not every second.
    fn bounded(&mut self, mut wanted: Vec<Wanted>) -> Vec<Wanted> {
        let beyond = wanted.len().saturating_sub(self.max_workers as usize);
        if beyond != self.beyond && beyond > 0 {
            tracing::warn!(
                wanted = wanted.len(),
                max = self.max_workers,
                "pools want more workers than --max-workers allows; the rest is not started"
            );
        }
        self.beyond = beyond;
        wanted.truncate(self.max_workers as usize);
        wanted
    }

    /// Makes the supervisor's workers those that are wanted; answers what it had before.
    async fn converge(&mut self, mut wanted: Vec<Wanted>) -> Result<Vec<Process>> {
        let running: Vec<Process> =
            serde_json::from_slice(&self.call("GET", None).await?).context("read the supervisor's workers")?;
        let known: BTreeSet<&str> = running.iter().map(|w| w.name.as_str()).collect();
        self.revoked.retain(|name| known.contains(name.as_str()));
        // Wanted again, but its process knows only the old token: it goes now, and the next round starts it anew.
        wanted.retain(|w| !self.revoked.contains(&w.name));
        let gone: Vec<&Process> = running.iter().filter(|r| wanted.iter().all(|w| w.name != r.name)).collect();
        self.revoke(&gone).await?;
        self.revoked.extend(gone.iter().map(|worker| worker.name.clone()));
        let mut new = 0;
        for worker in wanted.iter_mut().filter(|w| !known.contains(w.name.as_str())) {
            let role = NodeRole::Worker { pool: worker.pool.clone() };
            let identity = NodeIdentity { node_id: worker.node_id.clone(), role };
            let (secret, stored) = make_node_token(identity, Utc::now())?;
            self.store.put_node_token(&stored).await?;
            worker.token = Some(secret.expose().to_owned());
            new += 1;
        }
        if new == 0 && gone.is_empty() {
            return Ok(running);
        }
        self.call("PUT", Some(serde_json::to_vec(&WantedSet { workers: wanted })?)).await?;
        tracing::info!(started = new, stopped = gone.len(), "the set of workers changed");
        Ok(running)
    }

    /// Before the supervisor forgets these workers: afterwards nobody would know whose tokens are left. All are tried.
    async fn revoke(&self, gone: &[&Process]) -> Result<(), StoreError> {
        let mut failed = Ok(());
        for worker in gone {
            match self.store.revoke_node_token(&worker.node_id).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => failed = Err(error),
            }
        }
        failed
    }

    async fn call(&self, method: &str, body: Option<Vec<u8>>) -> Result<Bytes> {
        timeout(CALL_LIMIT, self.request(method, body)).await.context("the supervisor did not answer in time")?
    }

    async fn request(&self, method: &str, body: Option<Vec<u8>>) -> Result<Bytes> {
        let stream =
            UnixStream::connect(&self.socket).await.with_context(|| format!("connect to {}", self.socket.display()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with this call, also when the call is given up.
        let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = hyper::Request::builder()
            .method(method)
            .uri("/v1/workers")
            .header("host", "supervisor")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
        let body = body.collect().await.map_err(|e| anyhow::anyhow!("{e}"))?.to_bytes();
        ensure!(status.is_success(), "the supervisor answered {status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

/// How many of the workers beyond the first `most` each pool wants.
fn beyond(wanted: &[Wanted], most: usize) -> BTreeMap<String, usize> {
    let mut beyond = BTreeMap::new();
    for worker in wanted.iter().skip(most) {
        *beyond.entry(worker.pool.clone()).or_default() += 1;
    }
    beyond
}

/// The workers that all pools want, pools in order of their names; those of a pool that has nothing to load come last, so that they
/// take no place from others.
fn wanted(snapshot: &Snapshot) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut pools: Vec<_> = snapshot.pools.iter().collect();
    pools.sort_by_key(|(_, plan)| plan.versions.is_empty());
    for (pool, plan) in pools {
        for replica in 0..plan.spec.replicas {
            let name = format!("{}.{}.{replica}", pool.namespace, pool.name);
            let pool = format!("{}/{}", pool.namespace, pool.name);
            wanted.push(Wanted { node_id: name.clone(), name, pool, token: None });
        }
    }
    wanted
}

#[cfg(test)]
#[path = "fleet_driver_tests.rs"]
mod tests;
