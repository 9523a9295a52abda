//! Rows of the tables as the types of `policy::ports`, and back. No statements.
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, Row, postgres::PgRow};
use tidegate_policy::{
    kinds::Kind,
    ports::{
        AdminToken, ApiKey, NodeIdentity, NodeToken, ObjectKey, Outcome, Revision, Source, StoredObject, WorkerLease,
    },
    snapshot::ObjectRef,
};

/// The columns of an object, in the order that all statements use.
macro_rules! object_columns {
    () => {
        "kind, namespace, name, uid, generation, revision, created_at, source, labels, annotations, spec, status"
    };
}
pub(crate) use object_columns;

pub(crate) struct ObjectRow(pub StoredObject);
pub(crate) struct RevisionRow(pub Revision);
pub(crate) struct LeaseRow(pub WorkerLease);
pub(crate) struct ApiKeyRow(pub ApiKey);
pub(crate) struct NodeTokenRow(pub NodeToken);
pub(crate) struct AdminTokenRow(pub AdminToken);

fn decode<T>(column: &'static str, value: Option<T>) -> sqlx::Result<T> {
    value.ok_or_else(|| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "this version of the program does not know the value".into(),
    })
}

fn json<T: serde::de::DeserializeOwned>(row: &PgRow, column: &'static str) -> sqlx::Result<T> {
    let value: Value = row.try_get(column)?;
    serde_json::from_value(value)
        .map_err(|e| sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(e) })
}

pub(crate) fn source_name(source: Source) -> &'static str {
    match source {
        Source::Rest => "Rest",
        Source::File => "File",
        Source::Kubernetes => "Kubernetes",
    }
}

fn source(row: &PgRow) -> sqlx::Result<Source> {
    let value = match row.try_get::<&str, _>("source")? {
        "Rest" => Some(Source::Rest),
        "File" => Some(Source::File),
        "Kubernetes" => Some(Source::Kubernetes),
        _ => None,
    };
    decode("source", value)
}

pub(crate) fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "Created",
        Outcome::Configured => "Configured",
        Outcome::Unchanged => "Unchanged",
        Outcome::Deleted => "Deleted",
    }
}

fn outcome(row: &PgRow) -> sqlx::Result<Outcome> {
    let value = match row.try_get::<&str, _>("outcome")? {
        "Created" => Some(Outcome::Created),
        "Configured" => Some(Outcome::Configured),
        "Deleted" => Some(Outcome::Deleted),
        _ => None,
    };
    decode("outcome", value)
}

pub(crate) fn key(row: &PgRow) -> sqlx::Result<ObjectKey> {
    let kind = row.try_get::<&str, _>("kind")?;
    Ok(ObjectKey {
        kind: decode("kind", Kind::ALL.into_iter().find(|k| k.name() == kind))?,
        object: ObjectRef { namespace: row.try_get("namespace")?, name: row.try_get("name")? },
    })
}

/// `Model default/chat`, as messages name an object.
pub(crate) fn text(key: &ObjectKey) -> String {
    format!("{} {}/{}", key.kind.name(), key.object.namespace, key.object.name)
}

impl FromRow<'_, PgRow> for ObjectRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self(StoredObject {
            key: key(row)?,
            uid: row.try_get("uid")?,
            generation: row.try_get("generation")?,
            revision: row.try_get("revision")?,
            created_at: row.try_get("created_at")?,
            source: source(row)?,
            labels: row.try_get("labels")?,
            annotations: row.try_get("annotations")?,
            spec: row.try_get("spec")?,
            status: row.try_get("status")?,
        }))
    }
}

impl FromRow<'_, PgRow> for RevisionRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self(Revision {
            revision: row.try_get("revision")?,
            at: row.try_get("at")?,
            author: row.try_get("author")?,
            source: source(row)?,
            key: key(row)?,
            outcome: outcome(row)?,
            spec: row.try_get("spec")?,
        }))
    }
}

impl FromRow<'_, PgRow> for LeaseRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let address: &str = row.try_get("address")?;
        Ok(Self(WorkerLease {
            node_id: row.try_get("node_id")?,
            incarnation: row.try_get("incarnation")?,
            pool: ObjectRef { namespace: row.try_get("pool_namespace")?, name: row.try_get("pool_name")? },
            address: decode("address", address.parse().ok())?,
            ready: row.try_get("ready")?,
            versions: json(row, "versions")?,
            expires_at: row.try_get("expires_at")?,
        }))
    }
}

impl FromRow<'_, PgRow> for ApiKeyRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self(ApiKey {
            id: row.try_get("id")?,
            tenant: row.try_get("tenant")?,
            description: row.try_get("description")?,
            jwk: row.try_get("jwk")?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get::<Option<DateTime<Utc>>, _>("expires_at")?,
            revoked_at: row.try_get::<Option<DateTime<Utc>>, _>("revoked_at")?,
        }))
    }
}

impl FromRow<'_, PgRow> for NodeTokenRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self(NodeToken {
            sha256: row.try_get("sha256")?,
            identity: NodeIdentity { node_id: row.try_get("node_id")?, role: json(row, "role")? },
            created_at: row.try_get("created_at")?,
            ends_at: row.try_get("ends_at")?,
            last_used_at: row.try_get("last_used_at")?,
        }))
    }
}

impl FromRow<'_, PgRow> for AdminTokenRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self(AdminToken {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            sha256: row.try_get("sha256")?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
            revoked_at: row.try_get("revoked_at")?,
            last_used_at: row.try_get("last_used_at")?,
        }))
    }
}
