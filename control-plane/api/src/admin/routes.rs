//! Every address of the admin API, each with its handler; the OpenAPI document is made from the same list, so neither can
//! have what the other lacks.
use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    middleware,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, Uri, header};
use serde_json::Value;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AdminState, ApiError, MAX_BODY, Problem, apply,
    auth::{self, Gatekeeper},
    errors::PAGES,
    explain,
    guard::{self, Guard},
    health, history,
    hosts::{self, Hosts},
    input::InPath,
    keys, node_tokens, objects, openapi, proof, tokens,
};

/// On every answer: which server process gave it.
const INSTANCE: HeaderName = HeaderName::from_static("x-tidegate-instance");
/// Requests answered at once, probes aside.
const IN_FLIGHT: usize = 256;
/// Probes answered at once: `/readyz` asks the database.
const PROBES_IN_FLIGHT: usize = 32;

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
        .routes(routes!(tokens::create_admin_token, tokens::list_admin_tokens))
        .routes(routes!(tokens::revoke_admin_token))
        .routes(routes!(node_tokens::create_node_token, node_tokens::list_node_tokens))
        .routes(routes!(node_tokens::revoke_node_token))
        .routes(routes!(health::nodes))
}

/// What probes and Prometheus ask. Open to everybody who can connect, as [`open`].
pub(super) fn probes() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new().routes(routes!(health::readyz)).routes(routes!(health::metrics))
}

/// Whether the process lives: asks nothing of anybody.
pub(super) fn alive() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new().routes(routes!(health::healthz))
}

/// Open to everybody who can connect: nothing here says what the policies are.
pub(super) fn open() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new().routes(routes!(description)).routes(routes!(error_page)).routes(routes!(proof::prove))
}

/// The admin API on its state. However busy it is, probes are answered: else a healthy process would be killed for being used.
pub fn router(state: AdminState) -> Router {
    let keeper = Gatekeeper::new(state.tokens.clone(), state.source);
    let (protected, _) = protected().split_for_parts();
    let (open, _) = open().split_for_parts();
    let (probes, _) = probes().split_for_parts();
    let (alive, _) = alive().split_for_parts();
    let instance = HeaderValue::from_str(&state.server.instance).unwrap_or(HeaderValue::from_static("unnamed"));
    let main = protected.route_layer(middleware::from_fn_with_state(keeper, auth::check)).merge(open);
    let guarded = |router, places| guarded(router, places, &state.hosts);
    guarded(main.fallback(unknown), IN_FLIGHT)
        .merge(guarded(probes, PROBES_IN_FLIGHT))
        .merge(guarded(alive, usize::MAX))
        .layer(middleware::map_response(move |mut response: Response| {
            response.headers_mut().insert(INSTANCE, instance.clone());
            std::future::ready(response)
        }))
        .with_state(state)
}

fn guarded(router: Router<AdminState>, places: usize, hosts: &Hosts) -> Router<AdminState> {
    router
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(hosts.clone(), hosts::check))
        .layer(middleware::from_fn_with_state(Guard::new(places), guard::watch))
}

async fn unknown(uri: Uri) -> ApiError {
    ApiError::UnknownPath { path: uri.path().chars().take(200).collect() }
}

async fn wrong_method(method: Method) -> ApiError {
    ApiError::MethodNotAllowed { method: method.to_string() }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "health", security(()),
    responses((status = 200, body = Value),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn description() -> Json<Value> {
    Json(openapi::document().clone())
}

/// What an error code means and what to do, as Markdown. `type` of every problem document leads here.
#[utoipa::path(get, path = "/errors/{code}", tag = "health", security(()), params(("code" = String, Path,)),
    responses((status = 200, description = "The page", body = String, content_type = "text/markdown"),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
async fn error_page(InPath(code): InPath<String>) -> Result<impl IntoResponse, ApiError> {
    let page = tidegate_error_pages::find(&code);
    let page =
        page.ok_or_else(|| ApiError::UnknownPath { path: format!("{PAGES}{code}").chars().take(200).collect() })?;
    Ok(([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], page.text))
}
