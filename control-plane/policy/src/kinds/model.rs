//! `Model`: which weights exist.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which weights exist. A version is immutable: new weights are a new version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelSpec {
    /// At least one, names unique.
    pub versions: Vec<ModelVersion>,
    /// LoRA adapters. Not supported yet: must be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<Adapter>,
}

/// One immutable set of weights.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelVersion {
    /// For example `v2.1`.
    pub name: String,
    /// `file:relative/dir`, resolved against the worker's model roots, or `file:///absolute/dir` under one of them.
    pub uri: String,
    /// Every file that the worker reads, each with its digest.
    pub files: Vec<ModelFile>,
    /// Detached signature over the digests. Not supported yet: must be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    pub task: Task,
    /// What the weights are stored as. For people: the engine reads it from the files.
    #[serde(default)]
    pub quantization: Quantization,
    /// Path of the tokenizer among `files`.
    #[serde(default = "default_tokenizer")]
    pub tokenizer: String,
    /// Path of the chat template among `files`; required for `Chat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
}

fn default_tokenizer() -> String {
    "tokenizer.json".to_owned()
}

/// A file of a version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelFile {
    /// Relative to `uri`, without `..`.
    pub path: String,
    /// 64 hex digits.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

/// What a version can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum Task {
    Chat,
    Embedding,
}

/// What the weights are stored as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub enum Quantization {
    #[default]
    None,
    Int8,
    Int4,
}

/// A LoRA adapter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Adapter {
    pub name: String,
    pub generation: u64,
    pub sha256: String,
    pub rank: u32,
}
