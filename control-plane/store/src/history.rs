//! The history: pages of it, and going back to a revision by appending new ones. It never changes a line that is written; only
//! `retention` takes lines away.
use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::{Row, postgres::PgRow};
use tidegate_policy::ports::{Author, ObjectKey, Outcome, Page, Revision, RollbackScope, StoreError, StoredObject};

use crate::{
    error::Fail,
    objects::{Desired, bad, check, put, remove},
    paging::Filling,
    reads::{newest, snapshot},
    rows::{self, ObjectRow, RevisionRow, object_columns, text},
    store::{Ask, By, PgStore},
    transaction::WriteTx,
};

/// What an object was after a revision; None when it was deleted.
type Past = Option<(Value, Value, Value)>;

impl PgStore {
    pub(crate) async fn history_page(
        &self,
        key: Option<&ObjectKey>,
        Ask { limit, after }: Ask<'_>,
    ) -> Result<Page<Revision>, Fail> {
        // Newest first; within a revision by object. The first condition is where the primary key is entered.
        const SQL: &str = "SELECT revision, at, author, source, kind, namespace, name, outcome, spec FROM revisions
             WHERE revision <= $1 AND (revision < $1 OR (kind, namespace, name) > ($2, $3, $4))
               AND ($5::text IS NULL OR (kind = $5 AND namespace = $6 AND name = $7))
             ORDER BY revision DESC, kind, namespace, name LIMIT $8";
        let (revision, kind, namespace, name) = after.map_or(Ok((i64::MAX, "", "", "")), token)?;
        let (mut revision, mut kind) = (revision, kind.to_owned());
        let (mut namespace, mut name) = (namespace.to_owned(), name.to_owned());
        let mut tx = snapshot(&self.pools.work).await?;
        let mut page = Filling::new(limit, self.options.page_bytes);
        while let Some(rows) = page.ask() {
            let rows = sqlx::query(SQL)
                .bind(revision)
                .bind(&kind)
                .bind(&namespace)
                .bind(&name)
                .bind(key.map(|k| k.kind.name()))
                .bind(key.map(|k| &k.object.namespace))
                .bind(key.map(|k| &k.object.name))
                .bind(rows)
                .fetch_all(&mut *tx)
                .await?;
            page.take::<RevisionRow>(&rows, |row| row.0)?;
            if let Some(last) = page.last() {
                (revision, kind) = (last.revision, last.key.kind.name().to_owned());
                (namespace, name) = (last.key.object.namespace.clone(), last.key.object.name.clone());
            }
        }
        let newest = newest(&mut tx).await?;
        tx.commit().await?;
        let (items, more) = page.end();
        let next = more.then(|| format!("{revision}/{kind}/{namespace}/{name}"));
        Ok(Page { items, next, revision: newest })
    }

    pub(crate) async fn roll_back(
        &self,
        (on, revision): (Option<i64>, i64),
        scope: &RollbackScope,
        by: By<'_>,
    ) -> Result<Vec<(StoredObject, Outcome)>, Fail> {
        let mut tx = WriteTx::begin(&self.pools.work, by).await?;
        let key = scope.object();
        let mut present = present(&mut tx, scope).await?;
        // One object is brought back whatever others write elsewhere.
        let (about, actual) = match key {
            Some(key) => (text(key), present.get(key).map_or(0, |object| object.revision)),
            None => ("the policy store".to_owned(), tx.current()),
        };
        if let Some(expected) = on.filter(|on| *on != actual) {
            return Err(StoreError::Conflict { key: about, expected, actual }.into());
        }
        if revision < 1 || revision > tx.current() {
            return Err(bad(format!("there is no revision {revision}; the newest is {}", tx.current())));
        }
        let past = past(&mut tx, revision, scope).await?;
        // Lines go from the old end of an object's history: one that is still there says what the object was.
        if revision < tx.kept_from && (key.is_none() || past.is_empty()) {
            let kept = tx.kept_from;
            return Err(bad(format!("the history is kept from revision {kept} on; revision {revision} is older")));
        }
        let mut keys: Vec<ObjectKey> = past.keys().chain(present.keys()).cloned().collect();
        keys.sort();
        keys.dedup();
        if let (RollbackScope::Namespace(namespace), true) = (scope, keys.is_empty()) {
            return Err(
                StoreError::NotFound { key: format!("an object in namespace {namespace}, now or then,") }.into()
            );
        }
        let mut results = Vec::new();
        for k in keys {
            let was = past.get(&k).cloned().flatten();
            let now = present.remove(&k);
            results.extend(restore(&mut tx, &k, (was, now), by.author).await?);
        }
        if let (Some(key), true) = (key, results.is_empty()) {
            return Err(StoreError::NotFound { key: text(key) }.into());
        }
        if key.is_none() {
            results.retain(|(_, outcome)| *outcome != Outcome::Unchanged);
        }
        tx.finish().await?;
        Ok(results)
    }
}

/// `revision/kind/namespace/name` of the last line of the page before.
fn token(text: &str) -> Result<(i64, &str, &str, &str), Fail> {
    let wrong = || bad("the continue token is not one of this list's".to_owned());
    let mut parts = text.split('/');
    let (Some(r), Some(k), Some(ns), Some(n), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    Ok((r.parse().map_err(|_| wrong())?, k, ns, n))
}

async fn past(tx: &mut WriteTx<'_>, revision: i64, scope: &RollbackScope) -> Result<BTreeMap<ObjectKey, Past>, Fail> {
    let rows: Vec<PgRow> = sqlx::query(
        "SELECT DISTINCT ON (kind, namespace, name) kind, namespace, name, labels, annotations, spec FROM revisions
         WHERE revision <= $1 AND ($2::text IS NULL OR (kind = $2 AND name = $4)) AND ($3::text IS NULL OR namespace = $3)
         ORDER BY kind, namespace, name, revision DESC",
    )
    .bind(revision)
    .bind(scope.object().map(|k| k.kind.name()))
    .bind(scope.namespace())
    .bind(scope.object().map(|k| &k.object.name))
    .fetch_all(tx.connection())
    .await?;
    let mut past = BTreeMap::new();
    for row in rows {
        let spec: Option<Value> = row.try_get("spec")?;
        let was = match spec {
            Some(spec) => Some((row.try_get("labels")?, row.try_get("annotations")?, spec)),
            None => None,
        };
        past.insert(rows::key(&row)?, was);
    }
    Ok(past)
}

async fn present(tx: &mut WriteTx<'_>, scope: &RollbackScope) -> Result<BTreeMap<ObjectKey, StoredObject>, Fail> {
    const SQL: &str = concat!(
        "SELECT ",
        object_columns!(),
        " FROM objects WHERE ($1::text IS NULL OR (kind = $1 AND name = $3)) AND ($2::text IS NULL OR namespace = $2)
          ORDER BY kind, namespace, name FOR UPDATE"
    );
    let rows: Vec<ObjectRow> = sqlx::query_as(SQL)
        .bind(scope.object().map(|k| k.kind.name()))
        .bind(scope.namespace())
        .bind(scope.object().map(|k| &k.object.name))
        .fetch_all(tx.connection())
        .await?;
    Ok(rows.into_iter().map(|r| (r.0.key.clone(), r.0)).collect())
}

/// Brings one object back. Only an object that would change must be the author's.
async fn restore(
    tx: &mut WriteTx<'_>,
    key: &ObjectKey,
    (was, now): (Past, Option<StoredObject>),
    author: &Author,
) -> Result<Option<(StoredObject, Outcome)>, Fail> {
    let Some((labels, annotations, spec)) = was else {
        let Some(now) = now else { return Ok(None) };
        check(key, Some(&now), author.source, None)?;
        return Ok(Some((remove(tx, now).await?, Outcome::Deleted)));
    };
    let owner = now.clone();
    let desired = Desired { key, labels: &labels, annotations: &annotations, spec: &spec };
    let (object, outcome) = put(tx, desired, now, author.source).await?;
    if outcome != Outcome::Unchanged {
        // The transaction ends without a commit when this refuses.
        check(key, owner.as_ref(), author.source, None)?;
    }
    Ok(Some((object, outcome)))
}
