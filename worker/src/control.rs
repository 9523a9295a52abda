//! What the control plane pushes: `ModelSet` and `LimitSet`. Each resource is checked whole and taken (ACK) or refused (NACK, with
//! its reason); what was in force before stays then, and also when the control plane goes away.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prost::Message as _;
use tidegate_engine::ModelRoots;
use tidegate_proto::{
    contract::{TYPE_LIMIT_SET, TYPE_MODEL_SET},
    worker::{LimitSet, ModelSet},
};
use tidegate_xds_client::{AdsClient, Config, ConnectionState, Handler, NodeToken, Received, Rejection, Update};
use tokio::sync::watch;

use crate::{
    error::WorkerError,
    hotswap::{
        loader::Loader,
        push::{self, ValidModelSet},
    },
    limits::{self, Limits},
    telemetry::Metrics,
};

/// Where accepted configuration goes.
#[derive(Clone)]
pub struct Inlets {
    /// Name of the resources: "<namespace>/<pool>".
    pub pool: String,
    pub loader: Arc<dyn Loader>,
    pub wishes: watch::Sender<Option<Arc<ValidModelSet>>>,
    pub limits: Arc<Limits>,
    pub metrics: Arc<Metrics>,
}

impl Inlets {
    fn roots(&self) -> Option<&ModelRoots> {
        self.loader.roots()
    }

    /// Takes a set of models, or refuses it and changes nothing. Loading comes later and is reported by version.
    pub fn push_models(&self, set: &ModelSet) -> Result<(), WorkerError> {
        let valid = push::check(set, self.roots())?;
        self.wishes.send_replace(Some(Arc::new(valid)));
        Ok(())
    }

    /// Takes a set of limits, or refuses it and changes nothing.
    pub fn push_limits(&self, set: &LimitSet) -> Result<(), WorkerError> {
        self.limits.apply(limits::compile(set)?);
        Ok(())
    }

    fn take(&self, type_url: &str, resource: &Received) -> Result<(), WorkerError> {
        let undecodable = |_| WorkerError::NotDecodable { type_url: type_url.to_owned() };
        match type_url {
            TYPE_MODEL_SET => self.push_models(&ModelSet::decode(resource.body.clone()).map_err(undecodable)?),
            TYPE_LIMIT_SET => self.push_limits(&LimitSet::decode(resource.body.clone()).map_err(undecodable)?),
            _ => Err(WorkerError::NotDecodable { type_url: type_url.to_owned() }),
        }
    }
}

impl Handler for Inlets {
    async fn apply(&mut self, update: Update) -> Result<(), Vec<Rejection>> {
        let kind = if update.type_url == TYPE_MODEL_SET { "ModelSet" } else { "LimitSet" };
        let mut rejections = Vec::new();
        for resource in &update.changed {
            match self.take(&update.type_url, resource) {
                Ok(()) => self.metrics.pushed(kind, "ack"),
                Err(error) => {
                    self.metrics.pushed(kind, "nack");
                    tracing::warn!(kind, error = error.report(), "a push was refused; what was in force stays");
                    rejections.push(Rejection { name: resource.name.clone(), error: error.report() });
                }
            }
        }
        if update.removed.contains(&self.pool) {
            // A pool that is gone takes its workers down by other means; until then they go on serving, under the same limits.
            // Limits are lifted by a set that has none.
            tracing::warn!(kind, "the pool has no such resource at the control plane; what was in force stays");
        }
        if rejections.is_empty() { Ok(()) } else { Err(rejections) }
    }
}

/// How to reach the control plane.
pub struct Reach<'a> {
    pub url: &'a str,
    pub node_id: &'a str,
    pub token: NodeToken,
    /// "ip:port" of this worker's API.
    pub address: String,
}

/// Starts the ADS client; it comes back by itself for as long as it lives.
pub fn start(reach: &Reach<'_>, inlets: Inlets) -> Result<AdsClient, WorkerError> {
    use tidegate_proto::contract::{NODE_ADDRESS, NODE_POOL};
    let (pool, metrics) = (inlets.pool.clone(), inlets.metrics.clone());
    let config = Config::new(reach.url, reach.node_id, reach.token.clone())
        .metadata(NODE_POOL, pool.clone())
        .metadata(NODE_ADDRESS, reach.address.clone())
        .build(concat!("tidegate-worker/", env!("CARGO_PKG_VERSION")))
        .subscribe(TYPE_MODEL_SET, [pool.clone()])
        .subscribe(TYPE_LIMIT_SET, [pool]);
    let client = AdsClient::spawn(config, inlets).map_err(|e| WorkerError::ControlPlane { reason: e.to_string() })?;
    tokio::spawn(watch_connection(client.connection(), metrics));
    Ok(client)
}

/// A connection that stood this long was not refused: its end is told, whatever was told before.
const STANDS: Duration = Duration::from_secs(5);

/// Says when the control plane goes and comes; one line per change, not per attempt, nor per refusal of the same kind.
async fn watch_connection(mut state: watch::Receiver<ConnectionState>, metrics: Arc<Metrics>) {
    let (mut since, mut told) = (None::<Instant>, None::<String>);
    loop {
        let now = state.borrow_and_update().clone();
        match now {
            ConnectionState::Connected => {
                metrics.connected("ads", true);
                tracing::debug!("the control plane is connected");
                since = Some(Instant::now());
            }
            ConnectionState::Disconnected { reason, .. } => {
                metrics.connected("ads", false);
                if since.take().is_some_and(|since| since.elapsed() >= STANDS) {
                    told = None;
                }
                if told.as_ref() != Some(&reason) {
                    tracing::warn!(reason, "no configuration from the control plane; the last good one goes on");
                    told = Some(reason);
                }
            }
            ConnectionState::Connecting => {}
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use tidegate_proto::worker::{Limit, LimitSet};

    use super::*;
    use crate::{hotswap::loader::FakeLoader, telemetry::Telemetry};

    fn update(set: Option<&LimitSet>) -> Update {
        let name = "default/chat".to_owned();
        let received =
            |set: &LimitSet| Received { name: name.clone(), version: "1".to_owned(), body: set.encode_to_vec().into() };
        Update {
            type_url: TYPE_LIMIT_SET.to_owned(),
            nonce: String::new(),
            changed: set.into_iter().map(received).collect(),
            removed: if set.is_none() { vec![name.clone()] } else { Vec::new() },
        }
    }

    #[tokio::test]
    async fn limits_stay_when_their_set_is_gone_and_are_lifted_by_an_empty_one() {
        let mut inlets = Inlets {
            pool: "default/chat".to_owned(),
            loader: Arc::new(FakeLoader),
            wishes: watch::Sender::new(None),
            limits: Arc::default(),
            metrics: Arc::new(Telemetry::meters_only().unwrap().metrics()),
        };
        let limits = inlets.limits.clone();
        let limit = Limit { id: "default/p/l".to_owned(), concurrency: Some(1), ..Limit::default() };
        let set = LimitSet { name: "default/chat".to_owned(), limits: vec![limit] };
        inlets.apply(update(Some(&set))).await.unwrap();
        let held = limits.admit(&HeaderMap::new()).unwrap();
        inlets.apply(update(None)).await.unwrap();
        assert!(limits.admit(&HeaderMap::new()).is_err(), "a set that is gone lifts nothing");
        inlets.apply(update(Some(&LimitSet { limits: Vec::new(), ..set }))).await.unwrap();
        assert!(limits.admit(&HeaderMap::new()).is_ok());
        drop(held);
    }
}
