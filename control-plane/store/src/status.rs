//! Status writes: no revision, no generation, no lock but the object's own row.
use serde_json::Value;
use tidegate_policy::ports::ObjectKey;
use uuid::Uuid;

use crate::{error::Fail, store::PgStore, transaction::announce};

impl PgStore {
    /// Wakes the readers only when `status.arms` differs: it is the one part of a status that compile reads.
    pub(crate) async fn write_status(&self, key: &ObjectKey, uid: Uuid, status: &Value) -> Result<bool, Fail> {
        let mut tx = self.pool.begin().await?;
        let arms_differ: Option<bool> = sqlx::query_scalar(
            "UPDATE objects o SET status = $5 FROM (SELECT uid, status FROM objects WHERE uid = $4 FOR UPDATE) old
             WHERE o.kind = $1 AND o.namespace = $2 AND o.name = $3 AND o.uid = old.uid AND old.status <> $5
             RETURNING old.status -> 'arms' IS DISTINCT FROM o.status -> 'arms'",
        )
        .bind(key.kind.name())
        .bind(&key.object.namespace)
        .bind(&key.object.name)
        .bind(uid)
        .bind(status)
        .fetch_optional(&mut *tx)
        .await?;
        if arms_differ == Some(true) {
            announce(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(arms_differ.is_some())
    }
}
