//! Opening the store: check that the server keeps what it answers, migrate, start the pool and the watcher.
use std::sync::Arc;

use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Row, postgres::PgPoolOptions};

use crate::{
    ConnectError, Options, changes,
    store::{Metrics, PgStore, Watcher},
};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

impl PgStore {
    /// Opens the store at `url` with default [`Options`]. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// See [`ConnectError`]: unreachable, not durable, read-only, or a schema that cannot be migrated.
    pub async fn connect(url: &str) -> Result<Self, ConnectError> {
        Self::connect_with(Options::from_url(url)?).await
    }

    /// Opens the store.
    ///
    /// # Errors
    /// As [`PgStore::connect`].
    pub async fn connect_with(options: Options) -> Result<Self, ConnectError> {
        let session = options.migration_session();
        let mut first = tokio::time::timeout(options.call_timeout, session.connect())
            .await
            .map_err(|_| ConnectError::Connect(sqlx::Error::PoolTimedOut))?
            .map_err(ConnectError::Connect)?;
        check_durable(&mut first).await?;
        // Migrator::run holds an advisory lock, so replicas that start together migrate one after the other.
        MIGRATIONS.run(&mut first).await.map_err(ConnectError::Migrate)?;
        let _ = first.close().await;

        let pool = pool(&options);
        let metrics = Metrics::new();
        let (task, changes) = changes::watch(pool.clone(), &options, metrics.clone());
        Ok(Self {
            pool,
            options: Arc::new(options),
            metrics,
            quiet: Arc::default(),
            changes,
            _watcher: Arc::new(Watcher(task)),
        })
    }
}

fn pool(options: &Options) -> PgPool {
    PgPoolOptions::new()
        .max_connections(options.max_connections.max(2))
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(std::time::Duration::from_secs(600))
        .test_before_acquire(true)
        .connect_lazy_with(options.session())
}

/// Refuses a server or session that may answer a write before it is on disk, and one that cannot be written.
///
/// # Errors
/// [`ConnectError::NotDurable`], [`ConnectError::ReadOnly`], or [`ConnectError::Connect`] when the server does not answer.
pub(crate) async fn check_durable(connection: &mut PgConnection) -> Result<(), ConnectError> {
    let row = sqlx::query(
        "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
                pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean",
    )
    .fetch_one(connection)
    .await
    .map_err(ConnectError::Connect)?;
    let get = |i: usize| row.try_get::<String, _>(i).map_err(ConnectError::Connect);
    for (i, setting) in [(0, "fsync"), (1, "full_page_writes")] {
        let value = get(i)?;
        if value != "on" {
            return Err(ConnectError::NotDurable { setting, value });
        }
    }
    let value = get(2)?;
    // remote_apply is stronger than on; local, remote_write and off are weaker.
    if value != "on" && value != "remote_apply" {
        return Err(ConnectError::NotDurable { setting: "synchronous_commit", value });
    }
    if row.try_get::<bool, _>(3).map_err(ConnectError::Connect)? {
        return Err(ConnectError::ReadOnly);
    }
    Ok(())
}
