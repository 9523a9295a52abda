//! [`PgStore`]: the handle that the servers share, and its metrics. Cheap to clone; the last clone stops the watcher.
use std::sync::Arc;

use opentelemetry::metrics::Counter;
use tidegate_policy::{
    kinds::Kind,
    ports::{
        Author, Everything, ObjectKey, ObjectStore, Outcome, Page, Revision, RollbackScope, StatusWrite, StoreError,
        StoredObject, Write,
    },
};
use tokio::{sync::watch, task::AbortHandle};

use crate::{Options, connect::Pools, queue::Queue, quiet::Quiet, retry::Lane};

/// The policy store.
#[derive(Clone)]
pub struct PgStore {
    pub(crate) pools: Pools,
    pub(crate) reads: Arc<Queue>,
    pub(crate) writes: Arc<Queue>,
    pub(crate) full_reads: Arc<Queue>,
    pub(crate) options: Arc<Options>,
    pub(crate) metrics: Metrics,
    pub(crate) quiet: Arc<Quiet>,
    pub(crate) changes: watch::Receiver<i64>,
    pub(crate) _watcher: Arc<Watcher>,
}

/// Ends the watcher's task with the store.
pub(crate) struct Watcher(pub(crate) AbortHandle);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Counters of the store.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) calls: Counter<u64>,
    pub(crate) retries: Counter<u64>,
    pub(crate) reconnects: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = opentelemetry::global::meter("tidegate");
        let counter = |name: &'static str, text: &'static str| meter.u64_counter(name).with_description(text).build();
        Self {
            calls: counter("tidegate_store_calls", "Calls of the policy store, by operation and outcome"),
            retries: counter("tidegate_store_retries", "Transactions run again because other writers were in the way"),
            reconnects: counter("tidegate_store_listen_reconnects", "Times the change listener lost its connection"),
        }
    }
}

impl std::fmt::Debug for PgStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgStore").field("connections", &self.pools.work.size()).finish_non_exhaustive()
    }
}

impl PgStore {
    /// A wake-up: its value changes after every change of what compile reads (objects, leases, tokens, keys, and the arms
    /// in a status). The value means nothing else; the reader reads again. Missed notifications are found by polling, and
    /// a database that restarts only delays it.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.changes.clone()
    }

    /// Closes the connections; calls that follow fail.
    pub async fn close(&self) {
        self.pools.close().await;
    }
}

/// Who writes, and whether it stays.
#[derive(Clone, Copy)]
pub(crate) struct By<'a> {
    pub author: &'a Author,
    pub dry_run: bool,
}

/// Which page.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub limit: u32,
    pub after: Option<&'a str>,
}

type Written = Vec<(StoredObject, Outcome)>;

#[async_trait::async_trait]
impl ObjectStore for PgStore {
    async fn write(&self, batch: Vec<Write>, author: &Author, dry_run: bool) -> Result<Written, StoreError> {
        self.run(Lane::Write, "write", || self.write_batch(&batch, By { author, dry_run })).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<StoredObject, StoreError> {
        self.run(Lane::Read, "get", || self.get_one(key)).await
    }

    async fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<StoredObject>, StoreError> {
        self.run(Lane::Read, "list", || self.list_page(kind, namespace, Ask { limit, after })).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        expected_revision: Option<i64>,
        author: &Author,
        dry_run: bool,
    ) -> Result<StoredObject, StoreError> {
        self.run(Lane::Write, "delete", || self.delete_one(key, expected_revision, By { author, dry_run })).await
    }

    async fn history(
        &self,
        key: Option<&ObjectKey>,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<Revision>, StoreError> {
        self.run(Lane::Read, "history", || self.history_page(key, Ask { limit, after })).await
    }

    async fn rollback(
        &self,
        revision: i64,
        scope: &RollbackScope,
        author: &Author,
        dry_run: bool,
    ) -> Result<Written, StoreError> {
        self.run(Lane::Write, "rollback", || self.roll_back((None, revision), scope, By { author, dry_run })).await
    }

    async fn rollback_on(
        &self,
        on: i64,
        revision: i64,
        scope: &RollbackScope,
        author: &Author,
    ) -> Result<Written, StoreError> {
        self.run(Lane::Write, "rollback", || self.roll_back((Some(on), revision), scope, By { author, dry_run: false }))
            .await
    }

    async fn adopt(&self, key: &ObjectKey, author: &Author) -> Result<StoredObject, StoreError> {
        self.run(Lane::Write, "adopt", || self.adopt_one(key, author)).await
    }

    async fn put_statuses(&self, batch: &[StatusWrite]) -> Result<Vec<uuid::Uuid>, StoreError> {
        self.run(Lane::Upkeep, "put_statuses", || self.write_statuses(batch)).await
    }

    async fn read_all(&self) -> Result<Everything, StoreError> {
        self.run(Lane::Everything, "read_all", || self.everything()).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.run(Lane::Upkeep, "ready", || self.check_ready()).await
    }
}
