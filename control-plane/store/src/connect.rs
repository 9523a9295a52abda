//! Opening the store: check that the server keeps what it answers, migrate, start the pools and the watcher.
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, postgres::PgPoolOptions};

use crate::{
    ConnectError, Options, changes,
    queue::Queue,
    session::{Settings, check_durable, check_own},
    store::{Metrics, PgStore, Watcher},
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

impl PgStore {
    /// Opens the store at `url` with default [`Options`]. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// See [`ConnectError`]: unreachable, refused, behind a pooler, not durable, read-only, or a schema that cannot be migrated.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::connect_with(Options::from_url(url)?).await
    }

    /// Opens the store.
    ///
    /// # Errors
    /// As [`PgStore::connect`].
    pub async fn connect_with(options: Options) -> Result<Self, ConnectError> {
        let mut first = tokio::time::timeout(options.call_timeout, open(&options))
            .await
            .map_err(|_| ConnectError::Connect(sqlx::Error::PoolTimedOut))??;
        // Migrator::run holds an advisory lock, so replicas that start together migrate one after the other.
        MIGRATIONS.run(&mut first).await.map_err(ConnectError::migrate)?;
        let _ = first.close().await;

        let pools = Pools::new(&options);
        let metrics = Metrics::new();
        let (task, changes) = changes::watch(pools.upkeep.clone(), &options, metrics.clone());
        let queue = |what, places| Arc::new(Queue::new(what, (places, options.queue), options.patience));
        Ok(Self {
            reads: queue("reads", options.max_connections.max(2) as usize - 1),
            // Writers follow one another in Postgres too: more than one would only hold connections.
            writes: queue("writes", 1),
            full_reads: queue("reads of everything", FULL_READS),
            pools,
            options: Arc::new(options),
            metrics,
            quiet: Arc::default(),
            changes,
            _watcher: Arc::new(Watcher(task)),
        })
    }
}

/// The session that migrates, checked.
async fn open(options: &Options) -> Result<PgConnection, ConnectError> {
    let mut first = options.session().connect().await?;
    check_own(&mut first, &options.session()).await?;
    Settings::migrating(options).apply(&mut first).await?;
    check_durable(&mut first).await?;
    Ok(first)
}

/// Connections to the database, by what they are for: however many read and write, leases, readiness and compile go on.
#[derive(Clone)]
pub(crate) struct Pools {
    /// Reads and writes of callers.
    pub(crate) work: PgPool,
    /// What the control plane itself must be able to do at any time: listen, read everything, leases, statuses, readiness.
    pub(crate) upkeep: PgPool,
    /// Why the last session that was opened could not be used.
    broken: Arc<Mutex<Option<ConnectError>>>,
}

/// Reads of everything at a time: one for compile, one for warnings.
const FULL_READS: usize = 2;
/// The listener, the full reads, the status writer, and two for leases and readiness.
const UPKEEP: u32 = 6;

impl Pools {
    fn new(options: &Options) -> Self {
        let broken = Arc::new(Mutex::new(None));
        let pool = |connections| pool(options, connections, &broken);
        Self { work: pool(options.max_connections.max(2)), upkeep: pool(UPKEEP), broken: broken.clone() }
    }

    /// Why no session could be opened, if the last one that was tried could not be used.
    pub(crate) fn broken(&self) -> Option<ConnectError> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) async fn close(&self) {
        self.work.close().await;
        self.upkeep.close().await;
    }
}

fn pool(options: &Options, connections: u32, broken: &Arc<Mutex<Option<ConnectError>>>) -> PgPool {
    let (settings, broken) = (Settings::usual(options), broken.clone());
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(Duration::from_secs(600))
        .test_before_acquire(true)
        .after_connect(move |connection, _| {
            let (settings, broken) = (settings.clone(), broken.clone());
            Box::pin(async move {
                let applied = settings.apply(connection).await.err();
                // The pool tries again and says nothing of the reason.
                let failed = applied.is_some();
                *broken.lock().unwrap_or_else(PoisonError::into_inner) = applied;
                if failed { Err(sqlx::Error::PoolTimedOut) } else { Ok(()) }
            })
        })
        .connect_lazy_with(options.session())
}
