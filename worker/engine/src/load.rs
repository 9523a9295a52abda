//! From what was pushed to a loaded model: resolve, map, verify, build, warm up, try. Everything is checked before anything is
//! used; a failure leaves nothing behind and says which model, version and stage it was.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ort::session::builder::LoadCanceler;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::ModelConfig;
use crate::engine::{ChatEngine, EmbeddingEngine, LoadedModel, ModelEngine};
use crate::error::{EngineError, ModelLabel, Stage};
use crate::onnx::{self, SessionSpec};
use crate::roots::{ModelRoots, check_path};
use crate::runtime::Runtime;
use crate::special_tokens::{self, SpecialTokens};
use crate::tokenize::{CodecFiles, HfCodec, ModelVocabulary, NamedFile};
use crate::trial::Trial;
use crate::weights::Weights;

/// The file that holds the graph.
const GRAPH: &str = "model.onnx";
/// The file that describes it.
const CONFIG: &str = "config.json";
/// Files that one version may have.
const MAX_FILES: usize = 64;
/// Rows of a batch that may be asked for.
const MAX_BATCH: usize = 1024;

/// What a version can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub enum Task {
    Chat,
    Embedding,
}

/// A file of a version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileSpec {
    /// Relative to the version's uri.
    pub path: String,
    /// 64 hex digits.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// A version as it was pushed. Untrusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionSpec {
    /// The id that requests carry in `model`.
    pub model_id: String,
    /// The version's name, for example `v2.1`.
    pub name: String,
    /// `file:relative/dir` or `file:///absolute/dir`.
    pub uri: String,
    pub files: Vec<FileSpec>,
    pub task: Task,
    /// Path of the tokenizer among `files`.
    pub tokenizer: String,
    /// Path of the chat template among `files`; needed for chat.
    pub chat_template: Option<String>,
    /// Rows of one engine call, 1 to 1,024.
    pub max_batch: usize,
}

/// Ends a load from another thread. Clones share it.
#[derive(Clone, Default)]
pub struct LoadCancel {
    cancelled: Arc<AtomicBool>,
    session: Arc<Mutex<Option<LoadCanceler>>>,
}

impl LoadCancel {
    /// The load returns TG-2025 soon, whatever it is doing; a finished load is not changed.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        if let Some(session) = &*self.session.lock().unwrap_or_else(PoisonError::into_inner) {
            // It fails only when ONNX Runtime is too old for it, which the start-up refuses.
            let _ = session.cancel();
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Also cancels the building of this session.
    pub(crate) fn watch(&self, session: LoadCanceler) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
        if self.is_cancelled() {
            self.cancel();
        }
    }

    pub(crate) fn check(&self) -> Result<(), EngineError> {
        if self.is_cancelled() { Err(EngineError::LoadCancelled) } else { Ok(()) }
    }
}

/// SHA-256, lower-case hex, over the lines "path NUL sha256 LF" sorted by path: the identity of a version's contents.
pub fn version_digest(files: &[FileSpec]) -> String {
    let mut lines: Vec<String> =
        files.iter().map(|f| format!("{}\0{}\n", f.path, f.sha256.to_ascii_lowercase())).collect();
    lines.sort();
    let mut hash = Sha256::new();
    lines.iter().for_each(|line| hash.update(line));
    hex::encode(hash.finalize())
}

/// Loads a version: blocking, seconds; one at a time per device. Every error is an [`EngineError::Model`] with the stage.
pub fn load(
    runtime: &Arc<Runtime>,
    spec: &VersionSpec,
    roots: &ModelRoots,
    cancel: &LoadCancel,
) -> Result<LoadedModel, EngineError> {
    let label = ModelLabel { model_id: spec.model_id.clone(), version: spec.name.clone() };
    let at = |stage| {
        let label = label.clone();
        move |error| label.wrap(stage, error)
    };
    check_spec(spec).map_err(at(Stage::Resolve))?;
    let dir = roots.version_dir(&spec.uri).map_err(at(Stage::Resolve))?;
    let weights = Arc::new(Weights::open(roots, &dir, &spec.files, cancel).map_err(at(Stage::Verify))?);
    build(runtime, spec, weights, cancel).map_err(|error| {
        let first_run = matches!(
            error,
            EngineError::WarmUp { .. }
                | EngineError::WarmUpTooLong { .. }
                | EngineError::ModelTrial { .. }
                | EngineError::TemplateTrial { .. }
                | EngineError::TextLost { .. }
        );
        let stage = if first_run { Stage::WarmUp } else { Stage::Load };
        label.wrap(stage, error)
    })
}

fn check_spec(spec: &VersionSpec) -> Result<(), EngineError> {
    let invalid = |reason: String| Err(EngineError::CallInvalid { reason });
    if !(1..=MAX_BATCH).contains(&spec.max_batch) {
        return invalid(format!("max_batch is {}, 1 to {MAX_BATCH} are allowed", spec.max_batch));
    }
    if spec.files.len() > MAX_FILES {
        return invalid(format!("{} files, {MAX_FILES} are allowed", spec.files.len()));
    }
    let mut seen = std::collections::BTreeSet::new();
    for file in &spec.files {
        check_path(&file.path)?;
        if !seen.insert(&file.path) {
            return invalid(format!("{:?} is listed twice", file.path));
        }
    }
    let listed = |path: &str| {
        if spec.files.iter().any(|f| f.path == path) {
            Ok(())
        } else {
            Err(EngineError::FileNotListed { path: path.chars().take(128).collect() })
        }
    };
    listed(GRAPH)?;
    listed(CONFIG)?;
    listed(&spec.tokenizer)?;
    match (spec.task, &spec.chat_template) {
        (Task::Chat, Some(template)) => listed(template),
        (Task::Chat, None) => Err(EngineError::TemplateInvalid { source: "a chat version needs one".into() }),
        (Task::Embedding, _) => Ok(()),
    }
}

/// What the files beside the tokenizer say, where the version lists them.
fn special_tokens(spec: &VersionSpec, weights: &Weights) -> Result<SpecialTokens, EngineError> {
    let folder = spec.tokenizer.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let mut known = SpecialTokens::default();
    for name in special_tokens::FILES {
        let path = format!("{folder}{name}");
        if let Some(bytes) = weights.bytes(&path) {
            known = known.or(SpecialTokens::read(&path, bytes)?);
        }
    }
    Ok(known)
}

fn named<'a>(weights: &'a Weights, path: &'a str) -> Result<NamedFile<'a>, EngineError> {
    let bytes = weights.bytes(path).ok_or_else(|| EngineError::FileNotListed { path: path.to_owned() })?;
    Ok(NamedFile { path, bytes })
}

fn build(
    runtime: &Arc<Runtime>,
    spec: &VersionSpec,
    weights: Arc<Weights>,
    cancel: &LoadCancel,
) -> Result<LoadedModel, EngineError> {
    let label = ModelLabel { model_id: spec.model_id.clone(), version: spec.name.clone() };
    let config = ModelConfig::parse(named(&weights, CONFIG)?.bytes, spec.task)?;
    let tokenizer = named(&weights, &spec.tokenizer)?;
    let template = match (spec.task, &spec.chat_template) {
        (Task::Chat, Some(path)) => Some(named(&weights, path)?),
        (Task::Chat, None) | (Task::Embedding, _) => None,
    };
    let vocabulary = match &config {
        ModelConfig::Chat(config) => ModelVocabulary { size: config.vocab_size, answers: Some(&config.eos_token_ids) },
        ModelConfig::Embedding(config) => ModelVocabulary { size: config.vocab_size, answers: None },
    };
    let files = CodecFiles { tokenizer, template, specials: special_tokens(spec, &weights)?, vocabulary };
    let codec = HfCodec::new(files, label.clone())?;
    cancel.check()?;
    let session = SessionSpec { runtime, weights: weights.clone(), graph: GRAPH, label: &label, cancel };
    let trial = Trial { codec: &codec, tokenizer: &spec.tokenizer, template: spec.chat_template.as_deref() };
    let mut measured = Vec::new();
    let engine = match config {
        ModelConfig::Chat(config) => {
            let mut engine = onnx::chat(&session, config, spec.max_batch)?;
            onnx::first_runs(cancel, &*engine.terminator(), || trial.chat(&mut engine))?;
            ModelEngine::Chat(Box::new(engine))
        }
        ModelConfig::Embedding(config) => {
            let mut engine = onnx::embedding(&session, config, spec.max_batch)?;
            onnx::first_runs(cancel, &*engine.terminator(), || {
                trial.embedding(&mut engine)?;
                measured = trial.measure(&mut engine)?;
                Ok(())
            })?;
            ModelEngine::Embedding(Box::new(engine))
        }
    };
    cancel.check()?;
    Ok(LoadedModel {
        version: spec.name.clone(),
        digest: version_digest(&spec.files),
        tokenizer: Arc::new(codec),
        engine,
        measured,
    })
}
