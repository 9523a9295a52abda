//! How long the history is kept. It only takes lines away at the old end of an object's history, so that what is left of it says
//! what the object was at every revision from its first line on; it never touches an object.
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tidegate_policy::ports::StoreError;

use crate::{error::Fail, retry::Lane, store::PgStore};

/// Days for which every line of the history is kept.
pub const HISTORY_DAYS: i64 = 90;
/// Lines that are kept of every object that exists, however old they are.
pub const HISTORY_LINES: i64 = 100;
/// Lines that one transaction takes away: writers wait for it.
const BATCH: usize = 1_000;
/// Lines that one search finds; what is beyond is found by the next.
const FOUND: i64 = 10_000;
/// Longest search. It reads the whole history, and nobody waits for it.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(60);

/// The lines that may go, oldest first, and from which revision on nothing misses them: a line says what its object was until the
/// next one; a deletion says what no line says, too. The newest line from before the time `$1` stays unless it is a deletion: it is
/// what the object was then.
const SEARCH: &str = "
    SELECT l.revision, l.kind, l.namespace, l.name,
           CASE WHEN l.outcome = 'Deleted' THEN l.revision ELSE l.next END AS known_from, o.uid IS NULL AS orphan
    FROM (
        SELECT revision, kind, namespace, name, at, outcome,
               row_number() OVER object AS nth, lag(revision) OVER object AS next, lag(at) OVER object AS next_at
        FROM revisions WINDOW object AS (PARTITION BY kind, namespace, name ORDER BY revision DESC)
    ) l LEFT JOIN objects o USING (kind, namespace, name)
    WHERE l.at < $1 AND (l.outcome = 'Deleted' OR l.next_at < $1) AND (l.nth > $2 OR o.uid IS NULL)
    ORDER BY l.revision, l.kind, l.namespace, l.name LIMIT $3";

/// Takes away what was found, except lines of an object that did not exist then and does now.
const DELETE: &str = "
    WITH gone AS (
        DELETE FROM revisions r
        USING unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::boolean[])
              AS l(revision, kind, namespace, name, known_from, orphan)
        WHERE r.revision = l.revision AND r.kind = l.kind AND r.namespace = l.namespace AND r.name = l.name
          AND (NOT l.orphan OR NOT EXISTS (
                SELECT FROM objects o WHERE o.kind = l.kind AND o.namespace = l.namespace AND o.name = l.name))
        RETURNING l.known_from
    )
    SELECT count(*), max(known_from) FROM gone";

/// A line that may go.
#[derive(sqlx::FromRow)]
struct Line {
    revision: i64,
    kind: String,
    namespace: String,
    name: String,
    known_from: i64,
    orphan: bool,
}

impl PgStore {
    /// Takes away the lines of the history that are older than [`HISTORY_DAYS`] at `now`, except the last
    /// [`HISTORY_LINES`] of each object that exists, and except what is needed to go back to any revision of these days.
    /// Returns how many went. Writers wait only while lines go, never while they are searched. Call it about once an hour; several
    /// replicas may.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]; what was taken away until then stays away, and the next call goes on.
    pub async fn prune_history(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let before = now - TimeDelta::days(HISTORY_DAYS);
        let mut gone = 0;
        loop {
            let lines = self.run_within(SEARCH_TIMEOUT, "search_history", || search(&self.pools.work, before)).await?;
            if lines.is_empty() {
                return Ok(gone);
            }
            for batch in lines.chunks(BATCH) {
                let deleted = self.run(Lane::Write, "prune_history", || delete(&self.pools.work, batch)).await?;
                gone += deleted;
                // The rest was found in a history that others have changed: an older line may be one that stays.
                if deleted != batch.len() as u64 {
                    break;
                }
            }
        }
    }
}

/// Without any lock: what was old stays old, but an object may come back.
async fn search(pool: &PgPool, before: DateTime<Utc>) -> Result<Vec<Line>, Fail> {
    let mut tx = pool.begin_with("BEGIN READ ONLY").await?;
    sqlx::query("SELECT set_config('statement_timeout', $1, true)")
        .bind(SEARCH_TIMEOUT.as_millis().to_string())
        .execute(&mut *tx)
        .await?;
    let lines = sqlx::query_as(SEARCH).bind(before).bind(HISTORY_LINES).bind(FOUND).fetch_all(&mut *tx).await?;
    tx.commit().await?;
    Ok(lines)
}

async fn delete(pool: &PgPool, lines: &[Line]) -> Result<u64, Fail> {
    let mut tx = pool.begin().await?;
    // As every writer does: no rollback reads a history that is half taken away.
    sqlx::query("SELECT FROM store_revision FOR UPDATE").execute(&mut *tx).await?;
    sqlx::query("SELECT set_config('tidegate.prune_history', 'on', true)").execute(&mut *tx).await?;
    let (gone, known_from): (i64, Option<i64>) = sqlx::query_as(DELETE)
        .bind(lines.iter().map(|l| l.revision).collect::<Vec<_>>())
        .bind(lines.iter().map(|l| l.kind.as_str()).collect::<Vec<_>>())
        .bind(lines.iter().map(|l| l.namespace.as_str()).collect::<Vec<_>>())
        .bind(lines.iter().map(|l| l.name.as_str()).collect::<Vec<_>>())
        .bind(lines.iter().map(|l| l.known_from).collect::<Vec<_>>())
        .bind(lines.iter().map(|l| l.orphan).collect::<Vec<_>>())
        .fetch_one(&mut *tx)
        .await?;
    sqlx::query("UPDATE store_revision SET kept_from = greatest(kept_from, $1)")
        .bind(known_from)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(gone.unsigned_abs())
}
