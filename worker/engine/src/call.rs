//! Stopping a call that is in progress, and only that one: a stop that comes too early or too late changes nothing.
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::Terminate;

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

impl CallFlag {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks a call as in progress.
    pub(crate) fn begin(&self) -> Running<'_> {
        *self.lock() = State { running: true, stopped: false };
        Running(self)
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
        let mut state = self.lock();
        if state.running {
            state.stopped = true;
            self.changed.notify_all();
        }
    }
}
