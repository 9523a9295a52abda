//! The transaction of a write: it locks the revision counter first, so writers follow one another and commit in the order of
//! their revisions, and counts up last. One transaction makes at most one revision.
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tidegate_policy::ports::{Outcome, StoredObject};

use crate::{
    error::Fail,
    rows::{outcome_name, source_name},
    session::{Promise, promise_columns},
    store::By,
};

/// Tells every replica that something that compile reads is different. The last statement before COMMIT: it also asks whether the server
/// will keep what is committed, because that may be changed while it runs.
///
/// # Errors
/// [`Fail::Unusable`] when a commit could be lost: the caller goes away and nothing is written.
pub(crate) async fn announce(connection: &mut PgConnection) -> Result<(), Fail> {
    const SQL: &str = concat!(
        "WITH counted AS (UPDATE store_changes SET seq = seq + 1 RETURNING pg_notify('tidegate_changes', ''))
         SELECT ",
        promise_columns!(),
        " FROM counted"
    );
    let promise: Promise = sqlx::query_as(SQL).fetch_one(connection).await?;
    Ok(promise.check()?)
}

pub(crate) struct WriteTx<'a> {
    tx: Transaction<'static, Postgres>,
    by: By<'a>,
    /// The revision that this transaction makes, if it changes anything.
    pub(crate) next: i64,
    pub(crate) now: DateTime<Utc>,
    /// From this revision on, the history has every line.
    pub(crate) kept_from: i64,
    changed: bool,
}

impl<'a> WriteTx<'a> {
    pub(crate) async fn begin(pool: &PgPool, by: By<'a>) -> Result<Self, Fail> {
        let mut tx = pool.begin().await?;
        let (revision, kept_from): (i64, i64) =
            sqlx::query_as("SELECT revision, kept_from FROM store_revision FOR UPDATE").fetch_one(&mut *tx).await?;
        // Asked after the lock is held, so that times go up with revisions.
        let now = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut *tx).await?;
        Ok(Self { tx, by, next: revision + 1, now, kept_from, changed: false })
    }

    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// The newest revision that was committed before this transaction.
    pub(crate) fn current(&self) -> i64 {
        self.next - 1
    }

    /// The revision that an answer names for an object that changed: the one that this transaction makes. A dry run makes none,
    /// and its number will be somebody else's, so there it is the one that is `stored` (0: there is no such object).
    pub(crate) fn told(&self, stored: i64) -> i64 {
        if self.by.dry_run { stored } else { self.next }
    }

    /// Appends a line to the history: what `object` is after this transaction.
    pub(crate) async fn record(&mut self, object: &StoredObject, outcome: Outcome) -> Result<(), Fail> {
        self.changed = true;
        sqlx::query(
            "INSERT INTO revisions (revision, kind, namespace, name, at, author, source, outcome, uid, generation,
                                    labels, annotations, spec)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(self.next)
        .bind(object.key.kind.name())
        .bind(&object.key.object.namespace)
        .bind(&object.key.object.name)
        .bind(self.now)
        .bind(&self.by.author.name)
        .bind(source_name(self.by.author.source))
        .bind(outcome_name(outcome))
        .bind(object.uid)
        .bind(object.generation)
        .bind(&object.labels)
        .bind(&object.annotations)
        .bind((outcome != Outcome::Deleted).then_some(&object.spec))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Commits, or for a dry run undoes everything.
    pub(crate) async fn finish(mut self) -> Result<(), Fail> {
        if self.by.dry_run || !self.changed {
            return Ok(self.tx.rollback().await?);
        }
        sqlx::query("UPDATE store_revision SET revision = $1").bind(self.next).execute(&mut *self.tx).await?;
        announce(&mut self.tx).await?;
        Ok(self.tx.commit().await?)
    }
}
