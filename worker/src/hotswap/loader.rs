//! How a version gets loaded: by ONNX Runtime, or by the fake engine of benchmarks. Blocking; runs on a thread of its own.
use std::sync::Arc;

use tidegate_engine::{
    EngineError, LoadCancel, ModelRoots, Runtime, Task, VersionSpec,
    engine::LoadedModel,
    fake::{self, FakeConfig},
};

/// Nice value of the thread that loads (0: as the others, 19: last).
const LOADER_NICE: i32 = 10;

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
        let load = || tidegate_engine::load(&self.runtime, spec, &self.roots, cancel);
        // Threads that a session makes for itself would keep the low priority for ever.
        if self.runtime.intra_threads() == 1 { behind_the_lanes(load) } else { load() }
    }

    fn roots(&self) -> Option<&ModelRoots> {
        Some(&self.roots)
    }
}

/// Does the work on a thread of lower priority: what answers requests goes first on a busy machine, what is loaded beside it is
/// ready a little later.
fn behind_the_lanes<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Err(error) = rustix::process::setpriority_process(None, LOADER_NICE) {
                tracing::debug!(%error, "the loader runs at the priority of the lanes");
            }
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
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
