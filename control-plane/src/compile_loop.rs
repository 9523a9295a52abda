//! Store and fleet in, one immutable [`Published`] out. Level-triggered: a wake-up carries nothing, everything is read again.
//! The only place that reads the clock for compile. It never serves anything itself.
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use tidegate_api::credentials::TokenTable;
use tidegate_policy::{
    compile::{CompileInput, Compiled, compile},
    ports::{FleetStore as _, ObjectStore as _},
    snapshot::Snapshot,
};
use tidegate_store::PgStore;
use tidegate_translate::GatewaySettings;
use tidegate_xds::{Hub, ResourceSet};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Leases and keys end by themselves: looked at this often.
const TICK: Duration = Duration::from_millis(500);
/// The group of every gateway.
pub const GATEWAY_GROUP: &str = "gateway";

/// What one read of the store means, with where each object was first served.
#[derive(Clone)]
pub struct Published {
    pub compiled: Arc<Compiled>,
    /// The stored objects that it was made from.
    pub objects: Arc<Vec<tidegate_policy::ports::StoredObject>>,
    /// Sequence number of the hub that serves it.
    pub hub_seq: u64,
}

/// Where the results go.
pub struct Outputs {
    pub published: watch::Sender<Option<Published>>,
    pub snapshot: watch::Sender<Option<Arc<Snapshot>>>,
    pub hub: watch::Sender<Arc<Hub>>,
    pub tokens: Arc<TokenTable>,
}

/// Reads, compiles and publishes.
pub struct CompileLoop {
    store: PgStore,
    settings: GatewaySettings,
    outputs: Outputs,
    took: Histogram<f64>,
    failures: Counter<u64>,
    unreachable: bool,
}

impl CompileLoop {
    pub fn new(store: PgStore, settings: GatewaySettings, outputs: Outputs) -> Self {
        let meter = opentelemetry::global::meter("tidegate");
        let took = meter.f64_histogram("tidegate_compile_duration").with_unit("s");
        let took = took.with_description("From reading the store to publishing").build();
        let failures =
            meter.u64_counter("tidegate_compile_failures").with_description("Reads of the store that failed").build();
        Self { store, settings, outputs, took, failures, unreachable: false }
    }

    /// The group of a pool's workers.
    pub fn worker_group(pool: &tidegate_policy::snapshot::ObjectRef) -> String {
        format!("worker/{}/{}", pool.namespace, pool.name)
    }

    /// Runs until cancelled. Nothing is published before the first read succeeded.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.store.changes();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stale = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => match changed {
                    Ok(()) => stale = true,
                    Err(_) => return,
                },
                _ = tick.tick() => stale |= self.expire().await,
            }
            if stale {
                stale = !self.once().await;
            }
        }
    }

    /// True when a lease ended.
    async fn expire(&self) -> bool {
        self.store.expire().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "leases could not be looked at");
            false
        })
    }

    /// False when the store could not be read: it is tried again at the next tick.
    async fn once(&mut self) -> bool {
        let began = Instant::now();
        let everything = match self.store.read_all().await {
            Ok(everything) => everything,
            Err(error) => {
                self.failed(&error);
                return false;
            }
        };
        if std::mem::take(&mut self.unreachable) {
            tracing::info!("the policy store is back");
        }
        self.outputs.tokens.replace(&everything);
        let compiled = Arc::new(compile(&CompileInput { everything: &everything, now: Utc::now() }));
        let snapshot = Arc::new(compiled.snapshot.clone());
        let hub_seq = self.publish(&snapshot);
        let published = Published { compiled, objects: Arc::new(everything.objects), hub_seq };
        self.outputs.snapshot.send_replace(Some(snapshot));
        self.outputs.published.send_replace(Some(published));
        self.took.record(began.elapsed().as_secs_f64(), &[]);
        true
    }

    fn failed(&mut self, error: &tidegate_policy::ports::StoreError) {
        self.failures.add(1, &[KeyValue::new("stage", "read")]);
        if !std::mem::replace(&mut self.unreachable, true) {
            tracing::warn!(%error, "everyone keeps what they have until the policy store is back");
        }
    }

    fn publish(&self, snapshot: &Snapshot) -> u64 {
        let mut sets: BTreeMap<String, ResourceSet> = BTreeMap::new();
        sets.insert(GATEWAY_GROUP.to_owned(), tidegate_translate::gateway(snapshot, &self.settings));
        for plan in snapshot.pools.values() {
            sets.insert(Self::worker_group(&plan.pool), tidegate_translate::pool(snapshot, plan));
        }
        let next = self.outputs.hub.borrow().publish(sets, tidegate_api::ads::now_ms());
        if let Some(next) = next {
            self.outputs.hub.send_replace(Arc::new(next));
        }
        self.outputs.hub.borrow().seq()
    }
}
