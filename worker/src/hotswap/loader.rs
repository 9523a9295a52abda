//! How a version gets loaded: by ONNX Runtime, or by the fake engine of benchmarks. Blocking; runs on a thread of its own.
use std::sync::Arc;

use tidegate_engine::{
    EngineError, LoadCancel, ModelRoots, Runtime, Task, VersionSpec,
    engine::LoadedModel,
    fake::{self, FakeConfig},
};

/// Loads and warms up a version, or says why not; nothing is left behind then.
pub trait Loader: Send + Sync + 'static {
    fn load(&self, spec: &VersionSpec, cancel: &LoadCancel) -> Result<LoadedModel, EngineError>;
    /// Where files may lie; None when none are read.
    fn roots(&self) -> Option<&ModelRoots>;
}

/// The real one.
pub struct OnnxLoader {
    pub runtime: Arc<Runtime>,
    pub roots: ModelRoots,
}

impl Loader for OnnxLoader {
    fn load(&self, spec: &VersionSpec, cancel: &LoadCancel) -> Result<LoadedModel, EngineError> {
        tidegate_engine::load(&self.runtime, spec, &self.roots, cancel)
    }

    fn roots(&self) -> Option<&ModelRoots> {
        Some(&self.roots)
    }
}

/// Answers without weights; only with `--engine fake`.
pub struct FakeLoader;

impl Loader for FakeLoader {
    fn load(&self, spec: &VersionSpec, _cancel: &LoadCancel) -> Result<LoadedModel, EngineError> {
        let config = FakeConfig { max_batch: spec.max_batch, ..FakeConfig::new(&spec.name) };
        Ok(match spec.task {
            Task::Chat => fake::chat(config),
            Task::Embedding => fake::embedding(config),
        })
    }

    fn roots(&self) -> Option<&ModelRoots> {
        None
    }
}
