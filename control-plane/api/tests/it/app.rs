//! A router on a store of its own, and requests to it.
use std::sync::Arc;

use axum::{Router, body::Body};
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tidegate_api::{
    admin::{AdminState, Fresh, Gateways, Hosts, router},
    credentials::{TokenTable, make_admin_token, proof::Claim},
    nodes::NodeRegistry,
};
use tidegate_policy::{
    compile::{CompileInput, compile},
    explain::GatewayFacts,
    ports::{AdminTokenAdded, CredentialStore, ObjectStore, Source},
    snapshot::Snapshot,
};
use tidegate_store::PgStore;
use tidegate_xds::Hub;
use tokio::sync::watch;
use tower::ServiceExt;

use super::{contract, pg};

/// The parts of a control plane that the admin API needs.
#[derive(Clone)]
pub struct App {
    pub router: Router,
    pub state: AdminState,
    pub store: PgStore,
    pub url: String,
    pub token: String,
    pub tokens: Arc<TokenTable>,
    pub snapshot: watch::Sender<Option<Arc<Snapshot>>>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// Expects a problem with this status and code.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.json["code"], code, "{}", answer.text);
        assert_eq!(answer.json["status"], status);
        assert_eq!(answer.json["type"], format!("/errors/{code}"));
        answer
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

impl App {
    pub async fn start() -> Self {
        Self::on(&pg::database()).await
    }

    pub async fn on(url: &str) -> Self {
        let store = PgStore::connect(url).await.unwrap();
        let (secret, token) = make_admin_token("tester").unwrap();
        assert_eq!(store.add_admin_token(&token).await.unwrap(), AdminTokenAdded::Added);
        let (snapshot, receiver) = watch::channel(None);
        let tokens = Arc::new(TokenTable::new());
        let state = AdminState {
            store: Arc::new(store.clone()),
            credentials: Arc::new(store.clone()),
            snapshot: receiver,
            nodes: Arc::new(|| json!({"items": []})),
            tokens: Arc::clone(&tokens),
            gateways: Gateways {
                nodes: NodeRegistry::new(),
                hub: watch::channel(Arc::new(Hub::default())).1,
                of_keys: |refused| refused.name == "tidegate.api-keys",
            },
            hosts: Hosts::new([127, 0, 0, 1].into(), &["admin.example".to_owned()], None),
            fresh: Arc::new(Fresh::default()),
            metrics: Arc::new(|| "tidegate_up 1\n".to_owned()),
            gateway: GatewayFacts { require_api_key: true },
            server: Claim { instance: "app".to_owned(), address: ([127, 0, 0, 1], 9080).into() },
            source: Source::Rest,
        };
        let app = Self {
            router: router(state.clone()),
            state,
            store,
            url: url.to_owned(),
            token: secret.expose().to_owned(),
            tokens,
            snapshot,
        };
        app.refresh().await;
        app
    }

    /// What the compile loop does after each change.
    pub async fn refresh(&self) {
        let everything = self.store.read_all().await.unwrap();
        self.tokens.replace(&everything);
        let compiled = compile(&CompileInput { everything: &everything, now: chrono::Utc::now() });
        self.snapshot.send_replace(Some(Arc::new(compiled.snapshot)));
    }

    /// Sends a request to localhost, unless it names another host, and checks the answer against the OpenAPI document.
    pub async fn send(&self, mut request: Request<Body>) -> Answer {
        request.headers_mut().entry("host").or_insert(http::HeaderValue::from_static("localhost"));
        self.send_as_it_is(request).await
    }

    /// Sends a request as it is, and checks the answer against the OpenAPI document.
    pub async fn send_as_it_is(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(parts.headers.contains_key("x-request-id"));
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        let answer = Answer { status: parts.status, headers: parts.headers, text, json };
        contract::check(&method, &path, &answer);
        answer
    }

    /// Sends a request with the admin token.
    pub async fn call(
        &self,
        (method, path): (Method, &str),
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call((Method::GET, path), &[], Body::empty()).await
    }

    pub async fn put(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.call((Method::PUT, path), &[], body).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.call((Method::POST, path), &[], body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call((Method::DELETE, path), &[], Body::empty()).await
    }
}

/// A Model with versions v1 and v2.
pub fn model(name: &str) -> String {
    let digest = "0123456789abcdef".repeat(4);
    let file = |path: &str| format!("{{path: {path}, sha256: {digest}, size: 10}}");
    let version = |v: &str| {
        format!(
            "    - name: {v}\n      uri: file:{name}/{v}\n      task: Chat\n      chatTemplate: chat_template.jinja\n      files: [{}, {}, {}]\n",
            file("model.onnx"),
            file("tokenizer.json"),
            file("chat_template.jinja"),
        )
    };
    format!("{}spec:\n  versions:\n{}{}", head("Model", name), version("v1"), version("v2"))
}

/// A pool of the model that serves v1 and v2.
pub fn pool(name: &str, model: &str) -> String {
    format!("{}spec:\n  modelRef: {{name: {model}}}\n  versions: [v1, v2]\n", head("WorkerPool", name))
}

/// A release of the model: v2 for `x-gray-tag: v2` and for `weight` per cent.
pub fn release(name: &str, model: &str, weight: u32) -> String {
    format!(
        "{}spec:\n  targetRef: {{kind: Model, name: {model}}}\n  stable: v1\n  candidate: v2\n  steps: [{{weight: {weight}}}]\n  rules:\n    - match: [{{type: Header, header: {{name: X-Gray-Tag, type: Exact, value: v2}}}}]\n      to: Candidate\n",
        head("ReleasePolicy", name)
    )
}

/// A limit of `rate` requests a second on the model.
pub fn limit(name: &str, model: &str, rate: u32) -> String {
    format!(
        "{}spec:\n  targetRefs: [{{kind: Model, name: {model}}}]\n  limits: [{{name: all, requests: {{rate: {rate}, window: 1s}}}}]\n",
        head("RateLimitPolicy", name)
    )
}

fn head(kind: &str, name: &str) -> String {
    format!("apiVersion: tidegate.dev/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\n")
}

/// Several documents as one body.
pub fn documents(all: &[String]) -> String {
    all.join("---\n")
}

pub const MODELS: &str = "/api/v1/namespaces/default/models";
