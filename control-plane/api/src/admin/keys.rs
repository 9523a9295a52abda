//! API keys of tenants and tokens of nodes. What can be used is in the answer that makes it, and nowhere else.
use axum::{Json, extract::State};
use chrono::{Duration, Utc};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_policy::{
    documents::name_problem,
    ports::{ApiKey, NodeIdentity, NodeRole},
    validate::tenant_problem,
};
use utoipa::ToSchema;

use super::{
    AdminState, ApiError, Problem,
    input::{InPath, InQuery, JsonBody, PageQuery, page_size},
    render,
};
use crate::credentials::{ApiKeyRequest, make_api_key, make_node_token};

const LONGEST_DESCRIPTION: usize = 256;
const LONGEST_NODE_ID: usize = 128;
/// Ten years, in seconds.
const LONGEST_LIFE: u64 = 10 * 365 * 86_400;

/// An answer that holds a secret is not to be kept by anything on the way.
type Created = (StatusCode, [(header::HeaderName, HeaderValue); 1], Json<Value>);

fn created(body: Value) -> Created {
    (StatusCode::CREATED, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(body))
}

fn bad(what: impl Into<String>) -> ApiError {
    ApiError::BadBody { what: what.into() }
}

/// Who gets a key.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewApiKey {
    /// What the gateway calls the caller from then on.
    pub tenant: String,
    #[serde(default)]
    pub description: String,
    /// Absent: it never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
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

/// Makes an API key. The answer's `key` is shown this once; what is kept can check it, not make it.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "keys", request_body = NewApiKey,
    responses((status = 201, body = ref("#/components/schemas/CreatedApiKey")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn create_api_key(
    State(state): State<AdminState>,
    JsonBody(new): JsonBody<NewApiKey>,
) -> Result<Created, ApiError> {
    if let Some(problem) = tenant_problem(&new.tenant) {
        return Err(bad(format!("tenant: {problem}")));
    }
    if new.description.len() > LONGEST_DESCRIPTION || new.description.chars().any(char::is_control) {
        return Err(bad(format!("description: at most {LONGEST_DESCRIPTION} bytes, no control characters")));
    }
    let now = Utc::now();
    let expires_at = match new.expires_in_seconds {
        None => None,
        Some(s @ 1..=LONGEST_LIFE) => Some(now + Duration::seconds(i64::try_from(s).unwrap_or(1))),
        Some(_) => return Err(bad(format!("expiresInSeconds: 1 to {LONGEST_LIFE}"))),
    };
    let request = ApiKeyRequest { tenant: new.tenant, description: new.description, expires_at };
    let (secret, key) = make_api_key(request, now).map_err(|_| ApiError::Internal)?;
    state.credentials.add_api_key(&key).await?;
    let mut body = shown(&key);
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

/// Revokes an API key; the gateway refuses it within a second.
#[utoipa::path(delete, path = "/api/v1/api-keys/{id}", tag = "keys", params(("id" = String, Path,)),
    responses((status = 200, body = ref("#/components/schemas/ApiKey")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn revoke_api_key(
    State(state): State<AdminState>,
    InPath(id): InPath<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(shown(&state.credentials.revoke_api_key(&id).await?)))
}

/// Which node gets a token.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewNodeToken {
    /// The node's id, as it says it in xDS: 1 to 128 of ASCII letters, digits, `-`, `_`, `.`.
    pub node_id: String,
    pub role: RoleName,
    /// `<namespace>/<name>` of the worker's pool; only for `Worker`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// What a node is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub enum RoleName {
    Gateway,
    Worker,
}

/// Makes a token for a node, in place of its earlier one. The answer's `token` is shown this once.
#[utoipa::path(post, path = "/api/v1/node-tokens", tag = "keys", request_body = NewNodeToken,
    responses((status = 201, body = ref("#/components/schemas/CreatedNodeToken")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn create_node_token(
    State(state): State<AdminState>,
    JsonBody(new): JsonBody<NewNodeToken>,
) -> Result<Created, ApiError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if new.node_id.is_empty() || new.node_id.len() > LONGEST_NODE_ID || !new.node_id.bytes().all(plain) {
        return Err(bad(format!("nodeId: 1 to {LONGEST_NODE_ID} of ASCII letters, digits, `-`, `_`, `.`")));
    }
    let role = match (new.role, new.pool) {
        (RoleName::Gateway, None) => NodeRole::Gateway,
        (RoleName::Gateway, Some(_)) => return Err(bad("pool: only a Worker has one")),
        (RoleName::Worker, None) => return Err(bad("pool: missing; a Worker has one, as <namespace>/<name>")),
        (RoleName::Worker, Some(pool)) => match pool.split_once('/') {
            Some((ns, name)) if name_problem(ns).is_none() && name_problem(name).is_none() => NodeRole::Worker { pool },
            _ => return Err(bad("pool: expected <namespace>/<name>")),
        },
    };
    let identity = NodeIdentity { node_id: new.node_id, role };
    let (secret, token) = make_node_token(identity, Utc::now()).map_err(|_| ApiError::Internal)?;
    state.credentials.put_node_token(&token).await?;
    Ok(created(json!({"nodeId": token.identity.node_id, "role": token.identity.role, "token": secret.expose()})))
}

/// Revokes a node's token; its open streams end when they are next checked, and it cannot come back.
#[utoipa::path(delete, path = "/api/v1/node-tokens/{node_id}", tag = "keys", params(("node_id" = String, Path,)),
    responses((status = 204, description = "Revoked"),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn revoke_node_token(
    State(state): State<AdminState>,
    InPath(node_id): InPath<String>,
) -> Result<StatusCode, ApiError> {
    state.credentials.revoke_node_token(&node_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
