//! One trace from the caller's header through queue and engine, and the metrics, as an OTLP receiver sees them.
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    trace::v1::Span,
};
use prost::Message as _;
use tidegate_proto::{contract::TYPE_MODEL_SET, fleet::State};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::{
    control::{Plane, exit_status, program, signal_term},
    harness::{Http, ask, model_set},
};

#[derive(Clone, Default)]
struct Receiver {
    spans: Arc<Mutex<Vec<Span>>>,
    metrics: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let spans = resources.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        self.spans.lock().unwrap().extend(spans);
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let resources = request.into_inner().resource_metrics;
        let metrics = resources.into_iter().flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics);
        self.metrics.lock().unwrap().extend(metrics.map(|m| m.name));
        Ok(Response::new(Default::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_callers_header_to_the_engine() {
    let receiver = Receiver::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(receiver.clone()))
        .add_service(MetricsServiceServer::new(receiver.clone()));
    tokio::spawn(async move { server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });

    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::new();
    let (address, _serving) = plane.listen("127.0.0.1:0").await;
    plane.push(TYPE_MODEL_SET, 1, model_set(&["v1"]).encode_to_vec());
    let mut program = program(dir.path(), address, &["--otlp-endpoint", &endpoint]);
    let ready = plane.reported(|r| r.state() == State::Ready).await;
    let http = Http::at(ready.address.parse().unwrap());
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = http.chat_with(&[("traceparent", caller)], &ask("hello")).await;
    assert_eq!(answer.status, http::StatusCode::OK);
    signal_term(&program);
    assert_eq!(exit_status(&mut program).await.code(), Some(0), "what is buffered is sent before the end");

    let spans = receiver.spans.lock().unwrap().clone();
    let find = |name: &str| {
        let of_trace = |s: &&Span| s.name == name && s.trace_id == hex("0af7651916cd43dd8448eb211c80319c");
        let names: Vec<_> = spans.iter().map(|s| s.name.clone()).collect();
        spans.iter().find(of_trace).unwrap_or_else(|| panic!("no {name} in {names:?}")).clone()
    };
    let request = find("request");
    assert_eq!(request.parent_span_id, hex("b7ad6b7169203331"));
    for name in ["queue", "engine.prefill", "engine.decode"] {
        assert_eq!(find(name).parent_span_id, request.span_id, "{name}");
    }
    let metrics = receiver.metrics.lock().unwrap().clone();
    assert!(metrics.iter().any(|m| m == "tidegate_requests"), "{metrics:?}");
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
