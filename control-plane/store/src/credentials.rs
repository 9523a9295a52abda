//! API keys: public halves only. Each change wakes the readers, so that a revocation is everywhere at once.
use sqlx::PgPool;
use tidegate_policy::ports::{
    AdminToken, AdminTokenAdded, AdminTokenRevoked, ApiKey, CredentialStore, NodeToken, Page, StoreError,
};

use crate::{
    error::Fail,
    paging::{MAX_PAGE, cut},
    reads::{newest, snapshot},
    retry::Lane,
    rows::ApiKeyRow,
    store::PgStore,
    tokens,
    transaction::announce,
};

type Used = (Vec<u8>, chrono::DateTime<chrono::Utc>);

#[async_trait::async_trait]
impl CredentialStore for PgStore {
    async fn add_admin_token(&self, token: &AdminToken) -> Result<AdminTokenAdded, StoreError> {
        self.run(Lane::Write, "add_admin_token", || tokens::add_admin(&self.pools.work, token)).await
    }

    async fn list_admin_tokens(&self, limit: u32, after: Option<&str>) -> Result<Page<AdminToken>, StoreError> {
        self.run(Lane::Read, "list_admin_tokens", || tokens::list_admins(&self.pools.work, limit, after)).await
    }

    async fn revoke_admin_token(&self, id: &str, last: bool) -> Result<AdminTokenRevoked, StoreError> {
        self.run(Lane::Write, "revoke_admin_token", || tokens::revoke_admin(&self.pools.work, id, last)).await
    }

    async fn add_node_token(&self, token: &NodeToken) -> Result<Option<NodeToken>, StoreError> {
        self.run(Lane::Write, "add_node_token", || tokens::add_node(&self.pools.work, token)).await
    }

    async fn rotate_node_token(&self, token: &NodeToken, grace_ms: u64) -> Result<(), StoreError> {
        self.run(Lane::Write, "rotate_node_token", || tokens::rotate_node(&self.pools.work, token, grace_ms)).await
    }

    async fn list_node_tokens(&self, limit: u32, after: Option<&str>) -> Result<Page<NodeToken>, StoreError> {
        self.run(Lane::Read, "list_node_tokens", || tokens::list_nodes(&self.pools.work, limit, after)).await
    }

    async fn revoke_node_token(&self, node_id: &str) -> Result<(), StoreError> {
        self.run(Lane::Write, "revoke_node_token", || tokens::revoke_node(&self.pools.work, node_id)).await
    }

    async fn tokens_used(&self, used: &[Used]) -> Result<(), StoreError> {
        self.run(Lane::Upkeep, "tokens_used", || tokens::used(&self.pools.upkeep, used)).await
    }

    async fn add_api_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.run(Lane::Write, "add_api_key", || add_api_key(&self.pools.work, key)).await
    }

    async fn list_api_keys(&self, limit: u32, after: Option<&str>) -> Result<Page<ApiKey>, StoreError> {
        self.run(Lane::Read, "list_api_keys", || list_api_keys(&self.pools.work, limit, after)).await
    }

    async fn revoke_api_key(&self, id: &str) -> Result<ApiKey, StoreError> {
        self.run(Lane::Write, "revoke_api_key", || revoke_api_key(&self.pools.work, id)).await
    }
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
    let (items, next) = cut(rows.into_iter().map(|r| r.0).collect(), limit, |k: &ApiKey| k.id.clone());
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
