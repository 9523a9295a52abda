//! One running worker: the API on a socket, the driver of versions, the limits. Made of parts that are handed in, so that tests
//! run the very same worker with another engine and without a control plane.
use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::{
    api::{App, Intake, router},
    control::Inlets,
    drain::{Phase, Phases},
    error::WorkerError,
    fleet,
    hotswap::{
        driver::{Driver, Outlets},
        loader::Loader,
        report::VersionStatus,
        table::PoolSettings,
    },
    lane::job::{LaneShared, Tuning},
    queue::Queue,
    server::Server,
    telemetry::Telemetry,
};

/// What a worker is started with.
pub struct Parts {
    /// "<namespace>/<name>" of the pool.
    pub pool: String,
    pub listen: SocketAddr,
    pub max_connections: usize,
    /// How long a connection may take to show its first request.
    pub first_request: Duration,
    pub linger: Duration,
    pub slow_client: Duration,
    pub loader: Arc<dyn Loader>,
    pub telemetry: Telemetry,
}

/// A running worker.
pub struct Worker {
    pub address: SocketAddr,
    pub app: Arc<App>,
    /// Where pushed configuration goes.
    pub inlets: Inlets,
    pub versions: watch::Receiver<Vec<VersionStatus>>,
    stop_at: Arc<OnceLock<Instant>>,
    stop: watch::Sender<Option<Instant>>,
    server: JoinHandle<()>,
}

/// After the grace time: how long error events of cut streams may take to reach their clients.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Worker {
    /// Binds the socket and starts everything; without a model it answers 503 until one is pushed.
    pub async fn start(parts: Parts) -> Result<Self, WorkerError> {
        let metrics = Arc::new(parts.telemetry.metrics());
        let server = Server::bind(parts.listen, parts.max_connections, parts.first_request, metrics.clone()).await?;
        let defaults = PoolSettings::default();
        let (stop_at, stuck_changed) = (Arc::new(OnceLock::new()), Arc::new(Notify::new()));
        let tuning = Tuning {
            max_batch: AtomicU32::new(defaults.max_batch),
            max_delay_ms: AtomicU64::new(2),
            slow_client: parts.slow_client,
        };
        let lanes = LaneShared {
            stats: Arc::default(),
            tuning: Arc::new(tuning),
            metrics: metrics.clone(),
            stuck_changed: stuck_changed.clone(),
            stop_at: stop_at.clone(),
        };
        let app = Arc::new(App {
            table: Arc::default(),
            queue: Arc::new(Queue::new(defaults.max_requests)),
            intake: Intake::default(),
            limits: Arc::default(),
            metrics: metrics.clone(),
            telemetry: parts.telemetry,
            phases: Arc::new(Phases::default()),
            totals: Arc::default(),
            stuck_changed,
        });
        let (report, versions) = watch::channel(Vec::new());
        let outlets = Outlets { table: app.table.clone(), queue: app.queue.clone(), report, lanes };
        let (wishes, wanted) = watch::channel(None);
        tokio::spawn(Driver::new(parts.loader.clone(), outlets, parts.linger).run(wanted));
        let inlets = Inlets { pool: parts.pool, loader: parts.loader, wishes, limits: app.limits.clone(), metrics };
        observe_gauges(&app);
        let (stop, stopped) = watch::channel(None);
        let address = server.address;
        let server = tokio::spawn(server.run(router(app.clone()), stopped));
        Ok(Self { address, app, inlets, versions, stop_at, stop, server })
    }

    /// Leaves in order: readiness, settle, no new requests, grace, then cut what is left with an error.
    pub async fn drain(self, settle: Duration, grace: Duration) {
        self.app.phases.enter(Phase::Settling);
        tokio::time::sleep(settle).await;
        self.app.phases.enter(Phase::Draining);
        let deadline = Instant::now() + grace;
        // Set once: a second drain keeps the first deadline.
        let _ = self.stop_at.set(deadline);
        while self.app.queue.inside() > 0 && Instant::now() < deadline + LAST_WORDS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Answers that are complete may still be on their way to slow readers.
        self.stop.send_replace(Some(deadline + LAST_WORDS));
        // The server ends by itself within its own deadline.
        let _ = self.server.await;
        self.app.telemetry.shutdown();
    }
}

/// Numbers that are read when somebody asks for them.
fn observe_gauges(app: &Arc<App>) {
    let gauge = |name, what, read: fn(&App) -> u64| {
        let app = Arc::downgrade(app);
        app.upgrade().into_iter().for_each(|strong| {
            let weak = app.clone();
            strong.telemetry.observe(name, what, move || weak.upgrade().map_or(0, |app| read(&app)));
        });
    };
    gauge("tidegate_requests_running", "Requests in the engine now", |app| u64::from(fleet::rows(app).0));
    gauge("tidegate_requests_waiting", "Requests admitted and waiting for the engine", |app| {
        u64::from(fleet::rows(app).1)
    });
    gauge("tidegate_limit_balances", "Balances kept for limits", |app| app.limits.balances().0 as u64);
    gauge("tidegate_limit_overflow", "1 when keys of a limit share a balance because there are too many", |app| {
        u64::from(app.limits.balances().1)
    });
    gauge("tidegate_ready", "1 when readiness is 200", |app| u64::from(app.is_ready()));
}
