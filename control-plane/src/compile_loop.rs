//! Store and fleet in, one immutable [`Published`] out. Level-triggered: a wake-up carries nothing, everything is read again.
//! The only place that reads the clock for compile. It never serves anything itself.
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use tidegate_api::{
    ads::{GATEWAY_GROUP, SECONDS, now_ms, worker_group},
    credentials::TokenTable,
};
use tidegate_policy::{
    compile::{CompileInput, Compiled, compile},
    ports::{Everything, FleetStore as _, NodeRole, ObjectKey, ObjectStore as _, StoredObject},
    snapshot::{ObjectRef, Snapshot},
    status::ObjectStatus,
};
use tidegate_store::PgStore;
use tidegate_translate::GatewaySettings;
use tidegate_xds::{Hub, ResourceSet};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[cfg(test)]
mod tests;

/// Leases and keys end by themselves: looked at this often.
const TICK: Duration = Duration::from_millis(500);

/// What one read of the store means.
#[derive(Clone)]
pub struct Published {
    pub snapshot: Arc<Snapshot>,
    /// What compile says of every object, without what the nodes say.
    pub statuses: Arc<BTreeMap<ObjectKey, ObjectStatus>>,
    /// The stored objects that it was made from.
    pub objects: Arc<Vec<StoredObject>>,
    /// Nodes that have a token.
    pub nodes: Arc<BTreeMap<String, NodeRole>>,
}

impl Published {
    /// Whether there is a WorkerPool "<namespace>/<name>".
    pub fn has_pool(&self, pool: &str) -> bool {
        let of = |(namespace, name): (&str, &str)| ObjectRef { namespace: namespace.to_owned(), name: name.to_owned() };
        pool.split_once('/').is_some_and(|parts| self.snapshot.pools.contains_key(&of(parts)))
    }
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
    settings: Arc<GatewaySettings>,
    outputs: Outputs,
    /// When the next API key ends.
    key_ends: Option<DateTime<Utc>>,
    took: Histogram<f64>,
    failures: Counter<u64>,
    unreachable: bool,
}

impl CompileLoop {
    pub fn new(store: PgStore, settings: GatewaySettings, outputs: Outputs) -> Self {
        let meter = opentelemetry::global::meter("tidegate");
        let took = meter.f64_histogram("tidegate_compile_duration").with_unit("s").with_boundaries(SECONDS.to_vec());
        let took = took.with_description("From reading the store to publishing").build();
        let failures =
            meter.u64_counter("tidegate_compile_failures").with_description("Reads of the store that failed").build();
        Self { store, settings: Arc::new(settings), outputs, key_ends: None, took, failures, unreachable: false }
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

    /// True when a lease or a key ended.
    async fn expire(&self) -> bool {
        let lease = self.store.expire().await.unwrap_or_else(|error| {
            tracing::debug!(error = causes(&error), "leases could not be looked at");
            false
        });
        lease || self.key_ends.is_some_and(|at| at <= Utc::now())
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
        let now = Utc::now();
        self.key_ends = next_end(&everything, now);
        // Not on a thread that serves streams: this takes as long as there are objects.
        let (settings, hub) = (self.settings.clone(), self.outputs.hub.borrow().clone());
        let made = tokio::task::spawn_blocking(move || make(everything, now, (&settings, &hub))).await;
        let (published, hub) = match made {
            Ok(made) => made,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime stops.
            Err(_) => return false,
        };
        if let Some(hub) = hub {
            self.outputs.hub.send_replace(Arc::new(hub));
        }
        self.outputs.snapshot.send_replace(Some(published.snapshot.clone()));
        self.outputs.published.send_replace(Some(published));
        self.took.record(began.elapsed().as_secs_f64(), &[]);
        true
    }

    fn failed(&mut self, error: &tidegate_policy::ports::StoreError) {
        self.failures.add(1, &[KeyValue::new("stage", "read")]);
        if !std::mem::replace(&mut self.unreachable, true) {
            tracing::warn!(error = causes(error), "everyone keeps what they have until the policy store is back");
        }
    }
}

/// What the store means now, and the hub that serves it if anything of that is new.
fn make(
    everything: Everything,
    now: DateTime<Utc>,
    (settings, hub): (&GatewaySettings, &Hub),
) -> (Published, Option<Hub>) {
    let Compiled { snapshot, statuses } = compile(&CompileInput { everything: &everything, now });
    let mut sets: BTreeMap<String, ResourceSet> = BTreeMap::new();
    sets.insert(GATEWAY_GROUP.to_owned(), tidegate_translate::gateway(&snapshot, settings));
    for plan in snapshot.pools.values() {
        sets.insert(worker_group(&plan.pool), tidegate_translate::pool(&snapshot, plan));
    }
    let next = hub.publish(sets, now_ms());
    let tokens = everything.node_tokens.into_iter().map(|token| (token.identity.node_id, token.identity.role));
    let (nodes, objects) = (Arc::new(tokens.collect()), Arc::new(everything.objects));
    (Published { snapshot: Arc::new(snapshot), statuses: Arc::new(statuses), objects, nodes }, next)
}

/// When the first of the keys that are good at `now` ends by itself.
fn next_end(everything: &Everything, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let ends = everything.api_keys.iter().flat_map(|key| [key.expires_at, key.revoked_at]).flatten();
    ends.filter(|at| *at > now).min()
}

/// An error of the store with everything that caused it, on one line.
pub(crate) fn causes(error: &tidegate_policy::ports::StoreError) -> String {
    anyhow::Chain::new(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
