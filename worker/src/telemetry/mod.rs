//! Logs, metrics and traces of this process. Set up once at the start; spans cost nothing unless an OTLP receiver is configured.
//! Never logs a prompt, an answer or a token.
mod metrics;

use opentelemetry::{
    Context, KeyValue, global, metrics::MeterProvider as _, propagation::Extractor, trace::TracerProvider as _,
};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{
    Resource, metrics::SdkMeterProvider, propagation::TraceContextPropagator, trace::SdkTracerProvider,
};
use prometheus::{Encoder, TextEncoder};
use tracing_subscriber::{EnvFilter, Layer, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

pub use metrics::Metrics;

use crate::{config::Settings, error::WorkerError};

/// Owns the providers; [`Telemetry::shutdown`] sends what is still buffered.
pub struct Telemetry {
    registry: prometheus::Registry,
    meters: SdkMeterProvider,
    tracer: Option<SdkTracerProvider>,
}

fn failed(error: impl std::fmt::Display) -> WorkerError {
    WorkerError::Telemetry { reason: error.to_string() }
}

impl Telemetry {
    /// Meters only, without global state: what tests of a whole worker need, several in one process.
    pub fn meters_only() -> Result<Self, WorkerError> {
        let (registry, builder) = prometheus_reader()?;
        Ok(Self { registry, meters: builder.build(), tracer: None })
    }

    /// Sets up logs, and OTLP where configured. Must run inside the runtime.
    pub fn install(settings: &Settings) -> Result<Self, WorkerError> {
        let resource = Resource::builder()
            .with_service_name("tidegate-worker")
            .with_attribute(KeyValue::new("service.instance.id", settings.node_id.clone()))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let (registry, mut builder) = prometheus_reader()?;
        builder = builder.with_resource(resource.clone());
        let mut tracer = None;
        if let Some(endpoint) = &settings.telemetry.otlp_endpoint {
            let spans = opentelemetry_otlp::SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .build()
                .map_err(failed)?;
            let meters = opentelemetry_otlp::MetricExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .build()
                .map_err(failed)?;
            tracer = Some(SdkTracerProvider::builder().with_batch_exporter(spans).with_resource(resource).build());
            builder = builder.with_periodic_exporter(meters);
        }
        let meters = builder.build();
        global::set_meter_provider(meters.clone());
        install_logs(settings, tracer.as_ref())?;
        Ok(Self { registry, meters, tracer })
    }

    /// The instruments of this worker.
    pub fn metrics(&self) -> Metrics {
        Metrics::new(&self.meters.meter("tidegate"))
    }

    /// Gauges that are read when somebody asks.
    pub fn observe(&self, name: &'static str, what: &'static str, read: impl Fn() -> u64 + Send + Sync + 'static) {
        let meter = self.meters.meter("tidegate");
        let gauge = meter.u64_observable_gauge(name).with_description(what);
        gauge.with_callback(move |observer| observer.observe(read(), &[])).build();
    }

    /// Prometheus text exposition.
    pub fn exposition(&self) -> Result<String, WorkerError> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out).map_err(failed)?;
        String::from_utf8(out).map_err(failed)
    }

    /// Sends what is buffered. Failures are logged: nobody waits for telemetry.
    pub fn shutdown(&self) {
        let tracer = self.tracer.as_ref().map_or(Ok(()), SdkTracerProvider::shutdown);
        for result in [tracer, self.meters.shutdown()] {
            if let Err(error) = result {
                tracing::debug!(%error, "telemetry did not shut down cleanly");
            }
        }
    }
}

type Reader = (prometheus::Registry, opentelemetry_sdk::metrics::MeterProviderBuilder);

fn prometheus_reader() -> Result<Reader, WorkerError> {
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().map_err(failed)?;
    Ok((registry, SdkMeterProvider::builder().with_reader(exporter)))
}

fn install_logs(settings: &Settings, tracer: Option<&SdkTracerProvider>) -> Result<(), WorkerError> {
    let filter = EnvFilter::try_new(&settings.telemetry.filter).map_err(failed)?;
    let logs = if settings.telemetry.json_logs {
        fmt::layer().json().with_writer(std::io::stderr).boxed()
    } else {
        fmt::layer().with_writer(std::io::stderr).with_ansi(false).boxed()
    };
    let traces = tracer.map(|provider| {
        let ours = Targets::new().with_target("tidegate_worker", tracing::Level::DEBUG);
        tracing_opentelemetry::layer().with_tracer(provider.tracer("tidegate-worker")).with_filter(ours)
    });
    tracing_subscriber::registry().with(traces).with(logs.with_filter(filter)).try_init().map_err(failed)
}

struct Headers<'a>(&'a http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// The caller's trace, from `traceparent` (W3C Trace Context).
pub fn remote_context(headers: &http::HeaderMap) -> Context {
    use opentelemetry::propagation::TextMapPropagator;
    TraceContextPropagator::new().extract(&Headers(headers))
}
