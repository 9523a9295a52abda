//! Leases of fleet facts. A lease lives until [`FleetStore::expire`] drops it, so that every replica sees the same fleet; it
//! does not run out while nobody could renew it (the database or the whole control plane was away).
use sqlx::{PgConnection, Row};
use tidegate_policy::ports::{FleetStore, LeaseOutcome, StoreError, WorkerLease};

use crate::{error::Fail, retry::Lane, rows::LeaseRow, store::PgStore, transaction::announce};

/// When `expire` was not called for this long, every lease gets its whole term again. Call it at least once a second.
pub const KEEPER_GAP_MS: i64 = 2_500;

/// Longest term of a lease.
const MAX_TTL_MS: u64 = 3_600_000;

#[async_trait::async_trait]
impl FleetStore for PgStore {
    async fn hold(&self, lease: &WorkerLease, ttl_ms: u64) -> Result<LeaseOutcome, StoreError> {
        self.run(Lane::Upkeep, "hold", || self.hold_once(lease, ttl_ms)).await
    }

    async fn release(&self, node_id: &str, incarnation: &str) -> Result<(), StoreError> {
        self.run(Lane::Upkeep, "release", || self.release_once(node_id, incarnation)).await
    }

    async fn expire(&self) -> Result<bool, StoreError> {
        self.run(Lane::Upkeep, "expire", || self.expire_once()).await
    }
}

impl PgStore {
    async fn hold_once(&self, lease: &WorkerLease, ttl_ms: u64) -> Result<LeaseOutcome, Fail> {
        let mut tx = self.pools.upkeep.begin().await?;
        // Its own row and the address's, always in this order.
        let rows = sqlx::query(
            "SELECT *, expires_at <= clock_timestamp() AS ended FROM worker_leases
             WHERE node_id = $1 OR address = $2 ORDER BY node_id FOR UPDATE",
        )
        .bind(&lease.node_id)
        .bind(lease.address.to_string())
        .fetch_all(&mut *tx)
        .await?;
        let mut changed = true;
        for row in rows {
            let ended: bool = row.try_get("ended")?;
            let LeaseRow(held) = sqlx::FromRow::from_row(&row)?;
            if held.node_id == lease.node_id {
                changed &= !same_facts(&held, lease);
            } else if ended {
                drop_lease(&mut tx, &held.node_id).await?;
            } else {
                return Ok(LeaseOutcome::AddressTaken { by: held.node_id });
            }
        }
        save(&mut tx, lease, ttl_ms).await?;
        if changed {
            announce(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(LeaseOutcome::Held { changed })
    }

    async fn release_once(&self, node_id: &str, incarnation: &str) -> Result<(), Fail> {
        let mut tx = self.pools.upkeep.begin().await?;
        let dropped = sqlx::query("DELETE FROM worker_leases WHERE node_id = $1 AND incarnation = $2")
            .bind(node_id)
            .bind(incarnation)
            .execute(&mut *tx)
            .await?;
        if dropped.rows_affected() > 0 {
            announce(&mut tx).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn expire_once(&self) -> Result<bool, Fail> {
        let mut tx = self.pools.upkeep.begin().await?;
        let away: bool = sqlx::query_scalar(
            "SELECT seen_at < clock_timestamp() - $1 * interval '1 millisecond' FROM lease_keeper FOR UPDATE",
        )
        .bind(KEEPER_GAP_MS as f64)
        .fetch_one(&mut *tx)
        .await?;
        sqlx::query("UPDATE lease_keeper SET seen_at = clock_timestamp()").execute(&mut *tx).await?;
        let dropped = if away {
            let renewed = sqlx::query(
                "UPDATE worker_leases
                 SET expires_at = greatest(expires_at, clock_timestamp() + ttl_ms * interval '1 millisecond')",
            )
            .execute(&mut *tx)
            .await?;
            tracing::debug!(
                leases = renewed.rows_affected(),
                "leases were not looked after; they get their term again"
            );
            0
        } else {
            let ended = sqlx::query("DELETE FROM worker_leases WHERE expires_at <= clock_timestamp()");
            ended.execute(&mut *tx).await?.rows_affected()
        };
        if dropped > 0 {
            announce(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(dropped > 0)
    }
}

/// Whether compile would see no difference. A worker that started again with the same facts is the same to it.
fn same_facts(a: &WorkerLease, b: &WorkerLease) -> bool {
    a.pool == b.pool && a.address == b.address && a.ready == b.ready && a.versions == b.versions
}

async fn drop_lease(connection: &mut PgConnection, node_id: &str) -> Result<(), Fail> {
    sqlx::query("DELETE FROM worker_leases WHERE node_id = $1").bind(node_id).execute(connection).await?;
    Ok(())
}

async fn save(connection: &mut PgConnection, lease: &WorkerLease, ttl_ms: u64) -> Result<(), Fail> {
    let versions = serde_json::to_value(&lease.versions).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
    let ttl = i64::try_from(ttl_ms.clamp(1, MAX_TTL_MS)).unwrap_or(1);
    sqlx::query(
        "INSERT INTO worker_leases (node_id, incarnation, pool_namespace, pool_name, address, ready, versions, ttl_ms, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() + $8 * interval '1 millisecond')
         ON CONFLICT (node_id) DO UPDATE SET incarnation = excluded.incarnation,
             pool_namespace = excluded.pool_namespace, pool_name = excluded.pool_name, address = excluded.address,
             ready = excluded.ready, versions = excluded.versions, ttl_ms = excluded.ttl_ms,
             expires_at = excluded.expires_at",
    )
    .bind(&lease.node_id)
    .bind(&lease.incarnation)
    .bind(&lease.pool.namespace)
    .bind(&lease.pool.name)
    .bind(lease.address.to_string())
    .bind(lease.ready)
    .bind(versions)
    .bind(ttl)
    .execute(connection)
    .await?;
    Ok(())
}
