//! The OpenAI API of one worker: chat completions, embeddings, models, health, metrics. A status is committed only when the
//! request was admitted and its prefill succeeded; every stream ends with a finish reason or an error event.
mod admit;
mod chat;
pub mod chat_request;
mod chat_response;
mod embedding_request;
mod embeddings;
mod errors;
mod json;
mod media;
mod models;
mod noop;
mod observe;
mod sse;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::sync::Notify;

use crate::{
    drain::{Phase, Phases},
    error::RequestError,
    hotswap::table::Table,
    limits::Limits,
    queue::Queue,
    telemetry::{Metrics, Telemetry},
};

pub use embedding_request::parse_embedding;

/// Largest body, bytes.
pub const MAX_BODY: usize = 1 << 20;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of all bodies together that have arrived and are not admitted yet.
pub const MAX_BODIES: usize = 64 << 20;

/// Everything that a request can touch.
pub struct App {
    pub table: Arc<ArcSwap<Table>>,
    pub queue: Arc<Queue>,
    pub intake: admit::Intake,
    pub limits: Arc<Limits>,
    pub metrics: Arc<Metrics>,
    pub telemetry: Telemetry,
    pub phases: Arc<Phases>,
    pub totals: Arc<observe::Totals>,
    /// Told when a version becomes stuck, and when it no longer is.
    pub stuck_changed: Arc<Notify>,
}

impl App {
    /// Some version answers and its engine can be reached, and the worker is not on its way out. One version that is stuck keeps
    /// nobody from the others.
    pub fn is_ready(&self) -> bool {
        let table = self.table.load();
        let answers = table.default.is_some() && table.versions.iter().any(|v| !v.lane.stats.is_stuck());
        self.phases.now() == Phase::Running && answers
    }
}

pub use admit::Intake;
pub use observe::Totals;

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(|| async { errors::Refuse::from(RequestError::NoSuchPath) })
        .method_not_allowed_fallback(|| async { errors::Refuse::from(RequestError::MethodNotAllowed) })
        .layer(middleware::from_fn_with_state(app.clone(), observe::observe))
        .with_state(app)
}

/// Ready: a version answers, and the worker is not on its way out.
async fn readyz(State(app): State<Arc<App>>) -> Response {
    let reason = match app.phases.now() {
        Phase::Running if app.is_ready() => return "ready\n".into_response(),
        Phase::Running if app.table.load().default.is_some() => "an engine call cannot be stopped\n",
        Phase::Running => "no model is loaded\n",
        Phase::Settling | Phase::Draining => "shutting down\n",
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.telemetry.exposition() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.report()).into_response(),
    }
}
