//! What every engine call shares: its bounds, and stopping it while it is in progress. A stop that comes too early or too
//! late changes nothing.
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::Terminate;
use crate::error::EngineError;

#[derive(Default)]
struct State {
    running: bool,
    stopped: bool,
}

/// Told from any thread, read by the engine's.
#[derive(Default)]
pub(crate) struct CallFlag {
    state: Mutex<State>,
    changed: Condvar,
}

/// The call is in progress while this lives.
pub(crate) struct Running<'a>(&'a CallFlag);

impl Running<'_> {
    /// True when the call was told to stop.
    pub(crate) fn stopped(&self) -> bool {
        self.0.lock().stopped
    }
}

impl CallFlag {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a call as in progress.
    pub(crate) fn begin(&self) -> Running<'_> {
        *self.lock() = State { running: true, stopped: false };
        Running(self)
    }

    /// Marks the call in progress as stopped; the first time, does `also`, which cannot reach a later call.
    pub(crate) fn stop(&self, also: impl FnOnce()) {
        let mut state = self.lock();
        if state.running && !state.stopped {
            state.stopped = true;
            also();
            self.changed.notify_all();
        }
    }

    /// Waits for `delay`; true as soon as the call was stopped.
    pub(crate) fn wait(&self, delay: Duration) -> bool {
        let until = Instant::now() + delay;
        let mut state = self.lock();
        while !state.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.stopped
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running = false;
    }
}

impl Terminate for CallFlag {
    fn terminate(&self) {
        self.stop(|| {});
    }
}

/// What every engine refuses: no rows, too many, an empty one, one that is too long.
pub(crate) fn check_rows(rows: &[Vec<u32>], max_batch: usize, max_sequence: usize) -> Result<(), EngineError> {
    let invalid = |reason: String| Err(EngineError::CallInvalid { reason });
    if rows.is_empty() || rows.len() > max_batch {
        return invalid(format!("{} rows, 1 to {max_batch} are allowed", rows.len()));
    }
    match rows.iter().find(|r| r.is_empty() || r.len() > max_sequence) {
        Some(row) => invalid(format!("{} tokens, 1 to {max_sequence} are allowed", row.len())),
        None => Ok(()),
    }
}
