//! Tokens of nodes. A node that has one keeps it until it is told otherwise: another is made only when asked for, and the old one lives on
//! for a while, so that nobody is cut off unawares. What can be used is in the answer that makes it, and nowhere else.
use axum::{Json, extract::State};
use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate_policy::{
    documents::name_problem,
    kinds::{Kind, bounds},
    ports::{NodeIdentity, NodeRole, NodeToken, ObjectKey},
    snapshot::ObjectRef,
};
use utoipa::ToSchema;

use super::{
    AdminState, ApiError, Problem, documents,
    input::{InPath, InQuery, JsonBody, PageQuery, page_size},
    keys::{Created, bad, created},
    render,
    tokens::known,
};
use crate::credentials::make_node_token;

const LONGEST_NODE_ID: usize = 128;
/// What a node may be called.
pub(super) const NODE_ID: &str = "^[-A-Za-z0-9_.]{1,128}$";
/// How long the tokens before live on after a rotation, seconds.
const USUAL_GRACE: u64 = 600;
const LONGEST_GRACE: u64 = 86_400;

/// Which node gets a token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = what_goes_together)]
pub struct NewNodeToken {
    /// The node's id, as it says it in xDS: 1 to 128 of ASCII letters, digits, `-`, `_`, `.`.
    #[schemars(pattern(NODE_ID))]
    pub node_id: String,
    pub role: RoleName,
    /// `<namespace>/<name>` of the worker's pool; only for `Worker`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(pattern(bounds::NAMESPACED))]
    pub pool: Option<String>,
    /// The node has a token and gets another. Without it such a node is refused (409).
    #[serde(default)]
    pub rotate: bool,
    /// With `rotate`: for how long the tokens before are still taken, 0 to 86,400; 600 when absent.
    #[schemars(range(max = LONGEST_GRACE))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u64>,
}

/// A worker has a pool, a gateway has none; a grace goes with a rotation.
fn what_goes_together(schema: &mut schemars::Schema) {
    let absent = json!({"type": "null"});
    schema.insert("if".to_owned(), json!({"properties": {"role": {"const": "Worker"}}}));
    schema.insert("then".to_owned(), json!({"required": ["pool"], "properties": {"pool": {"type": "string"}}}));
    schema.insert("else".to_owned(), json!({"properties": {"pool": absent}}));
    let rotates = json!({"required": ["rotate"], "properties": {"rotate": {"const": true}}});
    let no_grace = json!({"properties": {"graceSeconds": absent}});
    schema.insert("dependentSchemas".to_owned(), json!({"graceSeconds": {"anyOf": [no_grace, rotates]}}));
}

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema, ToSchema)]
pub enum RoleName {
    Gateway,
    Worker,
}

fn role_of(new: &NewNodeToken) -> Result<NodeRole, ApiError> {
    match (new.role, &new.pool) {
        (RoleName::Gateway, None) => Ok(NodeRole::Gateway),
        (RoleName::Gateway, Some(_)) => Err(bad("pool: only a Worker has one")),
        (RoleName::Worker, None) => Err(bad("pool: missing; a Worker has one, as <namespace>/<name>")),
        (RoleName::Worker, Some(pool)) => match pool.split_once('/') {
            Some((ns, name)) if name_problem(ns).is_none() && name_problem(name).is_none() => {
                Ok(NodeRole::Worker { pool: pool.clone() })
            }
            _ => Err(bad("pool: expected <namespace>/<name>")),
        },
    }
}

/// As the request spells them.
fn role_and_pool(role: &NodeRole) -> (RoleName, Option<&str>) {
    match role {
        NodeRole::Gateway => (RoleName::Gateway, None),
        NodeRole::Worker { pool } => (RoleName::Worker, Some(pool)),
    }
}

/// What is allowed but probably not meant.
async fn warnings(state: &AdminState, role: &NodeRole) -> Result<Vec<String>, ApiError> {
    let NodeRole::Worker { pool } = role else { return Ok(Vec::new()) };
    let Some((namespace, name)) = pool.split_once('/') else { return Ok(Vec::new()) };
    let object = ObjectRef { namespace: namespace.to_owned(), name: name.to_owned() };
    Ok(match documents::current(state, &ObjectKey { kind: Kind::WorkerPool, object }).await? {
        Some(_) => Vec::new(),
        None => {
            vec![format!(
                "there is no WorkerPool {pool}; until there is, a worker with this token is given nothing to do"
            )]
        }
    })
}

/// Makes a token for a node. The answer's `token` is shown this once. A node that has a token is refused without `rotate`; with it, the
/// tokens before are taken for `graceSeconds` more.
#[utoipa::path(post, path = "/api/v1/node-tokens", tag = "keys", request_body = ref("#/components/schemas/NewNodeToken"),
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
    let role = role_of(&new)?;
    let grace = match new.grace_seconds {
        Some(_) if !new.rotate => return Err(bad("graceSeconds: only with rotate")),
        Some(seconds @ 0..=LONGEST_GRACE) => seconds,
        Some(_) => return Err(bad(format!("graceSeconds: 0 to {LONGEST_GRACE}"))),
        None => USUAL_GRACE,
    };
    let identity = NodeIdentity { node_id: new.node_id, role };
    let (secret, token) = make_node_token(identity, Utc::now()).map_err(|_| ApiError::Internal)?;
    let earlier_until = if new.rotate {
        state.credentials.rotate_node_token(&token, grace * 1_000).await?;
        Some(Utc::now() + TimeDelta::seconds(i64::try_from(grace).unwrap_or_default()))
    } else {
        if let Some(held) = state.credentials.add_node_token(&token).await? {
            return Err(ApiError::NodeHasToken { node_id: held.identity.node_id.clone(), since: since(&state, &held) });
        }
        None
    };
    known(&state, || state.tokens.knows(&token.sha256)).await;
    let (role, pool) = role_and_pool(&token.identity.role);
    let mut body = json!({
        "nodeId": token.identity.node_id,
        "role": role,
        "token": secret.expose(),
        "earlierTokensUntil": earlier_until.map(render::time),
        "warnings": documents::beside(warnings(&state, &token.identity.role)).await,
    });
    if let (Some(pool), Some(map)) = (pool, body.as_object_mut()) {
        map.insert("pool".to_owned(), pool.into());
    }
    Ok(created(body))
}

fn last_used(state: &AdminState, token: &NodeToken) -> Option<DateTime<Utc>> {
    token.last_used_at.max(state.tokens.last_used(&token.sha256))
}

fn since(state: &AdminState, token: &NodeToken) -> String {
    match last_used(state, token) {
        Some(at) => format!("made {}, last used {}", render::time(token.created_at), render::time(at)),
        None => format!("made {}, never used", render::time(token.created_at)),
    }
}

/// The nodes that have a token, by node id; never the tokens themselves. A node stands there once for each token that is taken: after a
/// rotation the earlier ones have an `endsAt`.
#[utoipa::path(get, path = "/api/v1/node-tokens", tag = "keys", params(PageQuery),
    responses((status = 200, body = ref("#/components/schemas/NodeTokenList")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn list_node_tokens(
    State(state): State<AdminState>,
    InQuery(query): InQuery<PageQuery>,
) -> Result<Json<Value>, ApiError> {
    let page = state.credentials.list_node_tokens(page_size(query.limit)?, query.after.as_deref()).await?;
    let shown = |token: &NodeToken| {
        let (role, pool) = role_and_pool(&token.identity.role);
        json!({
            "nodeId": token.identity.node_id,
            "role": role,
            "pool": pool,
            "createdAt": render::time(token.created_at),
            "endsAt": token.ends_at.map(render::time),
            "lastUsedAt": last_used(&state, token).map(render::time),
        })
    };
    let items: Vec<Value> = page.items.iter().map(shown).collect();
    Ok(Json(json!({"metadata": {"continue": page.next}, "items": items})))
}

/// What became of a node's tokens.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedNodeTokens {
    pub node_id: String,
    /// This server refuses them. Other replicas do within a second; an open stream of the node ends within 5 s more.
    pub in_force: bool,
    /// The node still has a stream here.
    pub connected: bool,
}

/// Revokes all tokens of a node; it cannot come back, and its open streams end within 5 s.
#[utoipa::path(delete, path = "/api/v1/node-tokens/{node_id}", tag = "keys", params(("node_id" = String, Path,)),
    responses((status = 200, body = RevokedNodeTokens),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn revoke_node_token(
    State(state): State<AdminState>,
    InPath(node_id): InPath<String>,
) -> Result<Json<RevokedNodeTokens>, ApiError> {
    state.credentials.revoke_node_token(&node_id).await?;
    let in_force = known(&state, || !state.tokens.knows_node(&node_id)).await;
    let connected = state.gateways.nodes.get(&node_id).is_some_and(|node| node.connected);
    Ok(Json(RevokedNodeTokens { node_id, in_force, connected }))
}
