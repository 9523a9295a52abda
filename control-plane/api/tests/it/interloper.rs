//! A store in which somebody else writes just before each of the first writes and rollbacks: a race, every time.
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tidegate_policy::{
    kinds::Kind,
    ports::{
        Author, Everything, ObjectKey, ObjectStore, Outcome, Page, Revision, RollbackScope, StatusWrite, StoreError,
        StoredObject, Write,
    },
};
use tidegate_store::PgStore;

/// Before each of the first `times` writes, the object `between` gets another label `n`, or is deleted.
pub struct Interloper {
    pub store: PgStore,
    pub times: AtomicUsize,
    pub deletes: bool,
    /// Which object it writes.
    pub between: ObjectKey,
}

type Written = Vec<(StoredObject, Outcome)>;

impl Interloper {
    async fn come_between(&self, key: &ObjectKey, author: &Author) {
        let Ok(left) = self.times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)) else {
            return;
        };
        if self.deletes {
            self.store.delete(key, None, author, false).await.unwrap();
            return;
        }
        let now = self.store.get(key).await.unwrap();
        let (labels, annotations) = (serde_json::json!({"n": left.to_string()}), now.annotations);
        let write = Write { key: key.clone(), labels, annotations, spec: now.spec, expected_revision: None };
        self.store.write(vec![write], author, false).await.unwrap();
    }
}

#[async_trait]
#[allow(clippy::too_many_arguments, reason = "as the trait has it")]
impl ObjectStore for Interloper {
    async fn write(&self, batch: Vec<Write>, author: &Author, dry_run: bool) -> Result<Written, StoreError> {
        self.come_between(&self.between, author).await;
        self.store.write(batch, author, dry_run).await
    }

    async fn get(&self, key: &ObjectKey) -> Result<StoredObject, StoreError> {
        self.store.get(key).await
    }

    async fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<StoredObject>, StoreError> {
        self.store.list(kind, namespace, limit, after).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        expected_revision: Option<i64>,
        author: &Author,
        dry_run: bool,
    ) -> Result<StoredObject, StoreError> {
        self.store.delete(key, expected_revision, author, dry_run).await
    }

    async fn history(
        &self,
        key: Option<&ObjectKey>,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<Revision>, StoreError> {
        self.store.history(key, limit, after).await
    }

    async fn rollback(
        &self,
        revision: i64,
        scope: &RollbackScope,
        author: &Author,
        dry_run: bool,
    ) -> Result<Written, StoreError> {
        self.store.rollback(revision, scope, author, dry_run).await
    }

    async fn rollback_on(
        &self,
        on: i64,
        revision: i64,
        scope: &RollbackScope,
        author: &Author,
    ) -> Result<Written, StoreError> {
        self.come_between(&self.between, author).await;
        self.store.rollback_on(on, revision, scope, author).await
    }

    async fn adopt(&self, key: &ObjectKey, author: &Author) -> Result<StoredObject, StoreError> {
        self.store.adopt(key, author).await
    }

    async fn put_statuses(&self, batch: &[StatusWrite]) -> Result<Vec<uuid::Uuid>, StoreError> {
        self.store.put_statuses(batch).await
    }

    async fn read_all(&self) -> Result<Everything, StoreError> {
        self.store.read_all().await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.store.ready().await
    }
}
