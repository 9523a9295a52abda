//! Ends an engine call that runs past its deadline. A thread of its own, because the lane's thread is inside the call.
//! It stops only the call that it was armed for, never the next one.
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tidegate_engine::engine::Terminate;
use tokio::sync::Notify;

use super::job::{LaneShared, LaneStats, PATIENCE};

/// How often a busy lane is looked at; a call is ended at most this late.
const LOOK: Duration = Duration::from_millis(20);
/// An engine call may last this long, whatever the deadline of its most impatient row.
pub const SHORTEST_CALL: Duration = Duration::from_millis(100);
/// How long the trivial prompt may take that shows whether an engine is still good.
pub const PROBE: Duration = Duration::from_secs(10);

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
    stats: Arc<LaneStats>,
    stuck_changed: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// When the process shuts down, no call goes on beyond `lane.stop_at`.
    pub fn start(name: &str, terminate: Arc<dyn Terminate>, lane: &LaneShared) -> std::io::Result<Self> {
        let (shared, stats, stuck_changed) = (Arc::<Shared>::default(), lane.stats.clone(), lane.stuck_changed.clone());
        let watched = Watched { shared: shared.clone(), lane: lane.clone() };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || watched.watch(terminate.as_ref()))?;
        Ok(Self { shared, stats, stuck_changed, thread: Some(thread) })
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
        let mut state = self.shared.lock();
        state.until = None;
        // Under the lock: the thread cannot call this lane stuck after its call has ended.
        if self.stats.stuck.swap(false, Ordering::Relaxed) {
            self.stuck_changed.notify_one();
        }
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

/// What the thread looks at.
struct Watched {
    shared: Arc<Shared>,
    lane: LaneShared,
}

impl Watched {
    fn watch(&self, terminate: &dyn Terminate) {
        let mut state = self.shared.lock();
        while !state.closed {
            let now = Instant::now();
            let stopped = self.lane.stop_at.get().is_some_and(|stop| now >= *stop);
            if state.until.is_some_and(|until| stopped || now >= until) {
                // Under the lock: the call cannot end and another begin meanwhile.
                terminate.terminate();
            }
            if state.until.is_some_and(|until| now >= until + PATIENCE)
                && !self.lane.stats.stuck.swap(true, Ordering::Relaxed)
            {
                self.lane.stuck_changed.notify_one();
                tracing::error!("an engine call cannot be stopped; its version takes no requests until it ends");
            }
            state = if state.busy {
                self.shared.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }
}
