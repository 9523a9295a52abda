//! Stopping a run of ONNX Runtime. The terminate mark of `RunOptions` stays until it is taken away, so it is set only while a
//! call is in progress and taken away before the next.
use ort::session::RunOptions;

use crate::call::CallFlag;
use crate::engine::Terminate;
use crate::error::EngineError;
use crate::onnx::run_failed;

/// The run options of one engine, shared by all its calls.
pub(crate) struct RunGate {
    options: RunOptions,
    flag: CallFlag,
}

impl RunGate {
    pub(crate) fn new() -> Result<Self, EngineError> {
        Ok(Self { options: RunOptions::new().map_err(run_failed)?, flag: CallFlag::default() })
    }

    /// Does one call, which may have several runs; one call at a time. When it was stopped, the error says so, whatever the
    /// runs answered.
    pub(crate) fn call<T>(&self, body: impl FnOnce(&RunOptions) -> Result<T, EngineError>) -> Result<T, EngineError> {
        // Nothing is in progress here, so nobody sets the mark meanwhile.
        self.options.unterminate().map_err(run_failed)?;
        let running = self.flag.begin();
        let result = body(&self.options);
        match result {
            Err(_) if running.stopped() => Err(EngineError::Terminated),
            other => other,
        }
    }
}

impl Terminate for RunGate {
    fn terminate(&self) {
        self.flag.stop(|| {
            if let Err(error) = self.options.terminate() {
                tracing::warn!(%error, "a run could not be stopped");
            }
        });
    }
}
