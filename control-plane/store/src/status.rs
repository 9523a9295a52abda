//! Status writes: many objects in one statement; no revision, no generation, no lock but those of the objects' own rows, and never
//! a wait for one of them.
use serde_json::Value;
use tidegate_policy::ports::StatusWrite;
use uuid::Uuid;

use crate::{error::Fail, store::PgStore, transaction::announce};

/// Rows that somebody else holds are left out rather than waited for: writers of objects lock in an order of their own.
const SQL: &str = "
    WITH new AS (SELECT * FROM unnest($1::uuid[], $2::jsonb[]) AS n (uid, status)),
         old AS (SELECT o.uid, o.status FROM objects o JOIN new USING (uid) FOR UPDATE OF o SKIP LOCKED),
         changed AS (
             UPDATE objects o SET status = new.status FROM new JOIN old USING (uid)
             WHERE o.uid = new.uid AND old.status <> new.status
             RETURNING o.uid, old.status -> 'arms' IS DISTINCT FROM o.status -> 'arms' AS arms)
    SELECT old.uid, coalesce(changed.arms, false) FROM old LEFT JOIN changed USING (uid)";

impl PgStore {
    /// Answers the objects that have their status now. Wakes the readers only when some `status.arms` differs: it is the one part
    /// of a status that compile reads.
    pub(crate) async fn write_statuses(&self, batch: &[StatusWrite]) -> Result<Vec<Uuid>, Fail> {
        let uids: Vec<Uuid> = batch.iter().map(|write| write.uid).collect();
        let statuses: Vec<&Value> = batch.iter().map(|write| &write.status).collect();
        let mut tx = self.pools.upkeep.begin().await?;
        let rows: Vec<(Uuid, bool)> = sqlx::query_as(SQL).bind(uids).bind(statuses).fetch_all(&mut *tx).await?;
        if rows.iter().any(|(_, arms)| *arms) {
            announce(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(rows.into_iter().map(|(uid, _)| uid).collect())
    }
}
