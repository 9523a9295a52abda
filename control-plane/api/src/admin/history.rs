//! The history and the way back.
use std::collections::{BTreeMap, BTreeSet};

use axum::{Extension, Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_policy::{
    documents::name_problem,
    kinds::{Kind, bounds},
    ports::{Author, ObjectKey, Outcome, RollbackScope, StoreError, StoredObject},
    validate,
};
use utoipa::{IntoParams, ToSchema};

use super::{
    AdminState, ApiError, Problem, documents,
    explain::{difference, removal},
    input::{InQuery, JsonBody, page_size},
    render,
};

/// Writers that may come between the two halves of a rollback.
const ROLLBACK_ATTEMPTS: u32 = 5;

/// Of `/revisions`.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RevisionQuery {
    /// Items of the page, 1 to 500; 100 when absent.
    limit: Option<u32>,
    /// `metadata.continue` of the page before.
    #[serde(rename = "continue")]
    after: Option<String>,
    /// Only one object: kind (any of its names) and `name` go together, `namespace` is `default` when absent. A kind or a
    /// namespace without a name is an error (400 TG-1304): there is no history of a kind.
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

/// Every change, newest first. A revision is one transaction: an apply of three documents has three lines of one revision.
#[utoipa::path(get, path = "/api/v1/revisions", tag = "history", params(RevisionQuery),
    responses((status = 200, body = ref("#/components/schemas/RevisionList")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn revisions(
    State(state): State<AdminState>,
    InQuery(q): InQuery<RevisionQuery>,
) -> Result<Json<Value>, ApiError> {
    let key = documents::optional_key(q.kind.as_deref(), q.namespace.as_deref(), q.name.as_deref())?;
    let page = state.store.history(key.as_ref(), page_size(q.limit)?, q.after.as_deref()).await?;
    let items: Vec<Value> = page.items.iter().map(render::revision).collect();
    Ok(Json(json!({
        "metadata": {"resourceVersion": page.revision.to_string(), "continue": page.next},
        "items": items,
    })))
}

/// Where to go back to.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = one_object)]
pub struct RollbackRequest {
    /// Everything becomes what it was right after this revision.
    #[schemars(range(min = 1, max = bounds::MAX_REVISION))]
    pub revision: i64,
    /// With `name`: only this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = kind_names()))]
    pub kind: Option<String>,
    /// Of the object, `default` when absent. Without kind and name: only the objects of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(pattern(bounds::NAME))]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(pattern(bounds::NAME))]
    pub name: Option<String>,
    /// Answer as if it were done, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// A name goes with a kind, and a kind or a namespace with a name.
fn one_object(schema: &mut schemars::Schema) {
    let absent = json!({"type": "null"});
    schema.insert("if".to_owned(), json!({"properties": {"name": absent}}));
    schema.insert("then".to_owned(), json!({"properties": {"kind": absent, "namespace": absent}}));
    schema.insert("else".to_owned(), json!({"required": ["kind"], "properties": {"kind": {"type": "string"}}}));
}

/// Every name of every kind, and null.
fn kind_names() -> Vec<Option<&'static str>> {
    let names = Kind::ALL.into_iter().flat_map(|k| [k.name(), k.plural(), k.short()]);
    names.map(Some).chain([None]).collect()
}

/// What a rollback did.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolledBack {
    /// The new revision; null when nothing differed, and in a dry run, which makes none.
    pub revision: Option<i64>,
    /// What changed.
    pub results: Vec<RolledBackObject>,
}

/// What a rollback did to one object.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolledBackObject {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// `Created`, `Configured`, `Deleted` or `Unchanged`.
    pub outcome: String,
    /// In a dry run what is stored now: null when nothing is.
    pub resource_version: Option<String>,
    /// In a dry run how the object would change, as unified YAML; else empty.
    #[serde(default)]
    pub diff: String,
}

/// What must not change between the two halves: the revision of the object, 0 when there is none, or that of the whole store.
async fn stands_at(state: &AdminState, scope: &RollbackScope) -> Result<i64, StoreError> {
    let Some(key) = scope.object() else {
        return Ok(state.store.history(None, 1, None).await?.revision);
    };
    match state.store.get(key).await {
        Ok(object) => Ok(object.revision),
        Err(StoreError::NotFound { .. }) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Tries it first, so that a document from before a rule became stricter is refused, not stored. What is done is what was
/// tried: when others write to what it is about between the two, it is tried again, and given up with their conflict.
async fn roll_back(
    state: &AdminState,
    author: &Author,
    r: &RollbackRequest,
    scope: &RollbackScope,
) -> Result<Vec<(StoredObject, Outcome)>, ApiError> {
    let mut left = ROLLBACK_ATTEMPTS;
    loop {
        let on = stands_at(state, scope).await?;
        let planned = state.store.rollback(r.revision, scope, author, true).await?;
        for (object, outcome) in &planned {
            if *outcome != Outcome::Deleted {
                validate::parse_stored(object.key.kind, &object.spec).map_err(ApiError::Rejected)?;
            }
        }
        if r.dry_run {
            return Ok(planned);
        }
        left -= 1;
        match state.store.rollback_on(on, r.revision, scope, author).await {
            Err(StoreError::Conflict { .. }) if left > 0 => {}
            other => return Ok(other?),
        }
    }
}

/// What a request is about: an object, a namespace, or everything.
fn scope(r: &RollbackRequest) -> Result<RollbackScope, ApiError> {
    match (&r.kind, &r.namespace, &r.name) {
        (None, Some(namespace), None) => match name_problem(namespace) {
            None => Ok(RollbackScope::Namespace(namespace.clone())),
            Some(problem) => Err(ApiError::BadQuery { what: format!("namespace: {problem}") }),
        },
        (kind, namespace, name) => {
            let key = documents::optional_key(kind.as_deref(), namespace.as_deref(), name.as_deref())?;
            Ok(key.map_or(RollbackScope::Everything, RollbackScope::Object))
        }
    }
}

/// What is stored now of the objects that a rollback would change. However many ask at once about many objects, the store is read
/// once for all of them.
async fn before(
    state: &AdminState,
    scope: &RollbackScope,
    planned: &[(StoredObject, Outcome)],
) -> Result<BTreeMap<ObjectKey, StoredObject>, ApiError> {
    let now = match scope {
        RollbackScope::Object(key) => documents::current(state, key).await?.into_iter().collect(),
        RollbackScope::Everything | RollbackScope::Namespace(_) => {
            let keys: BTreeSet<&ObjectKey> = planned.iter().map(|(object, _)| &object.key).collect();
            state.fresh.objects(&state.store, |object| keys.contains(&object.key)).await?
        }
    };
    Ok(now.into_iter().map(|object| (object.key.clone(), object)).collect())
}

/// Makes every object, those of a namespace, or one, what it was right after a revision, by a new revision; the history stays.
#[utoipa::path(post, path = "/api/v1/rollback", tag = "history", request_body = ref("#/components/schemas/RollbackRequest"),
    responses((status = 200, body = RolledBack),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn rollback(
    State(state): State<AdminState>,
    Extension(author): Extension<Author>,
    JsonBody(r): JsonBody<RollbackRequest>,
) -> Result<Json<RolledBack>, ApiError> {
    let scope = scope(&r)?;
    let done = roll_back(&state, &author, &r, &scope).await?;
    let before = if r.dry_run { before(&state, &scope, &done).await? } else { BTreeMap::new() };
    let changed = done.iter().filter(|(_, outcome)| *outcome != Outcome::Unchanged);
    let revision = changed.map(|(object, _)| object.revision).max().filter(|_| !r.dry_run);
    let diff = |object: &StoredObject, outcome: Outcome| match (r.dry_run, outcome) {
        (false, _) => String::new(),
        (true, Outcome::Deleted) => before.get(&object.key).map(removal).unwrap_or_default(),
        (true, Outcome::Created | Outcome::Configured | Outcome::Unchanged) => {
            difference(before.get(&object.key), object)
        }
    };
    let results = done
        .iter()
        .map(|(object, outcome)| RolledBackObject {
            kind: object.key.kind.name().to_owned(),
            namespace: object.key.object.namespace.clone(),
            name: object.key.object.name.clone(),
            outcome: render::outcome(*outcome).to_owned(),
            resource_version: render::version(object),
            diff: diff(object, *outcome),
        })
        .collect();
    Ok(Json(RolledBack { revision, results }))
}
