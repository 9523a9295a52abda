//! Writes of objects inside a [`WriteTx`]: create or change, delete, adopt. Optimistic concurrency and ownership are
//! decided here, nowhere else.
use serde_json::Value;
use tidegate_policy::ports::{ANY_REVISION, Author, ObjectKey, Outcome, Source, StoreError, StoredObject, Write};
use uuid::Uuid;

use crate::{
    error::Fail,
    rows::{ObjectRow, object_columns, source_name, text},
    store::{By, PgStore},
    transaction::WriteTx,
};

/// Most writes of one batch.
const MAX_BATCH: usize = 500;

/// What an object is to become.
pub(crate) struct Desired<'a> {
    pub key: &'a ObjectKey,
    pub labels: &'a Value,
    pub annotations: &'a Value,
    pub spec: &'a Value,
}

impl PgStore {
    pub(crate) async fn write_batch(&self, batch: &[Write], by: By<'_>) -> Result<Vec<(StoredObject, Outcome)>, Fail> {
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.sort_by(|a, b| batch[*a].key.cmp(&batch[*b].key));
        if batch.len() > MAX_BATCH {
            return Err(bad(format!("a batch holds at most {MAX_BATCH} objects, this one {}", batch.len())));
        }
        if let Some(pair) = order.windows(2).find(|w| batch[w[0]].key == batch[w[1]].key) {
            return Err(bad(format!("{} is there twice", text(&batch[pair[0]].key))));
        }
        let mut tx = WriteTx::begin(&self.pools.work, by).await?;
        let mut results: Vec<Option<(StoredObject, Outcome)>> = vec![None; batch.len()];
        for i in order {
            let write = &batch[i];
            let current = lock(&mut tx, &write.key).await?;
            check(&write.key, current.as_ref(), by.author.source, write.expected_revision)?;
            let desired =
                Desired { key: &write.key, labels: &write.labels, annotations: &write.annotations, spec: &write.spec };
            results[i] = Some(put(&mut tx, desired, current, by.author.source).await?);
        }
        tx.finish().await?;
        Ok(results.into_iter().flatten().collect())
    }

    pub(crate) async fn delete_one(
        &self,
        key: &ObjectKey,
        expected: Option<i64>,
        by: By<'_>,
    ) -> Result<StoredObject, Fail> {
        let mut tx = WriteTx::begin(&self.pools.work, by).await?;
        let Some(current) = lock(&mut tx, key).await? else {
            return Err(StoreError::NotFound { key: text(key) }.into());
        };
        check(key, Some(&current), by.author.source, expected)?;
        let deleted = remove(&mut tx, current).await?;
        tx.finish().await?;
        Ok(deleted)
    }

    pub(crate) async fn adopt_one(&self, key: &ObjectKey, author: &Author) -> Result<StoredObject, Fail> {
        let mut tx = WriteTx::begin(&self.pools.work, By { author, dry_run: false }).await?;
        let Some(mut object) = lock(&mut tx, key).await? else {
            return Err(StoreError::NotFound { key: text(key) }.into());
        };
        if object.source != author.source {
            object.source = author.source;
            object.revision = tx.next;
            save(&mut tx, &object).await?;
            tx.record(&object, Outcome::Configured).await?;
        }
        tx.finish().await?;
        Ok(object)
    }
}

pub(crate) fn bad(what: String) -> Fail {
    StoreError::BadRequest { what }.into()
}

/// Ownership first: whoever may not write learns nothing about revisions.
pub(crate) fn check(
    key: &ObjectKey,
    current: Option<&StoredObject>,
    source: Source,
    expected: Option<i64>,
) -> Result<(), StoreError> {
    if let Some(owner) = current.map(|o| o.source).filter(|owner| *owner != source) {
        return Err(StoreError::OwnedElsewhere { key: text(key), owner });
    }
    let actual = current.map_or(0, |o| o.revision);
    match expected {
        Some(ANY_REVISION) if current.is_none() => Err(StoreError::NotFound { key: text(key) }),
        Some(expected) if expected != actual && expected != ANY_REVISION => {
            Err(StoreError::Conflict { key: text(key), expected, actual })
        }
        Some(_) | None => Ok(()),
    }
}

pub(crate) async fn lock(tx: &mut WriteTx<'_>, key: &ObjectKey) -> Result<Option<StoredObject>, Fail> {
    const SQL: &str = concat!(
        "SELECT ",
        object_columns!(),
        " FROM objects WHERE kind = $1 AND namespace = $2 AND name = $3 FOR UPDATE"
    );
    let row: Option<ObjectRow> = sqlx::query_as(SQL)
        .bind(key.kind.name())
        .bind(&key.object.namespace)
        .bind(&key.object.name)
        .fetch_optional(tx.connection())
        .await?;
    Ok(row.map(|r| r.0))
}

/// Creates or changes an object, or finds that nothing differs.
pub(crate) async fn put(
    tx: &mut WriteTx<'_>,
    desired: Desired<'_>,
    current: Option<StoredObject>,
    source: Source,
) -> Result<(StoredObject, Outcome), Fail> {
    let Some(mut object) = current else {
        let mut object = create(tx, desired, source).await?;
        tx.record(&object, Outcome::Created).await?;
        object.revision = tx.told(0);
        return Ok((object, Outcome::Created));
    };
    // Compared as jsonb, where 1 and 1.0 are the same number.
    let (same_spec, same_rest): (bool, bool) =
        sqlx::query_as("SELECT $1::jsonb = $2::jsonb, $3::jsonb = $4::jsonb AND $5::jsonb = $6::jsonb")
            .bind(&object.spec)
            .bind(desired.spec)
            .bind(&object.labels)
            .bind(desired.labels)
            .bind(&object.annotations)
            .bind(desired.annotations)
            .fetch_one(tx.connection())
            .await?;
    if same_spec && same_rest {
        return Ok((object, Outcome::Unchanged));
    }
    let stored = std::mem::replace(&mut object.revision, tx.next);
    object.generation += i64::from(!same_spec);
    object.labels = desired.labels.clone();
    object.annotations = desired.annotations.clone();
    object.spec = desired.spec.clone();
    save(tx, &object).await?;
    tx.record(&object, Outcome::Configured).await?;
    object.revision = tx.told(stored);
    Ok((object, Outcome::Configured))
}

async fn create(tx: &mut WriteTx<'_>, desired: Desired<'_>, source: Source) -> Result<StoredObject, Fail> {
    let object = StoredObject {
        key: desired.key.clone(),
        uid: Uuid::new_v4(),
        generation: 1,
        revision: tx.next,
        created_at: tx.now,
        source,
        labels: desired.labels.clone(),
        annotations: desired.annotations.clone(),
        spec: desired.spec.clone(),
        status: Value::Object(serde_json::Map::new()),
    };
    sqlx::query(
        "INSERT INTO objects (kind, namespace, name, uid, generation, revision, created_at, source, labels, annotations, spec)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(object.key.kind.name())
    .bind(&object.key.object.namespace)
    .bind(&object.key.object.name)
    .bind(object.uid)
    .bind(object.generation)
    .bind(object.revision)
    .bind(object.created_at)
    .bind(source_name(object.source))
    .bind(&object.labels)
    .bind(&object.annotations)
    .bind(&object.spec)
    .execute(tx.connection())
    .await?;
    Ok(object)
}

async fn save(tx: &mut WriteTx<'_>, object: &StoredObject) -> Result<(), Fail> {
    sqlx::query(
        "UPDATE objects SET generation = $2, revision = $3, source = $4, labels = $5, annotations = $6, spec = $7
         WHERE uid = $1",
    )
    .bind(object.uid)
    .bind(object.generation)
    .bind(object.revision)
    .bind(source_name(object.source))
    .bind(&object.labels)
    .bind(&object.annotations)
    .bind(&object.spec)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Deletes an object; the answer carries the revision that did it (see [`WriteTx::told`] for a dry run).
pub(crate) async fn remove(tx: &mut WriteTx<'_>, mut object: StoredObject) -> Result<StoredObject, Fail> {
    sqlx::query("DELETE FROM objects WHERE uid = $1").bind(object.uid).execute(tx.connection()).await?;
    tx.record(&object, Outcome::Deleted).await?;
    object.revision = tx.told(object.revision);
    Ok(object)
}
