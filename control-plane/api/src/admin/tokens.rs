//! Tokens of administrators: made, listed, revoked. A token's name is the author of what is written with it. What can be used is in the
//! answer that makes it, and nowhere else.
use std::time::Duration;

use axum::{Json, extract::State};
use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_policy::ports::{AdminToken, AdminTokenAdded, AdminTokenRevoked};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

use super::{
    AdminState, ApiError, Problem,
    input::{InPath, InQuery, JsonBody, PageQuery, page_size},
    keys::{Created, bad, created, end},
    render,
};
use crate::credentials::make_admin_token;

const LONGEST_NAME: usize = 64;
/// How long an answer waits until this server itself knows of the change. Another replica knows it within a second.
pub(super) const KNOWN_WITHIN: Duration = Duration::from_secs(3);

/// Who gets a token.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewAdminToken {
    /// The author of what is written with it, in the history: 1 to 64 of letters, digits, `-`, `_`, `.`, `@`.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._@-]+$")]
    pub name: String,
    /// Absent: it never expires.
    #[schema(minimum = 1, maximum = 315_360_000)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// Whether the last token may go.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RevokeQuery {
    /// Revoke it also when no other admin token opens anything.
    #[serde(default)]
    pub force: bool,
}

fn shown(state: &AdminState, token: &AdminToken) -> Value {
    let last_used = token.last_used_at.max(state.tokens.last_used(&token.sha256));
    json!({
        "id": token.id,
        "name": token.name,
        "createdAt": render::time(token.created_at),
        "expiresAt": token.expires_at.map(render::time),
        "revokedAt": token.revoked_at.map(render::time),
        "lastUsedAt": last_used.map(render::time),
    })
}

/// Waits until this server knows of a change, as after each read of the store. Whether it does.
pub(super) async fn known(state: &AdminState, done: impl Fn() -> bool + Send) -> bool {
    let (mut reads, deadline) = (state.snapshot.clone(), Instant::now() + KNOWN_WITHIN);
    loop {
        reads.borrow_and_update();
        if done() {
            return true;
        }
        if !matches!(timeout_at(deadline, reads.changed()).await, Ok(Ok(()))) {
            return done();
        }
    }
}

/// Makes an admin token. The answer's `token` is shown this once; its hash is kept.
#[utoipa::path(post, path = "/api/v1/admin-tokens", tag = "keys", request_body = NewAdminToken,
    responses((status = 201, body = ref("#/components/schemas/CreatedAdminToken")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn create_admin_token(
    State(state): State<AdminState>,
    JsonBody(new): JsonBody<NewAdminToken>,
) -> Result<Created, ApiError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
    if new.name.is_empty() || new.name.len() > LONGEST_NAME || !new.name.bytes().all(plain) {
        return Err(bad(format!("name: 1 to {LONGEST_NAME} of ASCII letters, digits, `-`, `_`, `.`, `@`")));
    }
    let expires_at = end(new.expires_in_seconds, Utc::now())?;
    let (secret, mut token) = make_admin_token(&new.name).map_err(|_| ApiError::Internal)?;
    token.expires_at = expires_at;
    match state.credentials.add_admin_token(&token).await? {
        AdminTokenAdded::Added => {}
        AdminTokenAdded::NameTaken => return Err(ApiError::NameTaken { name: new.name }),
        // It was made of chance a moment ago.
        AdminTokenAdded::Ended => return Err(ApiError::Internal),
    }
    known(&state, || state.tokens.knows(&token.sha256)).await;
    let mut body = shown(&state, &token);
    if let Some(map) = body.as_object_mut() {
        map.insert("token".to_owned(), secret.expose().into());
    }
    Ok(created(body))
}

/// The admin tokens, revoked and expired ones too, oldest first; never the tokens themselves.
#[utoipa::path(get, path = "/api/v1/admin-tokens", tag = "keys", params(PageQuery),
    responses((status = 200, body = ref("#/components/schemas/AdminTokenList")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn list_admin_tokens(
    State(state): State<AdminState>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Json<Value>, ApiError> {
    let page = state.credentials.list_admin_tokens(page_size(query.limit)?, query.after.as_deref()).await?;
    let items: Vec<Value> = page.items.iter().map(|token| shown(&state, token)).collect();
    Ok(Json(json!({"metadata": {"continue": page.next}, "items": items})))
}

/// Revokes an admin token, the one of the request too. The last that opens anything goes only with `force`.
#[utoipa::path(delete, path = "/api/v1/admin-tokens/{id}", tag = "keys", params(("id" = String, Path,), RevokeQuery),
    responses((status = 200, body = ref("#/components/schemas/AdminToken")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn revoke_admin_token(
    State(state): State<AdminState>,
    InPath(id): InPath<String>,
    InQuery(query): InQuery<RevokeQuery>,
) -> Result<Json<Value>, ApiError> {
    match state.credentials.revoke_admin_token(&id, query.force).await? {
        AdminTokenRevoked::IsLast(token) => Err(ApiError::LastAdminToken { name: token.name }),
        AdminTokenRevoked::Revoked(token) => {
            known(&state, || !state.tokens.knows(&token.sha256)).await;
            Ok(Json(shown(&state, &token)))
        }
    }
}
