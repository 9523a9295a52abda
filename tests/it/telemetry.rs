//! One trace id through Envoy, worker and engine step, as an OTLP receiver sees it; and the metrics that dashboards need.
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, ensure};
use opentelemetry_proto::tonic::collector::{
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
};
use system_tests::{
    documents::{PATIENCE, with_examples},
    ports, wait,
};
use tonic::{Request, Response, Status, transport::Server};

/// Everything received: (service, span name, trace id), and the names of metrics.
#[derive(Clone, Default)]
struct Receiver {
    spans: Arc<Mutex<Vec<(String, String, String)>>>,
    metrics: Arc<Mutex<BTreeSet<String>>>,
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let service = attributes
                .iter()
                .find(|a| a.key == "service.name")
                .map(|a| format!("{:?}", a.value))
                .unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|s| s.spans) {
                let id = span.trace_id.iter().map(|b| format!("{b:02x}")).collect();
                spans.push((service.clone(), span.name, id));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_metrics.into_iter().flat_map(|r| r.scope_metrics);
        self.metrics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(scopes.flat_map(|s| s.metrics).map(|m| m.name));
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_id_goes_through_envoy_worker_and_engine_step() -> Result<()> {
    let (receiver, address) = (Receiver::default(), ports::free()?);
    let server = Server::builder()
        .add_service(TraceServiceServer::new(receiver.clone()))
        .add_service(MetricsServiceServer::new(receiver.clone()))
        .serve(address);
    let server = tokio::spawn(server);
    let (tidegate, client) = with_examples(&["--otlp-endpoint", &format!("http://{address}")]).await?;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    client.chat("What is assert?", &[("traceparent", &parent), ("x-user-id", "nobody")]).await?.expect(200)?;
    wait::until("the spans of the request", PATIENCE, async || {
        let spans = receiver.spans.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of_trace: Vec<_> = spans.iter().filter(|(_, _, id)| id == trace).collect();
        let services: BTreeSet<_> = of_trace.iter().map(|(service, _, _)| service).collect();
        let step = of_trace.iter().any(|(_, name, _)| name == "engine.decode");
        ensure!(services.len() >= 2 && step, "{services:?} of {of_trace:?}");
        println!("spans of one request: {of_trace:?}");
        Ok(())
    })
    .await?;
    wait::until("metrics by OTLP", PATIENCE, async || {
        let metrics = receiver.metrics.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ensure!(metrics.iter().any(|m| m.starts_with("tidegate_")), "{metrics:?}");
        Ok(())
    })
    .await?;
    let (status, text) = tidegate.admin("GET", "/metrics", None).await?;
    let text = text.as_str().unwrap_or_default().to_owned();
    ensure!(status == 200 && text.contains("# TYPE tidegate_"), "{text}");
    for duration in ["compile", "ads_push"] {
        let bucket = format!("tidegate_{duration}_duration_seconds_bucket");
        let fits = |line: &str| line.starts_with(&bucket) && line.contains("le=\"0.5\"") && !line.ends_with(" 0");
        ensure!(text.lines().any(fits), "{duration} has no bucket for half a second:\n{text}");
    }
    server.abort();
    Ok(())
}
