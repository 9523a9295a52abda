//! Tokens of administrators and nodes: hashes only. Each change wakes the readers, so that a revocation is everywhere at once; a use does
//! not.
use sqlx::{PgConnection, PgPool};
use tidegate_policy::ports::{AdminToken, AdminTokenAdded, AdminTokenRevoked, NodeToken, Page, StoreError};

use crate::{
    error::Fail,
    paging::{MAX_PAGE, cut},
    reads::{newest, snapshot},
    rows::{AdminTokenRow, NodeTokenRow},
    transaction::announce,
};

/// Longest life of a token after it was replaced: thirty days.
const LONGEST_GRACE_MS: u64 = 30 * 86_400_000;

/// Whether a row of `admin_tokens` opens anything.
macro_rules! good_admin {
    () => {
        "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())"
    };
}
pub(crate) use good_admin;

/// Whether a row of `node_tokens` opens anything.
macro_rules! good_node {
    () => {
        "(ends_at IS NULL OR ends_at > clock_timestamp())"
    };
}
pub(crate) use good_node;

/// Names are unique among the tokens that are good, and the last one is found out: one writer at a time. Readers go on.
async fn alone(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("LOCK TABLE admin_tokens IN SHARE ROW EXCLUSIVE MODE").execute(connection).await.map(drop)
}

pub(crate) async fn add_admin(pool: &PgPool, token: &AdminToken) -> Result<AdminTokenAdded, Fail> {
    const SAME: &str = concat!(
        "SELECT sha256 = $1 AND NOT (",
        good_admin!(),
        ") FROM admin_tokens WHERE sha256 = $1 OR (name = $2 AND ",
        good_admin!(),
        ") ORDER BY sha256 = $1 DESC LIMIT 1"
    );
    let mut tx = pool.begin().await?;
    alone(&mut tx).await?;
    let same: Option<bool> =
        sqlx::query_scalar(SAME).bind(&token.sha256).bind(&token.name).fetch_optional(&mut *tx).await?;
    if let Some(ended) = same {
        return Ok(if ended { AdminTokenAdded::Ended } else { AdminTokenAdded::NameTaken });
    }
    sqlx::query("INSERT INTO admin_tokens (id, name, sha256, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(&token.id)
        .bind(&token.name)
        .bind(&token.sha256)
        .bind(token.created_at)
        .bind(token.expires_at)
        .execute(&mut *tx)
        .await?;
    announce(&mut tx).await?;
    tx.commit().await?;
    Ok(AdminTokenAdded::Added)
}

pub(crate) async fn list_admins(pool: &PgPool, limit: u32, after: Option<&str>) -> Result<Page<AdminToken>, Fail> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut tx = snapshot(pool).await?;
    let rows: Vec<AdminTokenRow> = sqlx::query_as("SELECT * FROM admin_tokens WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after.unwrap_or_default())
        .bind(i64::from(limit) + 1)
        .fetch_all(&mut *tx)
        .await?;
    let revision = newest(&mut tx).await?;
    tx.commit().await?;
    let (items, next) = cut(rows.into_iter().map(|r| r.0).collect(), limit, |t: &AdminToken| t.id.clone());
    Ok(Page { items, next, revision })
}

pub(crate) async fn revoke_admin(pool: &PgPool, id: &str, last: bool) -> Result<AdminTokenRevoked, Fail> {
    // The last one that opens anything: it does, and no other does.
    const LAST: &str = concat!("SELECT coalesce(bool_and(id = $1), false) FROM admin_tokens WHERE ", good_admin!());
    let mut tx = pool.begin().await?;
    alone(&mut tx).await?;
    let row: Option<AdminTokenRow> =
        sqlx::query_as("SELECT * FROM admin_tokens WHERE id = $1").bind(id).fetch_optional(&mut *tx).await?;
    let Some(AdminTokenRow(mut token)) = row else {
        return Err(StoreError::NotFound { key: format!("admin token {id}") }.into());
    };
    if token.revoked_at.is_some() {
        return Ok(AdminTokenRevoked::Revoked(token));
    }
    let is_last: bool = sqlx::query_scalar(LAST).bind(id).fetch_one(&mut *tx).await?;
    if is_last && !last {
        return Ok(AdminTokenRevoked::IsLast(token));
    }
    let at =
        sqlx::query_scalar("UPDATE admin_tokens SET revoked_at = clock_timestamp() WHERE id = $1 RETURNING revoked_at");
    token.revoked_at = at.bind(id).fetch_one(&mut *tx).await?;
    announce(&mut tx).await?;
    tx.commit().await?;
    Ok(AdminTokenRevoked::Revoked(token))
}

pub(crate) async fn add_node(pool: &PgPool, token: &NodeToken) -> Result<Option<NodeToken>, Fail> {
    let mut tx = pool.begin().await?;
    let held: Option<NodeTokenRow> = sqlx::query_as("SELECT * FROM node_tokens WHERE node_id = $1 AND ends_at IS NULL")
        .bind(&token.identity.node_id)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(NodeTokenRow(held)) = held {
        return Ok(Some(held));
    }
    // Of two at once one finds the unique index, tries again and finds the other's token.
    insert_node(&mut tx, token).await?;
    announce(&mut tx).await?;
    tx.commit().await?;
    Ok(None)
}

pub(crate) async fn rotate_node(pool: &PgPool, token: &NodeToken, grace_ms: u64) -> Result<(), Fail> {
    const GRACE: &str = "UPDATE node_tokens
        SET ends_at = least(ends_at, clock_timestamp() + $2::bigint * interval '1 millisecond') WHERE node_id = $1";
    const ENDED: &str = concat!("DELETE FROM node_tokens WHERE NOT ", good_node!());
    let mut tx = pool.begin().await?;
    let grace = i64::try_from(grace_ms.min(LONGEST_GRACE_MS)).unwrap_or(0);
    sqlx::query(GRACE).bind(&token.identity.node_id).bind(grace).execute(&mut *tx).await?;
    sqlx::query(ENDED).execute(&mut *tx).await?;
    insert_node(&mut tx, token).await?;
    announce(&mut tx).await?;
    Ok(tx.commit().await?)
}

async fn insert_node(connection: &mut PgConnection, token: &NodeToken) -> Result<(), Fail> {
    let role = serde_json::to_value(&token.identity.role).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
    sqlx::query("INSERT INTO node_tokens (node_id, sha256, role, created_at) VALUES ($1, $2, $3, $4)")
        .bind(&token.identity.node_id)
        .bind(&token.sha256)
        .bind(role)
        .bind(token.created_at)
        .execute(connection)
        .await?;
    Ok(())
}

pub(crate) async fn list_nodes(pool: &PgPool, limit: u32, after: Option<&str>) -> Result<Page<NodeToken>, Fail> {
    // A page ends between two nodes, so that none is told of in two halves.
    const SQL: &str = concat!(
        "SELECT t.* FROM node_tokens t JOIN (
             SELECT node_id FROM node_tokens WHERE node_id > $1 AND ",
        good_node!(),
        " GROUP BY node_id ORDER BY node_id LIMIT $2) page USING (node_id)
         WHERE ",
        good_node!(),
        " ORDER BY node_id, t.ends_at DESC NULLS FIRST, t.created_at DESC"
    );
    let limit = limit.clamp(1, MAX_PAGE);
    let mut tx = snapshot(pool).await?;
    let rows: Vec<NodeTokenRow> =
        sqlx::query_as(SQL).bind(after.unwrap_or_default()).bind(i64::from(limit) + 1).fetch_all(&mut *tx).await?;
    let revision = newest(&mut tx).await?;
    tx.commit().await?;
    let (mut items, mut nodes, mut next): (Vec<NodeToken>, u32, Option<String>) = (Vec::new(), 0, None);
    for NodeTokenRow(token) in rows {
        let last = items.last().map(|t| &t.identity.node_id);
        if last != Some(&token.identity.node_id) {
            if nodes == limit {
                next = last.cloned();
                break;
            }
            nodes += 1;
        }
        items.push(token);
    }
    Ok(Page { items, next, revision })
}

pub(crate) async fn revoke_node(pool: &PgPool, node_id: &str) -> Result<(), Fail> {
    let mut tx = pool.begin().await?;
    let gone = sqlx::query("DELETE FROM node_tokens WHERE node_id = $1").bind(node_id).execute(&mut *tx).await?;
    if gone.rows_affected() == 0 {
        return Err(StoreError::NotFound { key: format!("node token {node_id}") }.into());
    }
    announce(&mut tx).await?;
    Ok(tx.commit().await?)
}

/// Nobody is woken, and a use that is lost with a crash is no harm: nothing is asked of the server besides.
pub(crate) async fn used(pool: &PgPool, used: &[(Vec<u8>, chrono::DateTime<chrono::Utc>)]) -> Result<(), Fail> {
    let (hashes, times): (Vec<&[u8]>, Vec<_>) = used.iter().map(|(hash, at)| (hash.as_slice(), *at)).unzip();
    let mut tx = pool.begin().await?;
    for sql in [
        "UPDATE admin_tokens t SET last_used_at = greatest(t.last_used_at, u.at)
         FROM unnest($1::bytea[], $2::timestamptz[]) AS u(sha256, at) WHERE t.sha256 = u.sha256",
        "UPDATE node_tokens t SET last_used_at = greatest(t.last_used_at, u.at)
         FROM unnest($1::bytea[], $2::timestamptz[]) AS u(sha256, at) WHERE t.sha256 = u.sha256",
    ] {
        sqlx::query(sql).bind(&hashes).bind(&times).execute(&mut *tx).await?;
    }
    Ok(tx.commit().await?)
}
