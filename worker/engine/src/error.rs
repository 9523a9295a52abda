//! Why a runtime, a model or a run failed: one variant per failed operation, each with a stable code. The texts carry no
//! contents of prompts or files.
use std::path::PathBuf;

/// A boxed cause from a library.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What the engine was doing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// Starting ONNX Runtime.
    Runtime,
    /// Finding the files under the model roots.
    Resolve,
    /// Mapping and hashing the files.
    Verify,
    /// Building sessions, tokenizer and template.
    Load,
    /// The first runs, before the version counts as loaded.
    WarmUp,
    /// Text to tokens and back.
    Tokenize,
    /// A run for a request.
    Infer,
}

impl Stage {
    /// The name in logs, metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Resolve => "resolve",
            Self::Verify => "verify",
            Self::Load => "load",
            Self::WarmUp => "warm-up",
            Self::Tokenize => "tokenize",
            Self::Infer => "infer",
        }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One variant per failed operation.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Which model and version the cause is about.
    #[error("model {model_id}, version {version}, {stage}")]
    Model { model_id: String, version: String, stage: Stage, source: Box<EngineError> },

    #[error("the ONNX Runtime library {path} is not there")]
    DylibMissing { path: PathBuf },
    #[error("{path} is not an ONNX Runtime library ({reason})")]
    DylibInvalid { path: PathBuf, reason: &'static str },
    #[error("the ONNX Runtime library {path} is 1.{found}; 1.{needed} or newer is needed")]
    DylibTooOld { path: PathBuf, found: u32, needed: u32 },
    #[error("ONNX Runtime runs already in this process with other settings")]
    RuntimeConflict,
    #[error("the execution provider {provider} cannot be used with {path}")]
    ProviderUnavailable { provider: &'static str, path: PathBuf, source: Cause },
    #[error("ONNX Runtime did not start")]
    RuntimeStart { source: Cause },

    #[error("the model root {path} cannot be used")]
    RootInvalid { path: PathBuf, source: std::io::Error },
    #[error("the uri {uri:?} is not allowed: {reason}")]
    UriInvalid { uri: String, reason: &'static str },
    #[error("the file path {path:?} is not allowed: {reason}")]
    PathInvalid { path: String, reason: &'static str },
    #[error("{path:?} leads out of the model roots")]
    OutsideRoots { path: String },
    #[error("{path:?} is not there")]
    FileMissing { path: String },
    #[error("{path:?} is not a regular file")]
    NotAFile { path: String },
    #[error("{path:?} has {found} bytes, {expected} are declared")]
    SizeDiffers { path: String, expected: u64, found: u64 },
    #[error("{path:?} has SHA-256 {found}, {expected} is declared")]
    DigestDiffers { path: String, expected: String, found: String },
    #[error("{path:?} cannot be read")]
    FileRead { path: String, source: std::io::Error },
    #[error("the graph wants external data from {location:?}: {advice}")]
    ExternalDataNotListed { location: String, advice: String },
    #[error("{path:?} is not among the version's files")]
    FileNotListed { path: String },
    #[error("config.json is not valid: {reason}")]
    ConfigInvalid { reason: String },
    #[error("the graph does not fit config.json: {reason}")]
    GraphDiffers { reason: String },
    #[error("ONNX Runtime refused the model")]
    SessionBuild { source: Cause },
    #[error("about {needed} bytes are needed, the limit leaves {available}")]
    MemoryLimit { needed: u64, available: u64 },
    #[error("the load was cancelled")]
    LoadCancelled,
    #[error("the tokenizer cannot be used")]
    TokenizerInvalid { source: Cause },
    #[error("the chat template cannot be used")]
    TemplateInvalid { source: Cause },
    #[error("{file} does not fit the model: {reason}")]
    TokenizerDiffers { file: String, reason: String },
    #[error("{file} failed on a trial conversation ({roles})")]
    TemplateTrial { file: String, roles: String, source: Cause },
    #[error("{file} failed on a trial request ({request})")]
    ModelTrial { file: &'static str, request: String, source: Box<EngineError> },
    #[error("{file} does not give back the text that it was given: {reason}")]
    TextLost { file: String, reason: String },
    #[error("{file} cannot be read as the list of special tokens: {reason}")]
    SpecialTokensInvalid { file: String, reason: String },
    #[error("the first run of the model failed")]
    WarmUp { source: Box<EngineError> },
    #[error("the first run of the model did not end within {seconds} s")]
    WarmUpTooLong { seconds: u64 },

    /// The call was told to stop.
    #[error("the inference was stopped")]
    Terminated,
    #[error("ONNX Runtime failed to run the model")]
    Run { source: Cause },
    #[error("the model answered with numbers that are not finite")]
    NotFinite,
    #[error("the call is out of bounds: {reason}")]
    CallInvalid { reason: String },
    #[error("sequence {0} is not in the engine")]
    SequenceUnknown(u64),
    #[error("the chat template failed on these messages")]
    TemplateRender { source: Cause },
    #[error("the text has at least {least} tokens, {most} are allowed")]
    TooLong { least: usize, most: usize },
    #[error("the model's chat template refuses these messages: {reason}")]
    TemplateRefused { reason: String },
    #[error("the messages cannot be used: {reason}")]
    MessagesRefused { reason: String },
    #[error("the model answered with something else than promised: {reason}")]
    AnswerDiffers { reason: String },
    #[error("the text could not be turned into tokens")]
    Encode { source: Cause },
    #[error("the tokens could not be turned into text")]
    Decode { source: Cause },
    #[error("a failure that the fake engine was asked for")]
    Injected,
}

impl EngineError {
    /// True when [`crate::engine::Terminate::terminate`] ended the call.
    pub fn terminated(&self) -> bool {
        match self {
            Self::Model { source, .. } | Self::WarmUp { source } | Self::ModelTrial { source, .. } => {
                source.terminated()
            }
            other => matches!(other, Self::Terminated),
        }
    }

    /// True when the request itself is at fault: the template's own refusal of its messages, or messages that nothing can encode.
    pub fn request_fault(&self) -> bool {
        match self {
            Self::Model { source, .. } => source.request_fault(),
            other => matches!(other, Self::TemplateRefused { .. } | Self::MessagesRefused { .. }),
        }
    }

    /// True when a file of the version is at fault, which only this request has shown: the operator's mistake, not the client's.
    pub fn file_fault(&self) -> bool {
        match self {
            Self::Model { source, .. } => source.file_fault(),
            other => matches!(
                other,
                Self::TemplateRender { .. }
                    | Self::TemplateInvalid { .. }
                    | Self::TokenizerDiffers { .. }
                    | Self::Encode { .. }
                    | Self::Decode { .. }
            ),
        }
    }

    /// The error without the model's name around it.
    pub fn bare(self) -> Self {
        match self {
            Self::Model { source, .. } => source.bare(),
            other => other,
        }
    }

    /// How many tokens a text has at least that was refused for its length.
    pub fn too_long(&self) -> Option<usize> {
        match self {
            Self::Model { source, .. } => source.too_long(),
            other => {
                if let Self::TooLong { least, .. } = other {
                    Some(*least)
                } else {
                    None
                }
            }
        }
    }

    /// The stable code; `docs/errors/<code>.md` explains it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Model { source, .. } => source.code(),
            Self::DylibMissing { .. } => "TG-2001",
            Self::DylibInvalid { .. } => "TG-2002",
            Self::DylibTooOld { .. } => "TG-2003",
            Self::RuntimeConflict => "TG-2004",
            Self::ProviderUnavailable { .. } => "TG-2005",
            Self::RuntimeStart { .. } => "TG-2006",
            Self::RootInvalid { .. } => "TG-2010",
            Self::UriInvalid { .. } => "TG-2011",
            Self::PathInvalid { .. } => "TG-2012",
            Self::OutsideRoots { .. } => "TG-2013",
            Self::FileMissing { .. } => "TG-2014",
            Self::NotAFile { .. } => "TG-2015",
            Self::SizeDiffers { .. } => "TG-2016",
            Self::DigestDiffers { .. } => "TG-2017",
            Self::FileRead { .. } => "TG-2018",
            Self::ExternalDataNotListed { .. } => "TG-2019",
            Self::FileNotListed { .. } => "TG-2020",
            Self::ConfigInvalid { .. } => "TG-2021",
            Self::GraphDiffers { .. } => "TG-2022",
            Self::SessionBuild { .. } => "TG-2023",
            Self::MemoryLimit { .. } => "TG-2024",
            Self::LoadCancelled => "TG-2025",
            Self::TokenizerInvalid { .. } => "TG-2026",
            Self::TemplateInvalid { .. } => "TG-2027",
            Self::WarmUp { .. } => "TG-2028",
            Self::WarmUpTooLong { .. } => "TG-2029",
            Self::TokenizerDiffers { .. } => "TG-2030",
            Self::TemplateTrial { .. } => "TG-2031",
            Self::ModelTrial { .. } => "TG-2032",
            Self::TextLost { .. } => "TG-2033",
            Self::TemplateRefused { .. } => "TG-2034",
            Self::MessagesRefused { .. } => "TG-2035",
            Self::SpecialTokensInvalid { .. } => "TG-2036",
            Self::AnswerDiffers { .. } => "TG-2037",
            Self::Terminated => "TG-2040",
            Self::Run { .. } => "TG-2041",
            Self::NotFinite => "TG-2042",
            Self::CallInvalid { .. } => "TG-2043",
            Self::SequenceUnknown(_) => "TG-2044",
            Self::TemplateRender { .. } => "TG-2045",
            Self::TooLong { .. } => "TG-2207",
            Self::Encode { .. } => "TG-2046",
            Self::Decode { .. } => "TG-2047",
            Self::Injected => "TG-2048",
        }
    }

    /// The text with all its causes, in one line.
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// Names a model version; turns a bare error into one that carries it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelLabel {
    pub model_id: String,
    pub version: String,
}

impl ModelLabel {
    /// Wraps `source`; what is wrapped already stays as it is.
    pub fn wrap(&self, stage: Stage, source: EngineError) -> EngineError {
        match source {
            wrapped @ EngineError::Model { .. } => wrapped,
            bare => EngineError::Model {
                model_id: self.model_id.clone(),
                version: self.version.clone(),
                stage,
                source: Box::new(bare),
            },
        }
    }
}
