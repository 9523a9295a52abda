//! What happens around every request: an id, a span in the caller's trace, counters. Changes no answer but its headers.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tidegate_proto::contract::HEADER_REQUEST_ID;
use tracing::Instrument;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::App;
use crate::telemetry::{Metrics, remote_context};

/// Requests since the start, for the fleet report.
#[derive(Default, Debug)]
pub struct Totals {
    pub requests: AtomicU64,
    pub rejected: AtomicU64,
}

/// Name of the id header.
const REQUEST_ID: HeaderName = HeaderName::from_static(HEADER_REQUEST_ID);

/// Wraps the API; health and metrics are not counted.
pub async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let endpoint = match request.uri().path() {
        "/healthz" | "/readyz" | "/metrics" => return next.run(request).await,
        "/v1/chat/completions" => "chat",
        "/v1/embeddings" => "embeddings",
        _ => "other",
    };
    let id = request_id(request.headers().get(REQUEST_ID));
    let span = tracing::debug_span!(
        "request",
        endpoint,
        request_id = id.to_str().unwrap_or_default(),
        status = tracing::field::Empty
    );
    if !span.is_disabled() {
        // Fails only for a span that is entered already, which this one is not.
        let _ = span.set_parent(remote_context(request.headers()));
    }
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.record("status", status);
    let code = response.extensions().get::<Code>().map_or("", |code| code.0);
    app.metrics.request(endpoint, status, code);
    app.totals.requests.fetch_add(1, Ordering::Relaxed);
    if status == 429 || status == 503 {
        app.totals.rejected.fetch_add(1, Ordering::Relaxed);
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Stable code of an error answer, for the counter.
#[derive(Clone, Copy)]
pub struct Code(pub &'static str);

/// The caller's id where it is sane, else a new one.
fn request_id(given: Option<&HeaderValue>) -> HeaderValue {
    let sane =
        |value: &&HeaderValue| (1..=128).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
    if let Some(id) = given.filter(sane) {
        return id.clone();
    }
    let id = uuid::Uuid::new_v4().to_string();
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
}

/// Records how long a request took when its answer has ended, however it ended.
pub struct Stopwatch {
    endpoint: &'static str,
    begun: Instant,
    metrics: Arc<Metrics>,
}

impl Stopwatch {
    pub fn start(endpoint: &'static str, metrics: &Arc<Metrics>) -> Self {
        Self { endpoint, begun: Instant::now(), metrics: metrics.clone() }
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        self.metrics.request_ended(self.endpoint, self.begun.elapsed());
    }
}
