//! The engines on ONNX Runtime: sessions over mapped weights. Nothing here lets a session outlive its mapping, and no run
//! goes without a way to stop it.
mod chat;
mod embedding;
mod gate;
mod inspect;
mod kv;
mod proto;
mod session;
#[cfg(test)]
mod tests;
mod warm_up;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{ChatConfig, EmbeddingConfig};
use crate::engine::{ChatEngine, EmbeddingEngine};
use crate::error::{EngineError, ModelLabel};
use crate::load::LoadCancel;
use crate::runtime::Runtime;
use crate::weights::Weights;

/// How long the first runs of a version may take together. They are short prompts in a full batch: seconds for a large model,
/// and more only where a GPU's kernels are made ready. A graph that loops for ever must not hold the loader.
const WARM_UP_LIMIT: Duration = Duration::from_secs(600);

/// What a session is made of.
pub(crate) struct SessionSpec<'a> {
    pub(crate) runtime: &'a Arc<Runtime>,
    pub(crate) weights: Arc<Weights>,
    /// Path of the graph among the weights.
    pub(crate) graph: &'a str,
    pub(crate) label: &'a ModelLabel,
    pub(crate) cancel: &'a LoadCancel,
}

/// A warmed-up decoder.
pub(crate) fn chat(
    spec: &SessionSpec<'_>,
    config: ChatConfig,
    max_batch: usize,
) -> Result<chat::OnnxChat, EngineError> {
    let kv_bytes = kv::bytes(&config, max_batch);
    let session = session::build(spec, kv_bytes)?;
    inspect::chat(&session, &config)?;
    let mut engine = chat::OnnxChat::new(session, config, max_batch, spec.label.clone())?;
    let terminator = engine.terminator();
    warm_up::run(spec.cancel, WARM_UP_LIMIT, &*terminator, || engine.warm_up())?;
    Ok(engine)
}

/// A warmed-up encoder.
pub(crate) fn embedding(
    spec: &SessionSpec<'_>,
    config: EmbeddingConfig,
    max_batch: usize,
) -> Result<embedding::OnnxEmbedding, EngineError> {
    let session = session::build(spec, 0)?;
    inspect::embedding(&session, &config)?;
    let mut engine = embedding::OnnxEmbedding::new(session, config, max_batch, spec.label.clone())?;
    let terminator = engine.terminator();
    warm_up::run(spec.cancel, WARM_UP_LIMIT, &*terminator, || engine.warm_up())?;
    Ok(engine)
}

/// A failed run.
pub(crate) fn run_failed(source: ort::Error) -> EngineError {
    EngineError::Run { source: Box::new(source) }
}

/// Token ids for a graph; checked against the vocabulary, because a Gather with an id out of range is undefined.
pub(crate) fn check_tokens(tokens: &[u32], vocab: usize) -> Result<(), EngineError> {
    match tokens.iter().find(|t| **t as usize >= vocab) {
        Some(token) => Err(EngineError::CallInvalid { reason: format!("token {token} is not below {vocab}") }),
        None => Ok(()),
    }
}
