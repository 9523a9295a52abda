//! Real files through a whole worker: a version whose files cannot serve a request never serves, the old one goes on, and a mistake
//! that only some conversation shows is never called the client's.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use http::StatusCode;
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tidegate_engine::{ModelRoots, Runtime, RuntimeConfig};
use tidegate_proto::worker::{ModelFile, ModelSet, ModelVersion, Task};
use tidegate_worker::{
    hotswap::{
        loader::OnnxLoader,
        report::{Phase, VersionStatus},
    },
    worker::Worker,
};

use crate::harness::{Http, ask, model_set, start_with, wait_for};

/// ONNX Runtime as `make tools` puts it there.
fn runtime() -> Arc<Runtime> {
    let tools = std::env::var_os("TIDEGATE_TOOLS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/tidegate/tools"),
        PathBuf::from,
    );
    Runtime::start(RuntimeConfig::cpu(tools.join("onnxruntime/libonnxruntime.so.1.32.0")))
        .expect("`make tools` was run")
}

/// Versions made of the engine's tiny models, under one root.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A copy of a tiny model, changed, as the folder `name`.
    fn version(&self, name: &str, fixture: &str, change: impl FnOnce(&Path)) -> ModelVersion {
        let folder = self.0.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("engine/tests/it/fixtures").join(fixture);
        for entry in std::fs::read_dir(fixtures).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        change(&folder);
        let files = std::fs::read_dir(&folder).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let bytes = std::fs::read(entry.path()).unwrap();
            let sha256 = hex::encode(Sha256::digest(&bytes));
            ModelFile { path: entry.file_name().into_string().unwrap(), sha256, size: bytes.len() as u64 }
        });
        let chat = fixture == "chat";
        ModelVersion {
            name: name.split('-').next().unwrap().to_owned(),
            uri: format!("file:{name}"),
            files: files.collect(),
            task: if chat { Task::Chat } else { Task::Embedding }.into(),
            quantization: 1,
            tokenizer: "tokenizer.json".to_owned(),
            chat_template: if chat { "chat_template.jinja" } else { "" }.to_owned(),
            retained: false,
        }
    }

    async fn worker(&self) -> Worker {
        let roots = ModelRoots::new([self.0.path().to_owned()]).unwrap();
        start_with(OnnxLoader { runtime: runtime(), roots }).await
    }
}

fn set(versions: &[&ModelVersion]) -> ModelSet {
    ModelSet { versions: versions.iter().map(|v| (*v).clone()).collect(), ..model_set(&[]) }
}

fn template(text: &str) -> impl FnOnce(&Path) {
    let text = text.to_owned();
    move |folder| std::fs::write(folder.join("chat_template.jinja"), text).unwrap()
}

/// What the report says about a version, once it says an error.
async fn error_of(worker: &Worker, name: &str) -> VersionStatus {
    let mut versions = worker.versions.clone();
    let told = versions.wait_for(|all| all.iter().any(|v| v.name == name && !v.error.is_empty()));
    let told = tokio::time::timeout(std::time::Duration::from_secs(60), told).await.expect("in time").expect("alive");
    told.iter().find(|v| v.name == name).cloned().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_serve_a_request_fails_and_the_old_one_goes_on() {
    let place = Place::new();
    let good = place.version("v1", "chat", |_| {});
    let worker = place.worker().await;
    worker.inlets.push_models(&set(&[&good])).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    let http = Http::new(&worker);
    for (name, text) in [
        ("v2", "{{ messages[0].content.shout() }}"),
        ("v3", "{{ bos_token + messages[0].content }}"),
        ("v4", "{% if messages[0].role == 'system' %}{{ no_such_thing.at_all }}{% endif %}{{ messages[0].content }}"),
    ] {
        let bad = place.version(name, "chat", template(text));
        worker.inlets.push_models(&set(&[&bad])).unwrap();
        let status = error_of(&worker, name).await;
        assert_eq!(status.phase, Phase::Failed, "{status:?}");
        assert!(status.error.starts_with("TG-2031: ") && status.error.contains("chat_template.jinja"), "{status:?}");
        let answer = http.chat(&ask("hi")).await;
        assert_eq!((answer.status, answer.header("x-tidegate-model-version")), (StatusCode::OK, "v1"), "{answer:?}");
    }
    let new_files = place.version("v1-again", "chat", template("{{ messages[0].content.shout() }}"));
    worker.inlets.push_models(&set(&[&new_files])).unwrap();
    let status = error_of(&worker, "v1").await;
    assert_eq!(status.phase, Phase::Serving, "{status:?}");
    assert!(status.error.starts_with("TG-2031: "), "{status:?}");
    assert_eq!(http.chat(&ask("hi")).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_files_is_never_called_the_clients() {
    let place = Place::new();
    let text = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
                {% if 'boom' in messages[0].content %}{{ nothing.at_all }}{% endif %}{{ messages[0].content }}";
    let version = place.version("v1", "chat", template(text));
    let worker = place.worker().await;
    worker.inlets.push_models(&set(&[&version])).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    let http = Http::new(&worker);
    assert_eq!(http.chat(&ask("hi")).await.status, StatusCode::OK);
    let system =
        json!({"model": "chat", "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]});
    let refused = http.chat(&system).await;
    assert_eq!((refused.status, refused.error("code")), (StatusCode::BAD_REQUEST, "TG-2212".to_owned()));
    assert!(refused.error("message").ends_with("refuses these messages: System role not supported"), "{refused:?}");
    let failed = http.chat(&ask("boom")).await;
    let seen = (failed.status, failed.error("code"), failed.error("type"), failed.error("param"));
    let expected = (StatusCode::INTERNAL_SERVER_ERROR, "TG-2234".into(), "server_error".into(), String::new());
    assert_eq!(seen, expected, "{failed:?}");
    assert!(failed.error("message").contains("TG-2045"), "{failed:?}");
    assert!(!failed.headers.contains_key("x-tidegate-retry"), "another worker has the same files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tokenizer_of_another_model_never_serves() {
    let place = Place::new();
    let other = |folder: &Path| {
        let file = folder.join("tokenizer.json");
        let text = std::fs::read_to_string(&file).unwrap();
        let changed = text.replace("\"H\": 72", "\"H\": 10047");
        assert_ne!(changed, text);
        std::fs::write(file, changed).unwrap();
    };
    for fixture in ["chat", "encoder"] {
        let worker = place.worker().await;
        let version = place.version(&format!("v1-{fixture}"), fixture, other);
        worker.inlets.push_models(&set(&[&version])).unwrap();
        let status = error_of(&worker, "v1").await;
        assert_eq!(status.phase, Phase::Failed);
        assert!(status.error.starts_with("TG-2030: ") && status.error.contains("tokenizer.json"), "{status:?}");
    }
}
