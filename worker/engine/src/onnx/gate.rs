//! Stopping a run of ONNX Runtime. The terminate mark of `RunOptions` stays until it is taken away, so it is set only while a
//! call is in progress and taken away before the next.
use std::sync::{Mutex, MutexGuard, PoisonError};

use ort::session::RunOptions;

use crate::engine::Terminate;
use crate::error::EngineError;
use crate::onnx::run_failed;

#[derive(Default)]
struct State {
    running: bool,
    stopped: bool,
}

/// The run options of one engine, shared by all its calls.
pub(crate) struct RunGate {
    options: RunOptions,
    state: Mutex<State>,
}

impl RunGate {
    pub(crate) fn new() -> Result<Self, EngineError> {
        Ok(Self { options: RunOptions::new().map_err(run_failed)?, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one call, which may have several runs. When it was stopped, the error says so, whatever the runs answered.
    pub(crate) fn call<T>(&self, body: impl FnOnce(&RunOptions) -> Result<T, EngineError>) -> Result<T, EngineError> {
        {
            let mut state = self.lock();
            self.options.unterminate().map_err(run_failed)?;
            *state = State { running: true, stopped: false };
        }
        let result = body(&self.options);
        let mut state = self.lock();
        state.running = false;
        match result {
            Err(_) if state.stopped => Err(EngineError::Terminated),
            other => other,
        }
    }
}

impl Terminate for RunGate {
    fn terminate(&self) {
        let mut state = self.lock();
        if state.running && !state.stopped {
            state.stopped = true;
            if let Err(error) = self.options.terminate() {
                tracing::warn!(%error, "a run could not be stopped");
            }
        }
    }
}
