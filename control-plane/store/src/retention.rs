//! How long the history is kept. It only takes lines away at the old end of an object's history, so that what is left of it says
//! what the object was at every revision from its first line on; it never touches an object.
use chrono::{DateTime, Duration, Utc};
use sqlx::PgPool;
use tidegate_policy::ports::StoreError;

use crate::{error::Fail, store::PgStore};

/// Days for which every line of the history is kept.
pub const HISTORY_DAYS: i64 = 90;
/// Lines that are kept of every object that exists, however old they are.
pub const HISTORY_LINES: i64 = 100;
/// Lines that one transaction takes away: writers wait for it.
const BATCH: i64 = 1_000;

/// The old lines, oldest first, and from which revision on nothing misses them: a line says what its object was until the
/// next one; a deletion says what no line says, too. The newest line from before the time `$1` stays unless it is a deletion: it is
/// what the object was then.
const PRUNE: &str = "
    WITH old AS (
        SELECT r.revision, r.kind, r.namespace, r.name, CASE WHEN r.outcome = 'Deleted' THEN r.revision ELSE (
                SELECT min(n.revision) FROM revisions n
                WHERE n.kind = r.kind AND n.namespace = r.namespace AND n.name = r.name AND n.revision > r.revision
            ) END AS known_from
        FROM revisions r
        WHERE r.at < $1
          AND (r.outcome = 'Deleted' OR EXISTS (
                SELECT FROM revisions n
                WHERE n.kind = r.kind AND n.namespace = r.namespace AND n.name = r.name AND n.revision > r.revision
                  AND n.at < $1))
          AND (EXISTS (
                SELECT FROM revisions n
                WHERE n.kind = r.kind AND n.namespace = r.namespace AND n.name = r.name AND n.revision > r.revision
                ORDER BY n.revision OFFSET $2 LIMIT 1)
            OR NOT EXISTS (
                SELECT FROM objects o WHERE o.kind = r.kind AND o.namespace = r.namespace AND o.name = r.name))
        ORDER BY r.revision, r.kind, r.namespace, r.name LIMIT $3
    ), gone AS (
        DELETE FROM revisions r USING old
        WHERE r.revision = old.revision AND r.kind = old.kind AND r.namespace = old.namespace AND r.name = old.name
    )
    SELECT count(*), max(known_from) FROM old";

impl PgStore {
    /// Takes away the lines of the history that are older than [`HISTORY_DAYS`] at `now`, except the last
    /// [`HISTORY_LINES`] of each object that exists, and except what is needed to go back to any revision of these days.
    /// Returns how many went. Call it about once an hour; several replicas may.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; what was taken away until then stays away, and the next call goes on.
    pub async fn prune_history(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let before = now - Duration::days(HISTORY_DAYS);
        let mut gone = 0;
        loop {
            let batch = self.run("prune_history", || prune(&self.pool, before)).await?;
            gone += batch.unsigned_abs();
            if batch < BATCH {
                return Ok(gone);
            }
        }
    }
}

async fn prune(pool: &PgPool, before: DateTime<Utc>) -> Result<i64, Fail> {
    let mut tx = pool.begin().await?;
    // As every writer does: no rollback reads a history that is half taken away.
    sqlx::query("SELECT FROM store_revision FOR UPDATE").execute(&mut *tx).await?;
    sqlx::query("SELECT set_config('tidegate.prune_history', 'on', true)").execute(&mut *tx).await?;
    let (lines, known_from): (i64, Option<i64>) =
        sqlx::query_as(PRUNE).bind(before).bind(HISTORY_LINES - 1).bind(BATCH).fetch_one(&mut *tx).await?;
    sqlx::query("UPDATE store_revision SET kept_from = greatest(kept_from, $1)")
        .bind(known_from)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(lines)
}
