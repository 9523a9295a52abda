//! Ends an engine call that runs past its deadline. A thread of its own, because the lane's thread is inside the call.
//! It stops only the call that it was armed for, never the next one.
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tidegate_engine::engine::Terminate;

/// How often a busy lane is looked at; a call is ended at most this late.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Default)]
struct State {
    /// Deadline of the call in progress.
    until: Option<Instant>,
    /// The lane has work: look now and then. Else sleep until told.
    busy: bool,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Owned by the lane; the thread ends with it.
pub struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// `stop_at`: when the process shuts down, no call goes on beyond this.
    pub fn start(name: &str, terminate: Arc<dyn Terminate>, stop_at: Arc<OnceLock<Instant>>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let seen = shared.clone();
        let thread =
            thread::Builder::new().name(name.to_owned()).spawn(move || watch(&seen, terminate.as_ref(), &stop_at))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The lane has work from now on, or has none.
    pub fn busy(&self, busy: bool) {
        let mut state = self.shared.lock();
        if state.busy != busy {
            state.busy = busy;
            self.shared.changed.notify_one();
        }
    }

    /// Runs `call`, which is ended when it lasts beyond `until`.
    pub fn guard<T>(&self, until: Instant, call: impl FnOnce() -> T) -> T {
        self.shared.lock().until = Some(until);
        let result = call();
        self.shared.lock().until = None;
        result
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A watchdog that panicked has nothing left to guard.
            let _ = thread.join();
        }
    }
}

fn watch(shared: &Shared, terminate: &dyn Terminate, stop_at: &OnceLock<Instant>) {
    let mut state = shared.lock();
    while !state.closed {
        let now = Instant::now();
        let stopped = stop_at.get().is_some_and(|stop| now >= *stop);
        if state.until.is_some_and(|until| stopped || now >= until) {
            // Under the lock: the call cannot end and another begin meanwhile.
            terminate.terminate();
        }
        state = if state.busy {
            shared.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0
        } else {
            shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
        };
    }
}
