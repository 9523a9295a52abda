//! One object at a time: get, list, put, delete, adopt.
use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tidegate_policy::{
    kinds::API_VERSION,
    ports::{Author, Outcome, StoredObject},
};

use super::{
    AdminState, ApiError, Problem, documents,
    input::{Body, InPath, InQuery, PageQuery, Precondition, Target, WriteQuery, key_of, kind_of, page_size},
    render,
};

const OUTCOME: HeaderName = HeaderName::from_static("x-tidegate-outcome");
/// Most `Warning` headers of an answer.
const MAX_WARNINGS: usize = 16;

fn answer(status: StatusCode, object: &StoredObject) -> Response {
    let mut response = untagged(status, object);
    if let Some(etag) = render::etag(object) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// The answer of a dry run: what it says is not stored, so no ETag stands for it.
fn untagged(status: StatusCode, object: &StoredObject) -> Response {
    (status, Json(render::document(object))).into_response()
}

fn add_outcome(response: &mut Response, outcome: Outcome, warnings: &[String]) {
    response.headers_mut().insert(OUTCOME, HeaderValue::from_static(render::outcome(outcome)));
    for text in warnings.iter().take(MAX_WARNINGS) {
        // RFC 7234 §5.5; 299 is what Kubernetes sends too.
        if let Ok(value) = HeaderValue::from_str(&format!("299 tidegate {}", Value::from(text.as_str()))) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// One object with its status.
#[utoipa::path(get, operation_id = "get_object", path = "/api/v1/namespaces/{namespace}/{plural}/{name}", tag = "objects",
    params(("namespace" = String, Path,), ("plural" = String, Path,), ("name" = String, Path,)),
    responses((status = 200, body = ref("#/components/schemas/Document"), headers(("etag" = String))),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn get(
    State(state): State<AdminState>,
    InPath(path): InPath<(String, String, String)>,
) -> Result<Response, ApiError> {
    Ok(answer(StatusCode::OK, &state.store.get(&key_of(path)?).await?))
}

/// Creates or changes one object. `If-Match` or `metadata.resourceVersion` make it conditional (409 TG-1201 when the object
/// changed meanwhile); `If-None-Match: *` only creates. An unchanged document makes no revision. A dry run answers no ETag, and
/// the resourceVersion that is stored.
#[utoipa::path(put, operation_id = "put_object", path = "/api/v1/namespaces/{namespace}/{plural}/{name}", tag = "objects",
    params(("namespace" = String, Path,), ("plural" = String, Path,), ("name" = String, Path,), WriteQuery,
           ("if-match" = Option<String>, Header,), ("if-none-match" = Option<String>, Header,)),
    request_body(content((ref("#/components/schemas/Document") = "application/json"),
                         (ref("#/components/schemas/Document") = "application/yaml"))),
    responses((status = 200, description = "Changed, or unchanged", body = ref("#/components/schemas/Document"), headers(("etag" = String), ("x-tidegate-outcome" = String))),
              (status = 201, description = "Created", body = ref("#/components/schemas/Document"), headers(("etag" = String), ("x-tidegate-outcome" = String))),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn put(
    State(state): State<AdminState>,
    Extension(author): Extension<Author>,
    target: Target,
    Body(bytes): Body,
) -> Result<Response, ApiError> {
    let object = documents::read_one(&bytes, &target.key)?;
    let (stored, outcome) = documents::write(&state, &author, &object, &target).await?;
    let warnings = documents::beside(documents::warnings(&state, std::slice::from_ref(&stored))).await;
    let status = if outcome == Outcome::Created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = if target.dry_run { untagged(status, &stored) } else { answer(status, &stored) };
    add_outcome(&mut response, outcome, &warnings.concat());
    Ok(response)
}

/// Deletes one object; answers what it was. `If-Match` makes it conditional. What it leaves without workers, or naming nothing, is in
/// `Warning` headers.
#[utoipa::path(delete, operation_id = "delete_object", path = "/api/v1/namespaces/{namespace}/{plural}/{name}", tag = "objects",
    params(("namespace" = String, Path,), ("plural" = String, Path,), ("name" = String, Path,), WriteQuery,
           ("if-match" = Option<String>, Header,)),
    responses((status = 200, body = ref("#/components/schemas/Document"), headers(("x-tidegate-outcome" = String))),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn delete(
    State(state): State<AdminState>,
    Extension(author): Extension<Author>,
    target: Target,
) -> Result<Response, ApiError> {
    let expected = match target.condition {
        Precondition::None | Precondition::Exists => None,
        Precondition::Revision(n) => Some(n),
        Precondition::Absent => {
            return Err(ApiError::BadQuery { what: "If-None-Match has no meaning for DELETE".to_owned() });
        }
    };
    let deleted = state.store.delete(&target.key, expected, &author, target.dry_run).await?;
    let mut response =
        if target.dry_run { untagged(StatusCode::OK, &deleted) } else { answer(StatusCode::OK, &deleted) };
    let warnings = documents::beside(documents::warnings_without(&state, &deleted)).await;
    add_outcome(&mut response, Outcome::Deleted, &warnings);
    Ok(response)
}

/// Takes an object over from another door (Kubernetes, files), so that it can be changed here.
#[utoipa::path(post, operation_id = "adopt_object", path = "/api/v1/namespaces/{namespace}/{plural}/{name}/adopt", tag = "objects",
    params(("namespace" = String, Path,), ("plural" = String, Path,), ("name" = String, Path,)),
    responses((status = 200, body = ref("#/components/schemas/Document"), headers(("etag" = String))),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn adopt(
    State(state): State<AdminState>,
    Extension(author): Extension<Author>,
    InPath(path): InPath<(String, String, String)>,
) -> Result<Response, ApiError> {
    Ok(answer(StatusCode::OK, &state.store.adopt(&key_of(path)?, &author).await?))
}

/// The objects of a kind in a namespace, by name.
#[utoipa::path(get, operation_id = "list_objects", path = "/api/v1/namespaces/{namespace}/{plural}", tag = "objects",
    params(("namespace" = String, Path,), ("plural" = String, Path,), PageQuery),
    responses((status = 200, body = ref("#/components/schemas/DocumentList")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(state): State<AdminState>,
    InPath((namespace, plural)): InPath<(String, String)>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Json<Value>, ApiError> {
    page(&state, &plural, Some(&namespace), &query).await
}

/// The objects of a kind in all namespaces, by namespace and name.
#[utoipa::path(get, operation_id = "list_objects_everywhere", path = "/api/v1/{plural}", tag = "objects",
    params(("plural" = String, Path,), PageQuery),
    responses((status = 200, body = ref("#/components/schemas/DocumentList")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn list_all(
    State(state): State<AdminState>,
    InPath(plural): InPath<String>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Json<Value>, ApiError> {
    page(&state, &plural, None, &query).await
}

async fn page(
    state: &AdminState,
    plural: &str,
    namespace: Option<&str>,
    query: &PageQuery,
) -> Result<Json<Value>, ApiError> {
    let kind = kind_of(plural)?;
    let page = state.store.list(kind, namespace, page_size(query.limit)?, query.after.as_deref()).await?;
    let items: Vec<Value> = page.items.iter().map(render::document).collect();
    Ok(Json(json!({
        "apiVersion": API_VERSION,
        "kind": format!("{}List", kind.name()),
        "metadata": {"resourceVersion": page.revision.to_string(), "continue": page.next},
        "items": items,
    })))
}
