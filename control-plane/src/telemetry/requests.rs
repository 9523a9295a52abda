//! One span per request to the admin API, in the caller's trace if it names one. It changes nothing about the answer and records
//! no header and no query.
use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::HeaderMap,
    middleware::{self, Next},
    response::Response,
};
use opentelemetry::{global, propagation::Extractor};
use tracing::{Instrument as _, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The router, with a span around every request.
pub fn traced(router: Router) -> Router {
    router.layer(middleware::from_fn(trace))
}

async fn trace(request: Request, next: Next) -> Response {
    // Of an address that does not exist: any text, so it is not told.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().as_str();
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        otel.status_code = Empty,
    );
    if !span.is_disabled() {
        let parent = global::get_text_map_propagator(|propagator| propagator.extract(&Headers(request.headers())));
        // Fails only for a span that is entered already, which this one is not.
        let _ = span.set_parent(parent);
    }
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    response
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    //! What an exporter is given for a request.
    use std::sync::{Arc, Mutex};

    use axum::{body::Body, http::StatusCode, routing::get};
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        propagation::TraceContextPropagator,
        trace::{SdkTracerProvider, SpanData, SpanExporter},
    };
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default, Debug)]
    struct Exported(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Exported {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_request_is_one_span_in_the_callers_trace() {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let exported = Exported::default();
        let tracers = SdkTracerProvider::builder().with_simple_exporter(exported.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(tracers.tracer("test"));
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

        let fails = get(|| async { StatusCode::SERVICE_UNAVAILABLE });
        let router = Router::new().route("/things/{name}", get(|| async { "here" })).route("/fails", fails);
        let service = TowerToHyperService::new(traced(router));
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for path in ["/things/one?token=secret", "/fails", "/nowhere/secret"] {
            let request = axum::http::Request::get(path)
                .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
                .body(Body::empty())
                .unwrap();
            service.call(request).await.unwrap();
        }

        let spans = exported.0.lock().unwrap();
        let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["GET /things/{name}", "GET /fails", "GET none"]);
        let status = |span: &SpanData| {
            let found = span.attributes.iter().find(|a| a.key.as_str() == "http.response.status_code");
            found.map(|a| a.value.as_str().into_owned()).unwrap_or_default()
        };
        assert_eq!(spans.iter().map(status).collect::<Vec<_>>(), ["200", "503", "404"]);
        assert!(spans.iter().all(|span| span.span_context.trace_id().to_string() == trace));
        assert!(spans.iter().all(|span| span.span_kind == SpanKind::Server));
        assert!(matches!(spans[1].status, Status::Error { .. }) && !matches!(spans[0].status, Status::Error { .. }));
        assert!(!format!("{spans:?}").contains("secret"));
    }
}
