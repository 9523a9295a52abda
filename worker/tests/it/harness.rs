//! Starts workers and speaks HTTP to them. Holds no test.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tidegate_engine::{
    EngineError, LoadCancel, ModelRoots, Task, VersionSpec,
    engine::LoadedModel,
    fake::{self, FakeConfig},
};
use tidegate_proto::worker::{Batching, ModelFile, ModelSet, ModelVersion, Queue, Timeouts};
use tidegate_worker::{
    hotswap::{loader::Loader, report::Phase},
    telemetry::Telemetry,
    worker::{Parts, Worker},
};

type Adjust = Box<dyn Fn(&mut FakeConfig) + Send + Sync>;

/// Loads fakes, as a test wants them.
pub struct TestLoader {
    pub adjust: Adjust,
    pub refuse: Arc<std::sync::Mutex<Vec<String>>>,
    pub roots: Option<ModelRoots>,
    pub load_time: Duration,
}

impl Loader for TestLoader {
    fn load(&self, spec: &VersionSpec, cancel: &LoadCancel) -> Result<LoadedModel, EngineError> {
        std::thread::sleep(self.load_time);
        if self.refuse.lock().unwrap().contains(&spec.name) {
            let (expected, found) = (spec.files[0].sha256.clone(), "0".repeat(64));
            return Err(EngineError::DigestDiffers { path: "model.onnx".into(), expected, found });
        }
        if cancel.is_cancelled() {
            return Err(EngineError::LoadCancelled);
        }
        let mut config = FakeConfig { max_batch: spec.max_batch, ..FakeConfig::new(&spec.name) };
        (self.adjust)(&mut config);
        Ok(match spec.task {
            Task::Chat => fake::chat(config),
            Task::Embedding => fake::embedding(config),
        })
    }

    fn roots(&self) -> Option<&ModelRoots> {
        self.roots.as_ref()
    }
}

pub fn loader(adjust: impl Fn(&mut FakeConfig) + Send + Sync + 'static) -> TestLoader {
    TestLoader { adjust: Box::new(adjust), refuse: Arc::default(), roots: None, load_time: Duration::ZERO }
}

/// What every worker of a test is made of.
pub fn parts(loader: impl Loader) -> Parts {
    Parts {
        pool: "default/chat".into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        max_connections: 256,
        first_request: Duration::from_secs(30),
        linger: Duration::from_millis(200),
        slow_client: Duration::from_secs(10),
        loader: Arc::new(loader),
        telemetry: Telemetry::meters_only().unwrap(),
    }
}

pub async fn start_with(loader: impl Loader) -> Worker {
    Worker::start(parts(loader)).await.unwrap()
}

/// A worker that serves `v1` of model `chat`.
pub async fn chat_worker(adjust: impl Fn(&mut FakeConfig) + Send + Sync + 'static) -> Worker {
    let worker = start_with(loader(adjust)).await;
    worker.inlets.push_models(&model_set(&["v1"])).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    worker
}

pub fn version(name: &str, task: tidegate_proto::worker::Task) -> ModelVersion {
    let mut digest = format!("{:x}", name.len() + 1);
    name.bytes().for_each(|b| digest.push_str(&format!("{b:02x}")));
    let file = |path: &str| ModelFile { path: path.into(), sha256: format!("{digest:0<64}"), size: 1 };
    let chat = task == tidegate_proto::worker::Task::Chat;
    let mut files = vec![file("model.onnx"), file("tokenizer.json")];
    if chat {
        files.push(file("chat_template.jinja"));
    }
    ModelVersion {
        name: name.into(),
        uri: format!("file:{name}"),
        files,
        task: task.into(),
        quantization: 1,
        tokenizer: "tokenizer.json".into(),
        chat_template: if chat { "chat_template.jinja".into() } else { String::new() },
        retained: false,
    }
}

pub fn model_set(versions: &[&str]) -> ModelSet {
    ModelSet {
        name: "default/chat".into(),
        generation: 1,
        model_ref: "default/chat".into(),
        model_id: "chat".into(),
        versions: versions.iter().map(|name| version(name, tidegate_proto::worker::Task::Chat)).collect(),
        batching: Some(Batching { max_batch: 4, max_delay_ms: 1 }),
        queue: Some(Queue { max_requests: 64 }),
        timeouts: Some(Timeouts { inference_ms: 20_000, drain_ms: 20_000 }),
    }
}

pub fn embedding_set() -> ModelSet {
    let versions = vec![version("v1", tidegate_proto::worker::Task::Embedding)];
    ModelSet { versions, model_id: "embed".into(), ..model_set(&[]) }
}

/// Waits until a version is in this state; panics after 10 s.
pub async fn wait_for(worker: &Worker, name: &str, phase: Phase) {
    let mut versions = worker.versions.clone();
    let wait = versions.wait_for(|all| all.iter().any(|v| v.name == name && v.phase == phase));
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("in time").expect("alive");
}

/// Waits until `holds`; panics after 10 s.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn error(&self, member: &str) -> String {
        self.json()["error"][member].as_str().unwrap_or_default().to_owned()
    }

    /// The whole answer's text of a plain chat.
    pub fn content(&self) -> String {
        self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    }
}

#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

impl Http {
    pub fn new(worker: &Worker) -> Self {
        Self::at(worker.address)
    }

    pub fn at(address: SocketAddr) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), address }
    }

    /// `target`: method and path, such as `GET /v1/models`.
    pub async fn open(
        &self,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<hyper::body::Incoming> {
        let (method, path) = target.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if method == "POST" && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/json");
        }
        self.client.request(request.body(Full::new(body.into())).unwrap()).await.expect("a response")
    }

    pub async fn send(&self, target: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let (head, body) = self.open(target, headers, body).await.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), &[], "").await
    }

    pub async fn chat(&self, body: &Value) -> Answer {
        self.send("POST /v1/chat/completions", &[], body.to_string()).await
    }

    pub async fn chat_with(&self, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.send("POST /v1/chat/completions", headers, body.to_string()).await
    }

    pub async fn embed(&self, body: &Value) -> Answer {
        self.send("POST /v1/embeddings", &[], body.to_string()).await
    }
}

/// A chat request with one user message.
pub fn ask(text: &str) -> Value {
    json!({"model": "chat", "temperature": 0, "messages": [{"role": "user", "content": text}]})
}

/// The same with more members.
pub fn ask_with(text: &str, more: Value) -> Value {
    let mut body = ask(text);
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}
