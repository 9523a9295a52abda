//! Several documents at once: apply them all or none, or show what applying would change.
use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use tidegate_policy::ports::{Author, StoredObject};
use utoipa::ToSchema;

use super::{
    AdminState, ApiError, Problem, documents,
    explain::difference,
    input::{Body, InQuery, WriteQuery},
    render,
};

/// What an apply did.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// The revision that holds these documents: a new one if anything changed. Null in a dry run, which makes none.
    pub revision: Option<i64>,
    /// One per document, in their order.
    pub results: Vec<AppliedObject>,
}

/// What an apply did to one object.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedObject {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// `Created`, `Configured` or `Unchanged`.
    pub outcome: String,
    /// In a dry run what is stored now: null when nothing is.
    pub resource_version: Option<String>,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

/// What an apply would change.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Differences {
    pub changes: Vec<Difference>,
    pub warnings: Vec<String>,
}

/// How one object would change.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// `Created`, `Configured` or `Unchanged`.
    pub outcome: String,
    /// Unified text of the YAML; empty when unchanged.
    pub diff: String,
}

/// Applies every document of the body (YAML with several documents, or JSON, at most 500), or none of them.
#[utoipa::path(post, operation_id = "apply_documents", path = "/api/v1/apply", tag = "objects", params(WriteQuery),
    request_body(content((ref("#/components/schemas/Documents") = "application/json"),
                         (ref("#/components/schemas/Documents") = "application/yaml"))),
    responses((status = 200, body = Applied),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn apply(
    State(state): State<AdminState>,
    Extension(author): Extension<Author>,
    InQuery(query): InQuery<WriteQuery>,
    Body(bytes): Body,
) -> Result<Json<Applied>, ApiError> {
    let objects = documents::read(&bytes)?;
    let writes = objects.iter().map(|o| o.to_write()).collect();
    let done = state.store.write(writes, &author, query.dry_run).await?;
    let stored: Vec<StoredObject> = done.iter().map(|(object, _)| object.clone()).collect();
    // The write is done; what is said about it must not turn it into a failure.
    let mut warnings = documents::beside(documents::warnings(&state, &stored)).await.into_iter();
    let results: Vec<AppliedObject> = done
        .iter()
        .map(|(object, outcome)| AppliedObject {
            kind: object.key.kind.name().to_owned(),
            namespace: object.key.object.namespace.clone(),
            name: object.key.object.name.clone(),
            outcome: render::outcome(*outcome).to_owned(),
            resource_version: render::version(object),
            warnings: warnings.next().unwrap_or_default(),
        })
        .collect();
    let revision = stored.iter().map(|o| o.revision).max().filter(|_| !query.dry_run);
    Ok(Json(Applied { revision, results }))
}

/// Shows what applying the body would change, and changes nothing.
#[utoipa::path(post, operation_id = "diff_documents", path = "/api/v1/diff", tag = "objects",
    request_body(content((ref("#/components/schemas/Documents") = "application/json"),
                         (ref("#/components/schemas/Documents") = "application/yaml"))),
    responses((status = 200, body = Differences),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn diff(
    State(state): State<AdminState>,
    Extension(author): Extension<Author>,
    Body(bytes): Body,
) -> Result<Json<Differences>, ApiError> {
    let objects = documents::read(&bytes)?;
    let mut before = Vec::with_capacity(objects.len());
    for object in &objects {
        before.push(documents::current(&state, object.key()).await?);
    }
    let writes = objects.iter().map(|o| o.to_write()).collect();
    let done = state.store.write(writes, &author, true).await?;
    let after: Vec<StoredObject> = done.iter().map(|(object, _)| object.clone()).collect();
    let warnings = documents::warnings(&state, &after).await?;
    let changes = done
        .iter()
        .zip(&before)
        .map(|((object, outcome), old)| Difference {
            kind: object.key.kind.name().to_owned(),
            namespace: object.key.object.namespace.clone(),
            name: object.key.object.name.clone(),
            outcome: render::outcome(*outcome).to_owned(),
            diff: difference(old.as_ref(), object),
        })
        .collect();
    let mut warnings = warnings.concat();
    warnings.sort();
    warnings.dedup();
    Ok(Json(Differences { changes, warnings }))
}
