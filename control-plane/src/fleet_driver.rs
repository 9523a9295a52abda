//! Pools say how many workers they want; the supervisor runs them. Level-triggered: the wanted set is put again whenever it
//! or what the supervisor has differs. It starts no process itself and never stops one because the store is away.
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    name: String,
    node_id: String,
}

impl<S: CredentialStore> FleetDriver<S> {
    /// `socket` is the supervisor's; tokens of the workers are kept in `store`.
    pub fn new(store: S, socket: PathBuf, max_workers: u32) -> Self {
        Self { store, socket, max_workers, complained: false, beyond: 0, revoked: BTreeSet::new() }
    }

    /// Runs until cancelled; the workers go on.
    pub async fn run(
        mut self,
        mut snapshot: watch::Receiver<Option<std::sync::Arc<Snapshot>>>,
        stop: CancellationToken,
    ) {
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
            let wanted = self.bounded(wanted);
            match self.converge(wanted).await {
                Ok(()) => self.complained = false,
                Err(error) if !self.complained => {
                    self.complained = true;
                    tracing::warn!("the supervisor could not be told which workers to run: {error:#}");
                }
                Err(_) => {}
            }
        }
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

    async fn converge(&mut self, mut wanted: Vec<Wanted>) -> Result<()> {
        let running: Vec<Running> =
            serde_json::from_slice(&self.call("GET", None).await?).context("read the supervisor's workers")?;
        let known: BTreeSet<&str> = running.iter().map(|w| w.name.as_str()).collect();
        self.revoked.retain(|name| known.contains(name.as_str()));
        // Wanted again, but its process knows only the old token: it goes now, and the next round starts it anew.
        wanted.retain(|w| !self.revoked.contains(&w.name));
        let gone: Vec<&Running> = running.iter().filter(|r| wanted.iter().all(|w| w.name != r.name)).collect();
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
            return Ok(());
        }
        self.call("PUT", Some(serde_json::to_vec(&WantedSet { workers: wanted })?)).await?;
        tracing::info!(started = new, stopped = gone.len(), "the set of workers changed");
        Ok(())
    }

    /// Before the supervisor forgets these workers: afterwards nobody would know whose tokens are left. All are tried.
    async fn revoke(&self, gone: &[&Running]) -> Result<(), StoreError> {
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
