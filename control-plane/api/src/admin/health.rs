//! How the server is: for probes, for Prometheus, and the list of nodes.
use axum::{Json, extract::State, response::IntoResponse};
use http::header;
use serde_json::{Value, json};

use super::{AdminState, ApiError, Problem};
use crate::nodes::NodesAnswer;

/// Alive: answers whatever the database does.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()),
    responses((status = 200, description = "Alive", body = Value),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Ready: the store can be written, and the first snapshot is compiled.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()),
    responses((status = 200, description = "Ready", body = Value),
              (status = 503, body = Problem, content_type = "application/problem+json"),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn readyz(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    let Some(revision) = state.snapshot.borrow().as_ref().map(|s| s.revision) else {
        return Err(ApiError::NotReady { what: "no snapshot is compiled yet" });
    };
    state.store.ready().await?;
    Ok(Json(json!({"status": "ok", "revision": revision, "instance": state.server.instance})))
}

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", tag = "health", security(()),
    responses((status = 200, body = String, content_type = "text/plain"),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn metrics(State(state): State<AdminState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (state.metrics)())
}

/// Every node, and per type of resource whether it has what it should (SYNCED, STALE, NACKED, or
/// DISCONNECTED), and who was turned away.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "health",
    responses((status = 200, body = NodesAnswer), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn nodes(State(state): State<AdminState>) -> Json<Value> {
    Json((state.nodes)())
}
