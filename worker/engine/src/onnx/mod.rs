//! The engines on ONNX Runtime: sessions over mapped weights. Nothing here lets a session outlive its mapping, and no run
//! goes without a way to stop it.
mod chat;
mod embedding;
mod gate;
mod inspect;
mod kv;
mod location;
mod proto;
mod session;
#[cfg(test)]
mod tests;
mod warm_up;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{ChatConfig, EmbeddingConfig};
use crate::engine::{ChatEngine, EmbeddingEngine, Terminate};
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
    first_runs(spec.cancel, &*engine.terminator(), || engine.warm_up().map_err(warm_up_failed))?;
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
    first_runs(spec.cancel, &*engine.terminator(), || engine.warm_up().map_err(warm_up_failed))?;
    Ok(engine)
}

/// Does the first runs of a version, which end when the load is cancelled or their time is over.
pub(crate) fn first_runs(
    cancel: &LoadCancel,
    terminator: &dyn Terminate,
    runs: impl FnOnce() -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    warm_up::run(cancel, WARM_UP_LIMIT, terminator, runs)
}

fn warm_up_failed(error: EngineError) -> EngineError {
    EngineError::WarmUp { source: Box::new(error) }
}

/// An output that the graph promised and did not give.
pub(crate) fn missing(output: &str) -> EngineError {
    EngineError::AnswerDiffers { reason: format!("the output {output:?} is missing") }
}

/// Whether an output has exactly this shape: a tensor with as many numbers may still be another one.
pub(crate) fn check_shape(output: &str, shape: &[i64], expected: &[usize]) -> Result<(), EngineError> {
    let same = shape.len() == expected.len()
        && shape.iter().zip(expected).all(|(have, want)| usize::try_from(*have) == Ok(*want));
    if same {
        return Ok(());
    }
    Err(EngineError::AnswerDiffers {
        reason: format!("the output {output:?} has the shape {shape:?}, not {expected:?}"),
    })
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
