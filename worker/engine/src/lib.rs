//! The inference engine: sessions, weights, tokenizer. The only room that knows ONNX Runtime; it knows no HTTP, no queue and
//! no control plane.
mod call;
mod config;
pub mod engine;
pub mod error;
pub mod fake;
pub mod load;
mod onnx;
pub mod roots;
pub mod runtime;
pub mod sampling;
mod special_tokens;
mod template;
pub mod tokenize;
mod trial;
mod utf8;
mod weights;

pub use error::{EngineError, ModelLabel, Stage};
pub use load::{FileSpec, LoadCancel, Task, VersionSpec, load, version_digest};
pub use roots::{ModelRoots, check_path};
pub use runtime::{Provider, Runtime, RuntimeConfig};
