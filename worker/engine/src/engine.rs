//! What a lane thread needs of a model: synchronous traits, one owner, no runtime. `onnx` implements them on ONNX Runtime,
//! `fake` deterministically without weights. Nothing here knows HTTP, queues or limits.
use std::sync::Arc;
use std::time::Duration;

use crate::error::EngineError;

/// A loaded version, ready to be split into a lane. Everything in it is of exactly one version.
pub struct LoadedModel {
    pub version: String,
    /// Digest over the sorted (path, sha256) pairs, lower-case hex.
    pub digest: String,
    pub tokenizer: Arc<dyn TextCodec>,
    pub engine: ModelEngine,
    /// What calls took while it was loaded; nothing where nobody looked.
    pub measured: Vec<Measured>,
}

/// An engine call and what it took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measured {
    pub rows: usize,
    /// Tokens of each row, padding included.
    pub columns: usize,
    pub took: Duration,
}

/// What a version can do.
pub enum ModelEngine {
    Chat(Box<dyn ChatEngine>),
    Embedding(Box<dyn EmbeddingEngine>),
}

/// Tells a running engine call to stop; cheap to clone, callable from any thread.
pub trait Terminate: Send + Sync {
    /// The call in progress returns [`EngineError`] with `terminated() == true`; without one, nothing happens.
    fn terminate(&self);
}

/// Handle of a sequence inside an engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SequenceId(pub u64);

/// Facts of a decoder.
#[derive(Clone, Debug)]
pub struct ChatInfo {
    pub vocab_size: usize,
    /// Prompt and answer together, tokens.
    pub max_sequence: usize,
    pub eos_token_ids: Vec<u32>,
    /// Rows that one call may have.
    pub max_batch: usize,
}

/// A decoder with its KV cache. Rows are independent: the answer of a row does not depend on the others.
pub trait ChatEngine: Send {
    fn info(&self) -> &ChatInfo;
    /// Runs prompts (each 1..max_sequence tokens). For each: its handle and the logits after its last token (`vocab_size`).
    fn prefill(&mut self, prompts: &[Vec<u32>]) -> Result<Vec<(SequenceId, Vec<f32>)>, EngineError>;
    /// Appends one token to each sequence; logits (`vocab_size`) in the same order.
    fn step(&mut self, rows: &[(SequenceId, u32)]) -> Result<Vec<Vec<f32>>, EngineError>;
    /// Frees a sequence; unknown ids are ignored.
    fn release(&mut self, sequence: SequenceId);
    fn terminator(&self) -> Arc<dyn Terminate>;
}

/// An encoder that gives one vector per text.
pub trait EmbeddingEngine: Send {
    fn dimensions(&self) -> usize;
    /// Token ids are below this.
    fn vocab_size(&self) -> usize;
    /// Tokens per text.
    fn max_sequence(&self) -> usize;
    fn max_batch(&self) -> usize;
    /// One L2-normalised vector of `dimensions` per row.
    fn embed(&mut self, rows: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EngineError>;
    fn terminator(&self) -> Arc<dyn Terminate>;
}

/// A message of a chat.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChatMessage {
    pub role: String,
    pub content: String,
    /// Who of several participants speaks: templates that ask for it get it.
    pub name: Option<String>,
}

impl ChatMessage {
    /// A message of a participant without a name.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), name: None }
    }

    /// Everything that whoever sent it chose.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        [self.role.as_str(), self.content.as_str()].into_iter().chain(self.name.as_deref())
    }
}

/// Text to tokens and back, with the version's chat template.
pub trait TextCodec: Send + Sync {
    /// Tokens of a plain text, with the model's special tokens around it (embeddings); not truncated.
    fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError>;
    /// The same, unless the text certainly has more tokens than `most`: then it is refused ([`EngineError::TooLong`]) before the
    /// work is done. A text that comes back may still be longer.
    fn encode_within(&self, text: &str, most: usize) -> Result<Vec<u32>, EngineError>;
    /// Renders the chat template (fuel-limited) and tokenises it. Special-token text inside a message stays text.
    fn encode_chat(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, EngineError>;
    /// The same within a bound, as [`TextCodec::encode_within`].
    fn encode_chat_within(&self, messages: &[ChatMessage], most: usize) -> Result<Vec<u32>, EngineError>;
    /// A decoder for one answer.
    fn decoder(&self) -> Box<dyn TokenDecoder>;
}

/// Turns a growing answer into text; never emits half a UTF-8 character.
pub trait TokenDecoder: Send {
    /// Text that became certain with this token; may be empty.
    fn push(&mut self, token: u32) -> Result<String, EngineError>;
    /// What is left at the end.
    fn finish(&mut self) -> Result<String, EngineError>;
}
