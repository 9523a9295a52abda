//! `config.json` of a version, format `tidegate.model/v1` (docs/reference/model-format.md). Numbers are checked here, so that
//! nothing behind this line multiplies numbers that somebody else chose.
use serde::Deserialize;

use crate::error::EngineError;
use crate::load::Task;

const FORMAT: &str = "tidegate.model/v1";
/// Longest config.json, bytes.
const MAX_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
struct Header {
    format: String,
    task: Task,
}

/// A decoder.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChatConfig {
    pub(crate) vocab_size: usize,
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) max_sequence: usize,
    pub(crate) eos_token_ids: Vec<u32>,
    #[serde(default)]
    pub(crate) pad_token_id: u32,
    #[serde(default)]
    pub(crate) inputs: ChatInputs,
    #[serde(default)]
    pub(crate) outputs: ChatOutputs,
}

/// Names of the graph's inputs; `{layer}` stands for the layer's number.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ChatInputs {
    pub(crate) input_ids: String,
    pub(crate) seqlens_k: String,
    pub(crate) total_sequence_length: String,
    pub(crate) past_key: String,
    pub(crate) past_value: String,
}

impl Default for ChatInputs {
    fn default() -> Self {
        Self {
            input_ids: "input_ids".to_owned(),
            seqlens_k: "seqlens_k".to_owned(),
            total_sequence_length: "total_sequence_length".to_owned(),
            past_key: "past_key_values.{layer}.key".to_owned(),
            past_value: "past_key_values.{layer}.value".to_owned(),
        }
    }
}

/// Names of the graph's outputs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ChatOutputs {
    pub(crate) logits: String,
    pub(crate) present_key: String,
    pub(crate) present_value: String,
}

impl Default for ChatOutputs {
    fn default() -> Self {
        Self {
            logits: "logits".to_owned(),
            present_key: "present.{layer}.key".to_owned(),
            present_value: "present.{layer}.value".to_owned(),
        }
    }
}

/// An encoder.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EmbeddingConfig {
    pub(crate) vocab_size: usize,
    pub(crate) dimensions: usize,
    pub(crate) max_sequence: usize,
    #[serde(default)]
    pub(crate) pad_token_id: u32,
    /// The graph normalises already.
    #[serde(default)]
    pub(crate) normalized: bool,
    #[serde(default)]
    pub(crate) inputs: EmbeddingInputs,
    #[serde(default)]
    pub(crate) outputs: EmbeddingOutputs,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EmbeddingInputs {
    pub(crate) input_ids: String,
    pub(crate) attention_mask: String,
}

impl Default for EmbeddingInputs {
    fn default() -> Self {
        Self { input_ids: "input_ids".to_owned(), attention_mask: "attention_mask".to_owned() }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EmbeddingOutputs {
    pub(crate) embedding: String,
}

impl Default for EmbeddingOutputs {
    fn default() -> Self {
        Self { embedding: "sentence_embedding".to_owned() }
    }
}

/// What a config.json says.
pub(crate) enum ModelConfig {
    Chat(ChatConfig),
    Embedding(EmbeddingConfig),
}

impl ModelConfig {
    /// Reads the file; `task` is what was pushed and must agree.
    pub(crate) fn parse(bytes: &[u8], task: Task) -> Result<Self, EngineError> {
        if bytes.len() > MAX_BYTES {
            return Err(invalid(format!("it has {} bytes, {MAX_BYTES} are allowed", bytes.len())));
        }
        let header: Header = from_json(bytes)?;
        if header.format != FORMAT {
            return Err(invalid(format!("format is not {FORMAT:?}")));
        }
        if header.task != task {
            return Err(invalid(format!("task is {:?}, {task:?} was asked for", header.task)));
        }
        match task {
            Task::Chat => Ok(Self::Chat(chat(bytes)?)),
            Task::Embedding => Ok(Self::Embedding(embedding(bytes)?)),
        }
    }
}

fn chat(bytes: &[u8]) -> Result<ChatConfig, EngineError> {
    let config: ChatConfig = from_json(bytes)?;
    bounded("vocabSize", config.vocab_size, 1 << 21)?;
    bounded("layers", config.layers, 512)?;
    bounded("kvHeads", config.kv_heads, 1024)?;
    bounded("headDim", config.head_dim, 4096)?;
    bounded("maxSequence", config.max_sequence, 1 << 20)?;
    bounded("eosTokenIds (count)", config.eos_token_ids.len(), 64)?;
    for id in config.eos_token_ids.iter().chain([&config.pad_token_id]) {
        token("eosTokenIds and padTokenId", *id, config.vocab_size)?;
    }
    Ok(config)
}

fn embedding(bytes: &[u8]) -> Result<EmbeddingConfig, EngineError> {
    let config: EmbeddingConfig = from_json(bytes)?;
    bounded("vocabSize", config.vocab_size, 1 << 21)?;
    bounded("dimensions", config.dimensions, 1 << 16)?;
    bounded("maxSequence", config.max_sequence, 1 << 20)?;
    token("padTokenId", config.pad_token_id, config.vocab_size)?;
    Ok(config)
}

fn from_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, EngineError> {
    serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))
}

fn bounded(field: &str, value: usize, max: usize) -> Result<(), EngineError> {
    if (1..=max).contains(&value) {
        Ok(())
    } else {
        Err(invalid(format!("{field} is {value}, 1 to {max} are allowed")))
    }
}

fn token(field: &str, id: u32, vocab: usize) -> Result<(), EngineError> {
    if (id as usize) < vocab { Ok(()) } else { Err(invalid(format!("{field}: {id} is not below vocabSize {vocab}"))) }
}

fn invalid(reason: String) -> EngineError {
    EngineError::ConfigInvalid { reason }
}
