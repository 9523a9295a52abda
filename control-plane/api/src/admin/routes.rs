//! Every address of the admin API, each with its handler; the OpenAPI document is made from the same list, so neither can
//! have what the other lacks.
use axum::{Json, Router, extract::DefaultBodyLimit, middleware};
use http::{Method, Uri};
use serde_json::Value;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AdminState, ApiError, MAX_BODY, apply,
    auth::{self, Gatekeeper},
    explain,
    guard::{self, Guard},
    health, history, keys, objects, openapi,
};

/// Behind the bearer token.
pub(super) fn protected() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(objects::get, objects::put, objects::delete))
        .routes(routes!(objects::adopt))
        .routes(routes!(objects::list))
        .routes(routes!(objects::list_all))
        .routes(routes!(apply::apply))
        .routes(routes!(apply::diff))
        .routes(routes!(explain::explain))
        .routes(routes!(history::revisions))
        .routes(routes!(history::rollback))
        .routes(routes!(keys::create_api_key, keys::list_api_keys))
        .routes(routes!(keys::revoke_api_key))
        .routes(routes!(keys::create_node_token))
        .routes(routes!(keys::revoke_node_token))
        .routes(routes!(health::nodes))
}

/// Open to everybody who can connect: nothing here says what the policies are.
pub(super) fn open() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(description))
}

/// The admin API on its state.
pub fn router(state: AdminState) -> Router {
    let keeper = Gatekeeper::new(state.tokens.clone(), state.source);
    let (protected, _) = protected().split_for_parts();
    let (open, _) = open().split_for_parts();
    protected
        .route_layer(middleware::from_fn_with_state(keeper, auth::check))
        .merge(open)
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Guard::new(), guard::watch))
        .with_state(state)
}

async fn unknown(uri: Uri) -> ApiError {
    ApiError::UnknownPath { path: uri.path().chars().take(200).collect() }
}

async fn wrong_method(method: Method) -> ApiError {
    ApiError::MethodNotAllowed { method: method.to_string() }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "health", security(()), responses((status = 200, body = Value)))]
async fn description() -> Json<Value> {
    Json(openapi::document().clone())
}
