//! Real Envoy with what `translate` makes, and origins that behave as workers do on their worst day. No control plane: the
//! resources come as files, so each test sets exactly what it needs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cloned_ref_to_slice_refs)]
mod bodies;
mod browsers;
mod keys;
mod limits;
mod replies;
mod workers;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use system_tests::{
    envoy_files::{EchoOrigin, EnvoyFiles, RawClient, Response, get, post, write},
    ports,
};
use tidegate_policy::{
    kinds::Task,
    snapshot::{ApiKeyPublic, Arm, Interval, ObjectRef, Snapshot, Split, Target},
};
use tidegate_translate::{GatewaySettings, files, gateway};

const CHAT: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"chat","messages":[]}"#;
type Header = (String, Vec<u8>);

/// One model `chat` with two arms, and an Envoy in front.
struct Bench {
    snapshot: Snapshot,
    settings: GatewaySettings,
    envoy: EnvoyFiles,
}

impl Bench {
    /// `prepare` changes the snapshot before Envoy starts.
    fn start(prepare: impl FnOnce(&mut Snapshot)) -> Self {
        Self::start_with(GatewaySettings::default(), prepare)
    }

    fn start_with(settings: GatewaySettings, prepare: impl FnOnce(&mut Snapshot)) -> Self {
        let origin = EchoOrigin::start().unwrap().address;
        let mut snapshot = two_arms(origin);
        prepare(&mut snapshot);
        let settings = GatewaySettings { listen: ports::free().unwrap(), ..settings };
        let dir = EnvoyFiles::prepare().unwrap();
        write(dir.path(), &files::files(&gateway(&snapshot, &settings), dir.path()).unwrap()).unwrap();
        let bootstrap = files::file_bootstrap(dir.path(), &dir.path().join("admin.sock"));
        let envoy = EnvoyFiles::start(dir, &bootstrap).unwrap();
        envoy.assert_nothing_rejected().unwrap();
        Self { snapshot, settings, envoy }
    }

    /// Changes what Envoy is told and waits until it has taken that.
    fn change(&mut self, what: impl FnOnce(&mut Snapshot)) {
        what(&mut self.snapshot);
        let taken = || -> u64 {
            let stats = self.envoy.admin("/stats?filter=update_success$").unwrap();
            stats.lines().filter_map(|l| l.rsplit_once(": ")?.1.parse::<u64>().ok()).sum()
        };
        let before = taken();
        let set = gateway(&self.snapshot, &self.settings);
        let changed = write(self.envoy.dir(), &files::files(&set, self.envoy.dir()).unwrap()).unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while changed && taken() == before {
            assert!(Instant::now() < until, "Envoy did not take the change");
            std::thread::sleep(Duration::from_millis(10));
        }
        // What else was written at the same time follows within a tick of Envoy's file watch.
        std::thread::sleep(Duration::from_millis(100));
        self.envoy.assert_nothing_rejected().unwrap();
    }

    fn client(&self) -> RawClient {
        RawClient::new(self.settings.listen)
    }

    fn ask(&self, headers: &[Header]) -> Response {
        self.client().send(&post(CHAT, BODY, headers)).unwrap()
    }

    fn endpoints(&mut self, to: &[SocketAddr]) {
        self.change(|s| s.arms.values_mut().for_each(|arm| arm.endpoints = to.to_vec()));
    }
}

fn two_arms(origin: SocketAddr) -> Snapshot {
    let model = ObjectRef { namespace: "default".to_owned(), name: "chat".to_owned() };
    let arm = |version: &str| {
        let cluster = format!("model.default.chat.{version}");
        let endpoints = vec![origin];
        (
            cluster.clone(),
            Arm { cluster, model: model.clone(), version: version.to_owned(), endpoints, max_concurrency: None },
        )
    };
    let interval = |version: &str, label: &str| Interval {
        arm: format!("model.default.chat.{version}"),
        arm_label: label.to_owned(),
        weight: 5_000,
    };
    let split = Split {
        id: "default/canary/split".to_owned(),
        owner: model.clone(),
        owner_generation: 3,
        key_header: "x-user-id".to_owned(),
        salt: "s".to_owned(),
        intervals: vec![interval("v2", "candidate"), interval("v1", "stable")],
    };
    Snapshot {
        revision: 1,
        targets: vec![Target {
            model: model.clone(),
            model_id: "chat".to_owned(),
            task: Task::Chat,
            rules: Vec::new(),
            split,
            named: Vec::new(),
            limits: Vec::new(),
        }],
        arms: BTreeMap::from([arm("v1"), arm("v2")]),
        pools: BTreeMap::new(),
        limits: BTreeMap::new(),
        api_keys: BTreeMap::new(),
    }
}

/// An API key whose private half stays here, to forge with.
struct Key {
    pair: Ed25519KeyPair,
    public: ApiKeyPublic,
}

impl Key {
    fn new(id: &str, tenant: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": id, "x": x});
        Self { pair, public: ApiKeyPublic { id: id.to_owned(), tenant: tenant.to_owned(), jwk } }
    }

    /// As a client sends it.
    fn header(&self) -> Header {
        let claims = json!({"iss": "tidegate", "sub": self.public.tenant, "jti": self.public.id, "iat": 1_700_000_000});
        self.signed(&json!({"alg": "EdDSA", "kid": self.public.id}), &claims)
    }

    fn signed(&self, head: &Value, claims: &Value) -> Header {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(head), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(text.as_bytes()));
        ("Authorization".to_owned(), format!("Bearer tg_{text}.{signature}").into_bytes())
    }

    fn add_to(&self, snapshot: &mut Snapshot) {
        snapshot.api_keys.insert(self.public.id.clone(), self.public.clone());
    }
}

/// A bench with one good key.
fn with_key() -> (Bench, Header) {
    let key = Key::new("k1", "acme");
    (Bench::start(|s| key.add_to(s)), key.header())
}

fn header(name: &str, value: impl AsRef<[u8]>) -> Header {
    (name.to_owned(), value.as_ref().to_vec())
}

/// An origin that does `then` with each request head; false closes the connection.
fn origin(then: impl Fn(&str, &mut TcpStream) -> bool + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let then = Arc::new(then);
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let then = then.clone();
            std::thread::spawn(move || {
                let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
                while let Ok(n @ 1..) = socket.read(&mut chunk) {
                    bytes.extend_from_slice(&chunk[..n]);
                    // Every request of these tests ends with the body's last brace.
                    if bytes.ends_with(b"}") {
                        let head = String::from_utf8_lossy(&bytes).into_owned();
                        bytes.clear();
                        if !then(&head, &mut socket) {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    ports::free().unwrap()
}

/// The error code of an OpenAI error body; the body must be JSON and say so.
fn error_code(answer: &Response) -> String {
    assert_eq!(answer.header("content-type"), "application/json", "{}", answer.text());
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{e}: {}", answer.text()));
    let error = &body["error"];
    assert!(error["message"].is_string() && error["type"].is_string() && error.get("param").is_some(), "{body}");
    error["code"].as_str().unwrap().to_owned()
}
