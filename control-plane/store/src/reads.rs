//! Reads of objects, each from one snapshot of the database. They take no lock and change nothing.
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use tidegate_policy::{
    kinds::Kind,
    ports::{Everything, ObjectKey, Page, StoreError, StoredObject},
};

use crate::{
    error::Fail,
    objects::bad,
    paging::Filling,
    rows::{AdminTokenRow, ApiKeyRow, LeaseRow, NodeTokenRow, ObjectRow, object_columns, text},
    session::check_durable,
    store::{Ask, PgStore},
    tokens::{good_admin, good_node},
};

pub(crate) async fn snapshot(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
}

pub(crate) async fn newest(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT revision FROM store_revision").fetch_one(connection).await
}

impl PgStore {
    pub(crate) async fn get_one(&self, key: &ObjectKey) -> Result<StoredObject, Fail> {
        const SQL: &str =
            concat!("SELECT ", object_columns!(), " FROM objects WHERE kind = $1 AND namespace = $2 AND name = $3");
        let row: Option<ObjectRow> = sqlx::query_as(SQL)
            .bind(key.kind.name())
            .bind(&key.object.namespace)
            .bind(&key.object.name)
            .fetch_optional(&self.pools.work)
            .await?;
        Ok(row.ok_or_else(|| StoreError::NotFound { key: text(key) })?.0)
    }

    pub(crate) async fn list_page(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        Ask { limit, after }: Ask<'_>,
    ) -> Result<Page<StoredObject>, Fail> {
        const SQL: &str = concat!(
            "SELECT ",
            object_columns!(),
            " FROM objects WHERE kind = $1 AND ($2::text IS NULL OR namespace = $2) AND (namespace, name) > ($3, $4)
              ORDER BY namespace, name LIMIT $5"
        );
        let (after_namespace, after_name) = match after {
            None => ("", ""),
            Some(token) => token
                .split_once('/')
                .filter(|(_, name)| !name.contains('/'))
                .ok_or_else(|| bad("the continue token is not one of this list's".to_owned()))?,
        };
        let (mut after_namespace, mut after_name) = (after_namespace.to_owned(), after_name.to_owned());
        let mut tx = snapshot(&self.pools.work).await?;
        let mut page = Filling::new(limit, self.options.page_bytes);
        while let Some(rows) = page.ask() {
            let rows = sqlx::query(SQL)
                .bind(kind.name())
                .bind(namespace)
                .bind(&after_namespace)
                .bind(&after_name)
                .bind(rows)
                .fetch_all(&mut *tx)
                .await?;
            page.take::<ObjectRow>(&rows, |row| row.0)?;
            if let Some(last) = page.last() {
                (after_namespace, after_name) = (last.key.object.namespace.clone(), last.key.object.name.clone());
            }
        }
        let revision = newest(&mut tx).await?;
        tx.commit().await?;
        let (items, more) = page.end();
        let next = more.then(|| format!("{after_namespace}/{after_name}"));
        Ok(Page { items, next, revision })
    }

    pub(crate) async fn everything(&self) -> Result<Everything, Fail> {
        const OBJECTS: &str = concat!("SELECT ", object_columns!(), " FROM objects ORDER BY kind, namespace, name");
        const NODE_TOKENS: &str =
            concat!("SELECT * FROM node_tokens WHERE ", good_node!(), " ORDER BY node_id, created_at");
        const ADMIN_TOKENS: &str = concat!("SELECT * FROM admin_tokens WHERE ", good_admin!(), " ORDER BY name");
        let mut tx = snapshot(&self.pools.upkeep).await?;
        let objects: Vec<ObjectRow> = sqlx::query_as(OBJECTS).fetch_all(&mut *tx).await?;
        let fleet: Vec<LeaseRow> =
            sqlx::query_as("SELECT * FROM worker_leases ORDER BY node_id").fetch_all(&mut *tx).await?;
        let api_keys: Vec<ApiKeyRow> = sqlx::query_as(
            "SELECT * FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) ORDER BY id",
        )
        .fetch_all(&mut *tx)
        .await?;
        let node_tokens: Vec<NodeTokenRow> = sqlx::query_as(NODE_TOKENS).fetch_all(&mut *tx).await?;
        let admin_tokens: Vec<AdminTokenRow> = sqlx::query_as(ADMIN_TOKENS).fetch_all(&mut *tx).await?;
        let revision = newest(&mut tx).await?;
        tx.commit().await?;
        Ok(Everything {
            revision,
            objects: objects.into_iter().map(|r| r.0).collect(),
            fleet: fleet.into_iter().map(|r| r.0).collect(),
            api_keys: api_keys.into_iter().map(|r| r.0).collect(),
            node_tokens: node_tokens.into_iter().map(|r| r.0).collect(),
            admin_tokens: admin_tokens.into_iter().map(|r| r.0).collect(),
        })
    }

    /// The server answers, is writable, and still keeps what it answers.
    pub(crate) async fn check_ready(&self) -> Result<(), Fail> {
        let mut connection = self.pools.upkeep.acquire().await?;
        Ok(check_durable(&mut connection).await?)
    }
}
