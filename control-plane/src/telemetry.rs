//! Logs, traces and metrics of the control plane, set up once per process. Nothing here may log a secret or fail later than at start.
use std::{sync::Arc, time::Duration};

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tracing_subscriber::{
    EnvFilter, Layer, layer::SubscriberExt as _, registry::LookupSpan, util::SubscriberInitExt as _,
};

mod requests;

use crate::{
    config::{LogFormat, Settings},
    error::Error,
};
pub use requests::traced;

/// Longest wait for the OTLP receiver, per export and at shutdown.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Handle of what [`init`] set up.
#[derive(Clone, Debug)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Every metric in the Prometheus text format 0.0.4, for `/metrics`.
    pub fn render_metrics(&self) -> String {
        let mut out = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.inner.registry.gather(), &mut out) {
            tracing::warn!(%error, "metrics could not be rendered");
        }
        String::from_utf8(out).unwrap_or_default()
    }

    /// Sends what is buffered, waiting at most a few seconds. Call it last; blocks.
    pub fn shutdown(&self) {
        if let Some(tracers) = &self.inner.tracers {
            let _ = tracers.shutdown_with_timeout(EXPORT_TIMEOUT);
        }
        let _ = self.inner.meters.shutdown_with_timeout(EXPORT_TIMEOUT);
    }
}

/// Log lines on standard error, in the shape that is configured.
pub(crate) fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    }
}

/// Installs the subscriber, the meter provider and the W3C propagator of this process. Call it inside a tokio runtime, once.
///
/// # Errors
/// TG-1531 when an exporter cannot be made or a subscriber is already there.
pub fn init(settings: &Settings) -> Result<Telemetry, Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Telemetry(e.to_string());
    global::set_text_map_propagator(TraceContextPropagator::new());
    let resource = Resource::builder()
        .with_service_name("tidegate")
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();

    let registry = Registry::new();
    let prometheus =
        opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().map_err(|e| failed(&e))?;
    let mut meters = SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(prometheus);
    let mut tracers = None;
    if let Some(endpoint) = &settings.otlp_endpoint {
        let metrics = opentelemetry_otlp::MetricExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|e| failed(&e))?;
        meters = meters.with_reader(PeriodicReader::builder(metrics).with_interval(Duration::from_secs(10)).build());
        let spans = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|e| failed(&e))?;
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_resource(resource)
            .with_batch_exporter(spans)
            .build();
        global::set_tracer_provider(provider.clone());
        tracers = Some(provider);
    }
    let meters = meters.build();
    global::set_meter_provider(meters.clone());

    // Postgres' notices ("already exists, skipping") come through sqlx at `info`.
    let quiet = if settings.log_level.contains("sqlx") { "" } else { ",sqlx=warn" };
    let filter = EnvFilter::builder().parse(format!("{}{quiet}", settings.log_level)).map_err(|e| failed(&e))?;
    let lines = lines(settings.log_format);
    let spans = tracers.as_ref().map(|t| tracing_opentelemetry::layer().with_tracer(t.tracer("tidegate")));
    tracing_subscriber::registry().with(filter).with(lines).with(spans).try_init().map_err(|e| failed(&e))?;
    Ok(Telemetry { inner: Arc::new(Inner { registry, meters, tracers }) })
}
