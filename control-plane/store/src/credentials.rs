//! Tokens and keys: hashes and public halves only. Each change wakes the readers, so that a revocation is everywhere at once.
use sqlx::PgPool;
use tidegate_policy::ports::{AdminToken, ApiKey, CredentialStore, NodeToken, Page, StoreError};

use crate::{
    error::Fail,
    paging::MAX_PAGE,
    reads::{newest, snapshot},
    rows::ApiKeyRow,
    store::PgStore,
    transaction::announce,
};

#[async_trait::async_trait]
impl CredentialStore for PgStore {
    async fn add_admin_token(&self, token: &AdminToken) -> Result<bool, StoreError> {
        self.run("add_admin_token", || add_admin_token(&self.pool, token)).await
    }

    async fn put_node_token(&self, token: &NodeToken) -> Result<(), StoreError> {
        self.run("put_node_token", || put_node_token(&self.pool, token)).await
    }

    async fn revoke_node_token(&self, node_id: &str) -> Result<(), StoreError> {
        self.run("revoke_node_token", || revoke_node_token(&self.pool, node_id)).await
    }

    async fn add_api_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.run("add_api_key", || add_api_key(&self.pool, key)).await
    }

    async fn list_api_keys(&self, limit: u32, after: Option<&str>) -> Result<Page<ApiKey>, StoreError> {
        self.run("list_api_keys", || list_api_keys(&self.pool, limit, after)).await
    }

    async fn revoke_api_key(&self, id: &str) -> Result<ApiKey, StoreError> {
        self.run("revoke_api_key", || revoke_api_key(&self.pool, id)).await
    }
}

async fn add_admin_token(pool: &PgPool, token: &AdminToken) -> Result<bool, Fail> {
    let mut tx = pool.begin().await?;
    let added = sqlx::query("INSERT INTO admin_tokens (name, sha256) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(&token.name)
        .bind(&token.sha256)
        .execute(&mut *tx)
        .await?
        .rows_affected()
        > 0;
    if added {
        announce(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(added)
}

async fn put_node_token(pool: &PgPool, token: &NodeToken) -> Result<(), Fail> {
    let role = serde_json::to_value(&token.identity.role).map_err(|e| sqlx::Error::Encode(Box::new(e)))?;
    let mut tx = pool.begin().await?;
    sqlx::query(
        "INSERT INTO node_tokens (node_id, sha256, role, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (node_id) DO UPDATE SET sha256 = excluded.sha256, role = excluded.role, created_at = excluded.created_at",
    )
    .bind(&token.identity.node_id)
    .bind(&token.sha256)
    .bind(role)
    .bind(token.created_at)
    .execute(&mut *tx)
    .await?;
    announce(&mut tx).await?;
    Ok(tx.commit().await?)
}

async fn revoke_node_token(pool: &PgPool, node_id: &str) -> Result<(), Fail> {
    let mut tx = pool.begin().await?;
    let gone = sqlx::query("DELETE FROM node_tokens WHERE node_id = $1").bind(node_id).execute(&mut *tx).await?;
    if gone.rows_affected() == 0 {
        return Err(StoreError::NotFound { key: format!("node token {node_id}") }.into());
    }
    announce(&mut tx).await?;
    Ok(tx.commit().await?)
}

async fn add_api_key(pool: &PgPool, key: &ApiKey) -> Result<(), Fail> {
    let mut tx = pool.begin().await?;
    sqlx::query(
        "INSERT INTO api_keys (id, tenant, description, jwk, created_at, expires_at, revoked_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&key.id)
    .bind(&key.tenant)
    .bind(&key.description)
    .bind(&key.jwk)
    .bind(key.created_at)
    .bind(key.expires_at)
    .bind(key.revoked_at)
    .execute(&mut *tx)
    .await?;
    announce(&mut tx).await?;
    Ok(tx.commit().await?)
}

async fn list_api_keys(pool: &PgPool, limit: u32, after: Option<&str>) -> Result<Page<ApiKey>, Fail> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut tx = snapshot(pool).await?;
    let rows: Vec<ApiKeyRow> = sqlx::query_as("SELECT * FROM api_keys WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after.unwrap_or_default())
        .bind(i64::from(limit) + 1)
        .fetch_all(&mut *tx)
        .await?;
    let revision = newest(&mut tx).await?;
    tx.commit().await?;
    let mut items: Vec<ApiKey> = rows.into_iter().map(|r| r.0).collect();
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| more).map(|k| k.id.clone());
    Ok(Page { items, next, revision })
}

async fn revoke_api_key(pool: &PgPool, id: &str) -> Result<ApiKey, Fail> {
    let mut tx = pool.begin().await?;
    let row: Option<ApiKeyRow> =
        sqlx::query_as("UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING *")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
    let Some(ApiKeyRow(key)) = row else {
        return Err(StoreError::NotFound { key: format!("API key {id}") }.into());
    };
    announce(&mut tx).await?;
    tx.commit().await?;
    Ok(key)
}
