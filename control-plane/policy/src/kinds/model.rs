//! `Model`: which weights exist.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds;

/// Which weights exist. A version is immutable: new weights are a new version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelSpec {
    /// At least one, names unique; all of one task.
    #[schemars(length(min = 1, max = bounds::MODEL_VERSIONS))]
    pub versions: Vec<ModelVersion>,
    /// LoRA adapters. Not supported yet: must be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub adapters: Vec<Adapter>,
}

/// One immutable set of weights.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = bounds::template_of_task)]
pub struct ModelVersion {
    /// For example `v2.1`.
    #[schemars(pattern(bounds::LABEL_PART))]
    pub name: String,
    /// `file:relative/dir`, resolved against the worker's model roots, or `file:///absolute/dir` under one of them.
    #[schemars(pattern(bounds::URI.as_str()), length(max = bounds::URI_LENGTH))]
    pub uri: String,
    /// Every file that the worker reads, each with its digest.
    #[schemars(length(min = 1, max = bounds::FILES))]
    pub files: Vec<ModelFile>,
    /// Detached signature over the digests. Not supported yet: must be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub signature: Option<String>,
    pub task: Task,
    /// What the weights are stored as. For people: the engine reads it from the files.
    #[serde(default)]
    pub quantization: Quantization,
    /// Path of the tokenizer among `files`.
    #[serde(default = "default_tokenizer")]
    #[schemars(pattern(bounds::PATH.as_str()), length(max = bounds::PATH_LENGTH))]
    pub tokenizer: String,
    /// Path of the chat template among `files`; required for `Chat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(pattern(bounds::PATH.as_str()), length(max = bounds::PATH_LENGTH))]
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
    #[schemars(pattern(bounds::PATH.as_str()), length(max = bounds::PATH_LENGTH))]
    pub path: String,
    /// 64 lower-case hex digits, as `sha256sum` prints them.
    #[schemars(pattern(bounds::DIGEST))]
    pub sha256: String,
    /// Bytes.
    #[schemars(range(min = 1, max = bounds::FILE_BYTES))]
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
    /// What a request names it by.
    pub name: String,
    /// Counts its changes.
    pub generation: u64,
    /// 64 lower-case hex digits.
    pub sha256: String,
    /// Of its matrices.
    pub rank: u32,
}
