//! What the tests share: the runtime of the tool cache, versions made of fixture folders, greedy answers.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tidegate_engine::engine::{ChatEngine, EmbeddingEngine, LoadedModel, ModelEngine, SequenceId};
use tidegate_engine::sampling::{Sampler, SamplingParams};
use tidegate_engine::{EngineError, FileSpec, LoadCancel, ModelRoots, Runtime, RuntimeConfig, Task, VersionSpec, load};

/// The installed tools; `make tools` puts them there.
pub fn tools() -> PathBuf {
    std::env::var_os("TIDEGATE_TOOLS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/tidegate/tools"),
        PathBuf::from,
    )
}

/// A file or folder of the tools.
pub fn tool(path: &str) -> PathBuf {
    let full = tools().join(path);
    assert!(full.exists(), "{} is not there: run `make tools`", full.display());
    full
}

pub fn dylib() -> PathBuf {
    tool("onnxruntime/libonnxruntime.so.1.32.0")
}

pub fn runtime() -> Arc<Runtime> {
    Runtime::start(RuntimeConfig::cpu(dylib())).expect("ONNX Runtime starts")
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures")
}

pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models")
}

/// A root with a copy of a fixture folder as version `m/v1`, free to be damaged.
pub struct Place {
    pub dir: TempDir,
}

impl Place {
    pub fn of(fixture: &str) -> Self {
        let place = Self { dir: tempfile::tempdir().expect("a temporary directory") };
        std::fs::create_dir_all(place.version()).expect("made");
        for entry in std::fs::read_dir(fixtures().join(fixture)).expect("the fixture is there") {
            let entry = entry.expect("readable");
            std::fs::copy(entry.path(), place.version().join(entry.file_name())).expect("copied");
        }
        place
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub fn version(&self) -> PathBuf {
        self.root().join("m/v1")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.version().join(name)
    }

    pub fn spec(&self, task: Task) -> VersionSpec {
        VersionSpec { uri: "file:m/v1".to_owned(), ..spec(&self.version(), task) }
    }

    pub fn load(&self, spec: &VersionSpec) -> Result<LoadedModel, EngineError> {
        load_under(&self.root(), spec)
    }
}

pub fn load_under(root: &Path, spec: &VersionSpec) -> Result<LoadedModel, EngineError> {
    let roots = ModelRoots::new([root.to_owned()])?;
    load(&runtime(), spec, &roots, &LoadCancel::default())
}

/// A version made of every file in a folder, with the digests that the files have now.
pub fn spec(folder: &Path, task: Task) -> VersionSpec {
    let mut files: Vec<FileSpec> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.is_file() && path.file_name().is_some_and(|n| n != "manifest.json"))
        .map(|path| {
            let bytes = std::fs::read(&path).expect("readable");
            let name = path.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
            FileSpec { path: name, sha256: hex::encode(Sha256::digest(&bytes)), size: bytes.len() as u64 }
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    VersionSpec {
        model_id: "test-model".to_owned(),
        name: "v1".to_owned(),
        uri: format!("file://{}", folder.display()),
        files,
        task,
        tokenizer: "tokenizer.json".to_owned(),
        chat_template: (task == Task::Chat).then(|| "chat_template.jinja".to_owned()),
        max_batch: 8,
    }
}

pub fn chat_engine(model: LoadedModel) -> Box<dyn ChatEngine> {
    match model.engine {
        ModelEngine::Chat(engine) => engine,
        ModelEngine::Embedding(_) => panic!("a chat model was expected"),
    }
}

pub fn embedding_engine(model: LoadedModel) -> Box<dyn EmbeddingEngine> {
    match model.engine {
        ModelEngine::Embedding(engine) => engine,
        ModelEngine::Chat(_) => panic!("an embedding model was expected"),
    }
}

pub fn greedy() -> Sampler {
    Sampler::new(SamplingParams { temperature: 0.0, ..SamplingParams::default() })
}

/// Greedy answers of prompts that start together; rows leave when they end.
pub fn answers(engine: &mut dyn ChatEngine, prompts: &[Vec<u32>], limit: usize) -> Vec<Vec<u32>> {
    let eos = engine.info().eos_token_ids.clone();
    let mut out = vec![Vec::new(); prompts.len()];
    let mut rows: Vec<(usize, SequenceId, Vec<f32>)> = Vec::new();
    for (row, (id, logits)) in engine.prefill(prompts).expect("prefill").into_iter().enumerate() {
        rows.push((row, id, logits));
    }
    while !rows.is_empty() {
        let mut step = Vec::new();
        let mut kept = Vec::new();
        for (row, id, logits) in rows {
            let token = greedy().pick(&logits).expect("finite");
            out[row].push(token);
            if out[row].len() >= limit || eos.contains(&token) {
                engine.release(id);
            } else {
                step.push((id, token));
                kept.push(row);
            }
        }
        if step.is_empty() {
            break;
        }
        let logits = engine.step(&step).expect("step");
        rows = kept.into_iter().zip(step).zip(logits).map(|((row, (id, _)), logits)| (row, id, logits)).collect();
    }
    out
}

/// The code of a failed load.
pub fn refusal(result: Result<LoadedModel, EngineError>) -> EngineError {
    match result {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error,
    }
}
