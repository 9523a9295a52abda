//! API keys of tenants. What can be used is in the answer that makes it, and nowhere else.
use axum::{Json, extract::State};
use chrono::{DateTime, Duration, Utc};
use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_policy::{kinds::bounds, ports::ApiKey, validate::tenant_problem};

use super::{
    AdminState, ApiError, Problem,
    in_force::{InForce, WaitQuery, confirmed},
    input::{InPath, InQuery, JsonBody, PageQuery, page_size},
    render,
};
use crate::credentials::{ApiKeyRequest, make_api_key};

const LONGEST_DESCRIPTION: usize = 256;
/// Text without control characters.
const PLAIN_TEXT: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
/// Ten years, in seconds.
pub(super) const LONGEST_LIFE: u64 = 10 * 365 * 86_400;

/// An answer that holds a secret is not to be kept by anything on the way.
pub(super) type Created = (StatusCode, [(header::HeaderName, HeaderValue); 1], Json<Value>);

pub(super) fn created(body: Value) -> Created {
    (StatusCode::CREATED, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(body))
}

pub(super) fn bad(what: impl Into<String>) -> ApiError {
    ApiError::BadBody { what: what.into() }
}

/// Who gets a key.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewApiKey {
    /// What the gateway calls the caller from then on.
    #[schemars(pattern(bounds::TENANT))]
    pub tenant: String,
    /// For people.
    #[serde(default)]
    #[schemars(pattern(PLAIN_TEXT), length(max = LONGEST_DESCRIPTION))]
    pub description: String,
    /// Absent: it never expires.
    #[schemars(range(min = 1, max = LONGEST_LIFE))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// When a life of so many seconds, if it has an end, ends.
pub(super) fn end(seconds: Option<u64>, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, ApiError> {
    match seconds {
        None => Ok(None),
        Some(s @ 1..=LONGEST_LIFE) => Ok(Some(now + Duration::seconds(i64::try_from(s).unwrap_or(1)))),
        Some(_) => Err(bad(format!("expiresInSeconds: 1 to {LONGEST_LIFE}"))),
    }
}

/// The key and where the change is in force.
fn with(mut body: Value, more: &InForce) -> Value {
    let more = serde_json::to_value(more).unwrap_or_default();
    if let (Some(map), Value::Object(more)) = (body.as_object_mut(), more) {
        map.extend(more);
    }
    body
}

fn shown(key: &ApiKey) -> Value {
    json!({
        "id": key.id,
        "tenant": key.tenant,
        "description": key.description,
        "createdAt": render::time(key.created_at),
        "expiresAt": key.expires_at.map(render::time),
        "revokedAt": key.revoked_at.map(render::time),
    })
}

/// Makes an API key. The answer's `key` is shown this once; what is kept can check it, not make it. The answer comes when every gateway
/// takes the key, or after `waitSeconds`, and says which do.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "keys", request_body = ref("#/components/schemas/NewApiKey"), params(WaitQuery),
    responses((status = 201, body = ref("#/components/schemas/CreatedApiKey")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn create_api_key(
    State(state): State<AdminState>,
    InQuery(wait): InQuery<WaitQuery>,
    JsonBody(new): JsonBody<NewApiKey>,
) -> Result<Created, ApiError> {
    let deadline = wait.deadline()?;
    if let Some(problem) = tenant_problem(&new.tenant) {
        return Err(bad(format!("tenant: {problem}")));
    }
    if new.description.chars().count() > LONGEST_DESCRIPTION || new.description.chars().any(char::is_control) {
        return Err(bad(format!("description: at most {LONGEST_DESCRIPTION} characters, no control characters")));
    }
    let now = Utc::now();
    let expires_at = end(new.expires_in_seconds, now)?;
    let request = ApiKeyRequest { tenant: new.tenant, description: new.description, expires_at };
    let (secret, key) = make_api_key(request, now).map_err(|_| ApiError::Internal)?;
    state.credentials.add_api_key(&key).await?;
    let known = confirmed(&state, deadline, |snapshot| snapshot.api_keys.contains_key(&key.id)).await;
    let mut body = with(shown(&key), &known);
    if let Some(map) = body.as_object_mut() {
        map.insert("key".to_owned(), secret.expose().into());
    }
    Ok(created(body))
}

/// The API keys, revoked ones too, oldest first; never the keys themselves.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "keys", params(PageQuery),
    responses((status = 200, body = ref("#/components/schemas/ApiKeyList")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn list_api_keys(
    State(state): State<AdminState>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Json<Value>, ApiError> {
    let page = state.credentials.list_api_keys(page_size(query.limit)?, query.after.as_deref()).await?;
    let items: Vec<Value> = page.items.iter().map(shown).collect();
    Ok(Json(json!({"metadata": {"continue": page.next}, "items": items})))
}

/// Revokes an API key. The answer comes when every gateway refuses the key, or after `waitSeconds`, and says which do: `inForce` is false
/// while any gateway may still take it. The key is revoked whatever the answer says.
#[utoipa::path(delete, path = "/api/v1/api-keys/{id}", tag = "keys", params(("id" = String, Path,), WaitQuery),
    responses((status = 200, body = ref("#/components/schemas/ChangedApiKey")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn revoke_api_key(
    State(state): State<AdminState>,
    InPath(id): InPath<String>,
    InQuery(wait): InQuery<WaitQuery>,
) -> Result<Json<Value>, ApiError> {
    let deadline = wait.deadline()?;
    let key = state.credentials.revoke_api_key(&id).await?;
    let refused = confirmed(&state, deadline, |snapshot| !snapshot.api_keys.contains_key(&key.id)).await;
    Ok(Json(with(shown(&key), &refused)))
}
