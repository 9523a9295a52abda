//! The whole program against a control plane made here: pushes are acknowledged or refused over the wire, reports arrive, the
//! configuration stays when the control plane goes, and a signal ends it in order.
use std::{
    net::SocketAddr,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use envoy_types::pb::{
    envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
        aggregated_discovery_service_server::{AggregatedDiscoveryService, AggregatedDiscoveryServiceServer},
    },
    google::protobuf::Any,
};
use futures::Stream;
use http::StatusCode;
use prost::Message as _;
use tidegate_engine::fake::answer_to;
use tidegate_proto::{
    contract::{TYPE_LIMIT_SET, TYPE_MODEL_SET},
    fleet::{
        Directive, State, VersionState, WorkerReport,
        fleet_server::{Fleet, FleetServer},
    },
    worker::{Limit, LimitSet, RequestRate},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::harness::{Http, ask, model_set};

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the scripted control plane pushes and hears.
#[derive(Clone)]
pub struct Plane {
    pushes: watch::Sender<Vec<(String, u64, Vec<u8>)>>,
    heard: Arc<Mutex<Vec<DeltaDiscoveryRequest>>>,
    report: watch::Sender<WorkerReport>,
    tokens: Arc<Mutex<Vec<String>>>,
}

impl Plane {
    pub fn new() -> Self {
        let (heard, tokens) = (Arc::default(), Arc::default());
        Self { pushes: watch::Sender::new(Vec::new()), heard, report: watch::Sender::default(), tokens }
    }

    pub async fn listen(&self, address: &str) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind(address).await.unwrap();
        let bound = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(AggregatedDiscoveryServiceServer::new(self.clone()))
            .add_service(FleetServer::new(self.clone()));
        let task =
            tokio::spawn(async move { server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
        (bound, task)
    }

    pub fn push(&self, type_url: &str, version: u64, body: Vec<u8>) {
        self.pushes.send_modify(|all| {
            all.retain(|(url, _, _)| url != type_url);
            all.push((type_url.to_owned(), version, body));
        });
    }

    async fn answer_to(&self, nonce: &str) -> DeltaDiscoveryRequest {
        for _ in 0..2_000 {
            let found = self.heard.lock().unwrap().iter().find(|r| r.response_nonce == nonce).cloned();
            if let Some(found) = found {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no answer to {nonce}");
    }

    pub async fn reported(&self, holds: impl Fn(&WorkerReport) -> bool) -> WorkerReport {
        let mut reports = self.report.subscribe();
        let found = reports.wait_for(|report| holds(report));
        tokio::time::timeout(Duration::from_secs(15), found).await.expect("in time").unwrap().clone()
    }
}

fn bearer<T>(request: &Request<T>) -> String {
    request.metadata().get("authorization").map_or(String::new(), |v| v.to_str().unwrap().to_owned())
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Plane {
    type StreamAggregatedResourcesStream = Out<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Out<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        self.tokens.lock().unwrap().push(bearer(&request));
        let mut requests = request.into_inner();
        let (out, stream) = mpsc::channel(16);
        let (plane, mut pushes) = (self.clone(), self.pushes.subscribe());
        pushes.mark_changed();
        tokio::spawn(async move {
            let mut sent: Vec<(String, u64)> = Vec::new();
            loop {
                tokio::select! {
                    request = requests.message() => match request {
                        Ok(Some(request)) => plane.heard.lock().unwrap().push(request),
                        Ok(None) | Err(_) => return,
                    },
                    _ = pushes.changed() => {
                        for (type_url, version, value) in pushes.borrow_and_update().clone() {
                            if sent.contains(&(type_url.clone(), version)) {
                                continue;
                            }
                            sent.push((type_url.clone(), version));
                            let resource = Resource {
                                name: "default/chat".into(),
                                version: version.to_string(),
                                resource: Some(Any { type_url: type_url.clone(), value }),
                                ..Resource::default()
                            };
                            let response = DeltaDiscoveryResponse { nonce: format!("n{version}"), type_url, resources: vec![resource], ..DeltaDiscoveryResponse::default() };
                            if out.try_send(Ok(response)).is_err() {
                                return;
                            }
                        }
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

#[tonic::async_trait]
impl Fleet for Plane {
    type ReportStream = Out<Directive>;

    async fn report(&self, request: Request<Streaming<WorkerReport>>) -> Result<Response<Self::ReportStream>, Status> {
        self.tokens.lock().unwrap().push(bearer(&request));
        let (mut reports, plane) = (request.into_inner(), self.clone());
        let (out, stream) = mpsc::channel(4);
        out.try_send(Ok(Directive { report_interval_ms: 200, drain: false })).unwrap();
        tokio::spawn(async move {
            let _out = out;
            while let Ok(Some(report)) = reports.message().await {
                plane.report.send_replace(report);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

/// The program; killed when dropped.
pub struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn program(dir: &std::path::Path, plane: SocketAddr, more: &[&str]) -> Program {
    std::fs::write(dir.join("token"), "tgn_secret0123456789\n").unwrap();
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_tidegate-worker"))
        .args(["--node-id", "w1", "--pool", "default/chat", "--engine", "fake", "--settle", "100ms", "--grace", "5s"])
        .arg("--node-token-file")
        .arg(dir.join("token"))
        .args(["--control-plane", &format!("http://{plane}")])
        .args(more)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    Program(child)
}

pub async fn exit_status(program: &mut Program) -> std::process::ExitStatus {
    for _ in 0..2_000 {
        if let Some(status) = program.0.try_wait().unwrap() {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("did not exit");
}

pub fn signal_term(program: &Program) {
    let status = Command::new("kill").args(["-TERM", &program.0.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn limits(burst: u64) -> Vec<u8> {
    let requests = Some(RequestRate { rate: 1, window_ms: 3_600_000, burst });
    let limit = Limit {
        id: "default/p/l".into(),
        generation: 1,
        conditions: vec![],
        counters: vec![],
        requests,
        concurrency: None,
        shadow: false,
    };
    LimitSet { name: "default/chat".into(), limits: vec![limit] }.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_obeys_reports_survives_its_control_plane_and_leaves_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::new();
    let (address, serving) = plane.listen("127.0.0.1:0").await;
    let mut program = program(dir.path(), address, &[]);
    plane.push(TYPE_MODEL_SET, 1, model_set(&["v1"]).encode_to_vec());
    assert!(plane.answer_to("n1").await.error_detail.is_none(), "an ACK");
    let ready = plane
        .reported(|r| {
            r.state() == State::Ready && r.versions.iter().any(|v| v.name == "v1" && v.state() == VersionState::Serving)
        })
        .await;
    assert_eq!(
        (ready.node_id.as_str(), ready.pool.as_str(), ready.versions[0].digest.len()),
        ("w1", "default/chat", 64)
    );
    let http = Http::at(ready.address.parse().unwrap());
    assert_eq!(http.chat(&ask("hello")).await.content(), answer_to("v1", "hello"));
    assert!(plane.tokens.lock().unwrap().iter().all(|t| t == "Bearer tgn_secret0123456789"));

    let mut bad = model_set(&["v1", "v2"]);
    bad.versions[1].files[0].path = "../../etc/passwd".into();
    plane.push(TYPE_MODEL_SET, 2, bad.encode_to_vec());
    let detail = plane.answer_to("n2").await.error_detail.expect("a NACK");
    assert!(detail.message.contains("TG-2110") && detail.message.contains("chat"), "{}", detail.message);
    plane.push(TYPE_MODEL_SET, 3, vec![0xff, 0xff]);
    assert!(plane.answer_to("n3").await.error_detail.expect("a NACK").message.contains("TG-2112"));
    assert_eq!(http.chat(&ask("hello")).await.content(), answer_to("v1", "hello"));
    plane.push(TYPE_LIMIT_SET, 4, limits(1));
    assert!(plane.answer_to("n4").await.error_detail.is_none());
    assert_eq!(http.chat(&ask("x")).await.status, StatusCode::OK);
    assert_eq!(http.chat(&ask("x")).await.status, StatusCode::TOO_MANY_REQUESTS);
    plane.push(TYPE_LIMIT_SET, 5, limits(1_000));
    plane.answer_to("n5").await;

    serving.abort();
    let _ = serving.await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(
        http.chat(&ask("alone")).await.content(),
        answer_to("v1", "alone"),
        "the last good configuration goes on"
    );
    plane.report.send_replace(WorkerReport::default());
    let (_, _serving) = plane.listen(&address.to_string()).await;
    plane.push(TYPE_MODEL_SET, 6, model_set(&["v2", "v1"]).encode_to_vec());
    plane.reported(|r| r.versions.iter().any(|v| v.name == "v2" && v.state() == VersionState::Serving)).await;
    assert_eq!(http.chat(&ask("x")).await.content(), answer_to("v2", "x"));

    signal_term(&program);
    plane.reported(|r| r.state() == State::Draining).await;
    assert_eq!(exit_status(&mut program).await.code(), Some(0));
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!log.contains("tgn_secret"), "the token is in the log");
    let info = log.lines().filter(|line| line.contains(" INFO ")).count();
    assert!((1..=6).contains(&info), "{info} info lines:\n{log}");
}

#[tokio::test]
async fn a_configuration_that_is_not_valid_ends_with_status_64() {
    let run = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_tidegate-worker")).args(args).output().unwrap();
    let bad = run(&["--listen", "nowhere", "--engine", "fake"]);
    let text = String::from_utf8(bad.stderr).unwrap();
    assert_eq!(bad.status.code(), Some(64), "{text}");
    assert!(text.contains("TG-2100") && text.contains("listen:") && text.contains("node-id:"), "{text}");
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(64));
    let help = run(&["--help"]);
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains("Examples:"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "tgn_x").unwrap();
    std::fs::write(dir.path().join("old.so"), "not a library").unwrap();
    let (token, dylib, root) = (dir.path().join("token"), dir.path().join("old.so"), dir.path().to_owned());
    let onnx = [
        "--node-id",
        "w",
        "--pool",
        "a/b",
        "--node-token-file",
        token.to_str().unwrap(),
        "--ort-dylib",
        dylib.to_str().unwrap(),
        "--model-root",
        root.to_str().unwrap(),
    ];
    let checked = run(&[&onnx[..], &["--check-config"]].concat());
    assert!(checked.status.success() && String::from_utf8(checked.stdout).unwrap().contains("(flag)"));
    let started = run(&onnx);
    let text = String::from_utf8(started.stderr).unwrap();
    assert!(started.status.code() == Some(1) && text.contains("TG-2002"), "{text}");
}
