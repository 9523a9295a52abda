//! What a lane knows about its pace, where requests come in: who cannot end in time is refused there and costs the engine nothing.
//! Shared by the lane, which measures, and its handle, which asks. Holds its lock for no longer than a decision.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tidegate_engine::engine::Measured;
use tidegate_scheduler::{
    Admission, Ask, Late, Line, Ticket,
    fair::{Fair, Request},
};

use super::job::{ChatJob, Clock, EmbedJob, millis};
use crate::{error::RequestError, telemetry::Metrics};

/// Whose turn it is: a tenant, or all who have none.
pub type Turns = Fair<Option<Arc<str>>>;

/// The door of an embedding lane.
pub struct EmbedEntry {
    turns: Mutex<Turns>,
    metrics: Arc<Metrics>,
    epoch: Instant,
}

/// The door of a chat lane.
pub struct ChatEntry {
    learnt: Mutex<(Admission, Line)>,
    metrics: Arc<Metrics>,
    epoch: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn since(epoch: Instant, time: Instant) -> u64 {
    millis(time.saturating_duration_since(epoch))
}

/// Tokens of a call, padding included.
fn padded(rows: &[Vec<u32>]) -> usize {
    rows.len() * rows.iter().map(Vec::len).max().unwrap_or(0)
}

/// The refusal of a request that cannot end in time. `what` it has too many of.
pub fn refusal(late: Late, what: &'static str, clock: Clock, metrics: &Metrics) -> RequestError {
    let ms = clock.allowed_ms();
    match late {
        Late::Busy { retry_after_ms } => {
            metrics.late("busy");
            RequestError::TooBusy { ms, retry_after_ms }
        }
        Late::TooLarge { fits } => {
            metrics.late("too_large");
            RequestError::TooMuch { ms, fits, what }
        }
    }
}

impl EmbedEntry {
    /// Calls have at most `limit` rows; `measured` is what the engine took while it was loaded.
    pub fn new(limit: usize, measured: &[Measured], metrics: Arc<Metrics>) -> Self {
        let mut turns = Turns::new(limit);
        for call in measured {
            turns.measured(call.rows * call.columns, call.took.as_secs_f64() * 1e3, 0);
        }
        Self { turns: Mutex::new(turns), metrics, epoch: Instant::now() }
    }

    pub fn turns(&self) -> MutexGuard<'_, Turns> {
        lock(&self.turns)
    }

    /// Now, on the clock of [`Turns`].
    pub fn now(&self) -> u64 {
        since(self.epoch, Instant::now())
    }

    /// Takes a request in turn, or refuses it.
    pub fn enter(&self, job: &EmbedJob) -> Result<Ticket, RequestError> {
        let tokens = |row: &Vec<u32>| u32::try_from(row.len()).unwrap_or(u32::MAX);
        let request = Request {
            tenant: job.tenant.clone(),
            rows: job.rows.iter().map(tokens).collect(),
            allowed_ms: job.clock.allowed_ms(),
            deadline_ms: since(self.epoch, job.clock.deadline),
        };
        let entered = self.turns().push(request, self.now());
        entered.map_err(|late| refusal(late, "texts", job.clock, &self.metrics))
    }

    /// A call ended; not `whole` when it was told to.
    pub fn measured(&self, rows: &[Vec<u32>], took: Duration, whole: bool) {
        let (tokens, ms, now) = (padded(rows), took.as_secs_f64() * 1e3, self.now());
        let mut turns = self.turns();
        if whole {
            turns.measured(tokens, ms, now);
        } else {
            turns.ended(tokens, ms, now);
        }
        self.metrics.pace("embedding", turns.tokens_per_second(now));
    }
}

impl ChatEntry {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { learnt: Mutex::default(), metrics, epoch: Instant::now() }
    }

    /// Refuses a chat that cannot begin to be answered in time.
    pub fn enter(&self, job: &ChatJob) -> Result<(), RequestError> {
        let now = Instant::now();
        let allowed_ms = millis(job.clock.deadline.saturating_duration_since(now));
        let ask = Ask { prompt: job.prompt.len(), allowed_ms };
        let learnt = lock(&self.learnt);
        match learnt.0.late(ask, learnt.1, since(self.epoch, now)) {
            Some(late) => Err(refusal(late, "prompt tokens", job.clock, &self.metrics)),
            None => Ok(()),
        }
    }

    /// Who waits and how many may run, from now on.
    pub fn line(&self, line: Line) {
        lock(&self.learnt).1 = line;
    }

    /// A call over prompts ended; not `whole` when it was told to.
    pub fn prompts_ran(&self, prompts: &[Vec<u32>], took: Duration, whole: bool) {
        let (tokens, ms) = (padded(prompts), took.as_secs_f64() * 1e3);
        let now = since(self.epoch, Instant::now());
        let mut learnt = lock(&self.learnt);
        if whole {
            learnt.0.prompts_ran(tokens, ms, now);
        } else {
            learnt.0.prompts_ended(tokens, ms, now);
        }
        self.metrics.pace("chat", learnt.0.tokens_per_second(now));
    }

    /// An answer ended, so long after its prompt began.
    pub fn answered(&self, took: Duration) {
        let now = since(self.epoch, Instant::now());
        lock(&self.learnt).0.answered(took.as_secs_f64() * 1e3, now);
    }
}
