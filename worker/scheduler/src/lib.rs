//! Queue and batches of one lane: a bounded first-in first-out queue whose requests join the running batch between steps.
//! Pure: time is an argument (milliseconds of any steady clock), nothing waits, and nothing here knows what a request is.
//!
//! ```
//! use tidegate_scheduler::{Config, Scheduler};
//!
//! let mut lane = Scheduler::new(Config { max_requests: 64, max_batch: 8 });
//! lane.push("a", Some(1_000), 0)?;
//! let turn = lane.next(5);
//! assert_eq!(turn.admitted[0].request, "a"); // prefill it, step it with the others, then:
//! lane.finish(turn.admitted[0].ticket);
//! # Ok::<(), tidegate_scheduler::Full>(())
//! ```
use std::collections::{BTreeMap, VecDeque};

/// Bounds of a lane; both at least 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Requests waiting and running together.
    pub max_requests: usize,
    /// Requests running together.
    pub max_batch: usize,
}

/// Names a request from push to finish; never used twice by one scheduler.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// The queue is full: nothing was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{waiting} requests wait and {running} run; {max_requests} are allowed")]
pub struct Full {
    pub waiting: usize,
    pub running: usize,
    pub max_requests: usize,
}

/// A request that may start now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admit<T> {
    pub ticket: Ticket,
    pub request: T,
    /// How long it waited, milliseconds.
    pub waited_ms: u64,
}

/// A request whose deadline passed while it waited; it never ran.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expired<T> {
    pub ticket: Ticket,
    pub request: T,
    pub waited_ms: u64,
}

/// What to do before the next step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn<T> {
    /// Start these, in the order in which they came.
    pub admitted: Vec<Admit<T>>,
    /// Answer these with a time-out.
    pub expired: Vec<Expired<T>>,
    /// Running requests whose deadline passed: stop them, then call [`Scheduler::finish`]. Named in every turn until then.
    pub overdue: Vec<Ticket>,
}

/// What became of a cancelled request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cancelled<T> {
    /// It waited and is gone; it will never run.
    Waiting(T),
    /// It runs: stop it, then call [`Scheduler::finish`].
    Running,
    /// It is not here (any more).
    Unknown,
}

/// Counts for a load report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    pub waiting: usize,
    pub running: usize,
    /// Since the start.
    pub admitted: u64,
    pub refused: u64,
    pub expired: u64,
    pub cancelled: u64,
    pub finished: u64,
    /// How long the first in the queue has waited, milliseconds; 0 without one.
    pub oldest_wait_ms: u64,
}

struct Waiting<T> {
    ticket: Ticket,
    request: T,
    since_ms: u64,
    deadline_ms: Option<u64>,
}

/// The queue and the running set of one lane.
pub struct Scheduler<T> {
    config: Config,
    queue: VecDeque<Waiting<T>>,
    /// Running tickets and their deadlines.
    running: BTreeMap<Ticket, Option<u64>>,
    next: u64,
    load: Load,
}

impl<T> Scheduler<T> {
    /// An empty lane. A bound of 0 counts as 1.
    pub fn new(config: Config) -> Self {
        Self {
            config: at_least_one(config),
            queue: VecDeque::new(),
            running: BTreeMap::new(),
            next: 0,
            load: Load::default(),
        }
    }

    /// New bounds from the next push and turn on; what waits or runs already stays.
    pub fn configure(&mut self, config: Config) {
        self.config = at_least_one(config);
    }

    /// Puts a request at the end of the queue. `deadline_ms` is on the clock of `now_ms`: waiting and running together must
    /// end before it.
    pub fn push(&mut self, request: T, deadline_ms: Option<u64>, now_ms: u64) -> Result<Ticket, Full> {
        if self.queue.len() + self.running.len() >= self.config.max_requests {
            self.load.refused += 1;
            return Err(Full {
                waiting: self.queue.len(),
                running: self.running.len(),
                max_requests: self.config.max_requests,
            });
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.queue.push_back(Waiting { ticket, request, since_ms: now_ms, deadline_ms });
        Ok(ticket)
    }

    /// Withdraws a request, for example because its client is gone.
    pub fn cancel(&mut self, ticket: Ticket) -> Cancelled<T> {
        // Tickets in the queue ascend, because they are given in the order of the pushes.
        if let Ok(at) = self.queue.binary_search_by_key(&ticket, |w| w.ticket)
            && let Some(waiting) = self.queue.remove(at)
        {
            self.load.cancelled += 1;
            return Cancelled::Waiting(waiting.request);
        }
        if self.running.contains_key(&ticket) {
            self.load.cancelled += 1;
            return Cancelled::Running;
        }
        Cancelled::Unknown
    }

    /// Decides what happens before the next step: who joins, whose time is over. Call it between any two steps.
    pub fn next(&mut self, now_ms: u64) -> Turn<T> {
        let expired = self.expire(now_ms);
        let overdue = self.running.iter().filter(|(_, deadline)| passed(**deadline, now_ms)).map(|(t, _)| *t).collect();
        let mut admitted = Vec::new();
        while self.running.len() < self.config.max_batch {
            let Some(waiting) = self.queue.pop_front() else { break };
            self.running.insert(waiting.ticket, waiting.deadline_ms);
            self.load.admitted += 1;
            admitted.push(Admit {
                ticket: waiting.ticket,
                request: waiting.request,
                waited_ms: now_ms.saturating_sub(waiting.since_ms),
            });
        }
        Turn { admitted, expired, overdue }
    }

    fn expire(&mut self, now_ms: u64) -> Vec<Expired<T>> {
        if !self.queue.iter().any(|w| passed(w.deadline_ms, now_ms)) {
            return Vec::new();
        }
        let (late, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.queue).into_iter().partition(|w| passed(w.deadline_ms, now_ms));
        self.queue = kept;
        self.load.expired += late.len() as u64;
        let expired = |w: Waiting<T>| Expired {
            ticket: w.ticket,
            request: w.request,
            waited_ms: now_ms.saturating_sub(w.since_ms),
        };
        late.into_iter().map(expired).collect()
    }

    /// Frees the place of a running request, whatever its end was. False when it was not running.
    pub fn finish(&mut self, ticket: Ticket) -> bool {
        let ran = self.running.remove(&ticket).is_some();
        self.load.finished += u64::from(ran);
        ran
    }

    /// Nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty()
    }

    /// The earliest deadline of all requests here; a lane that waits need not wait longer.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let waiting = self.queue.iter().filter_map(|w| w.deadline_ms);
        waiting.chain(self.running.values().copied().flatten()).min()
    }

    /// Takes everything that waits, in order: a lane that goes away hands its queue back.
    pub fn drain_waiting(&mut self) -> Vec<(Ticket, T)> {
        self.load.cancelled += self.queue.len() as u64;
        self.queue.drain(..).map(|w| (w.ticket, w.request)).collect()
    }

    pub fn load(&self, now_ms: u64) -> Load {
        Load {
            waiting: self.queue.len(),
            running: self.running.len(),
            oldest_wait_ms: self.queue.front().map_or(0, |w| now_ms.saturating_sub(w.since_ms)),
            ..self.load
        }
    }
}

fn at_least_one(config: Config) -> Config {
    Config { max_requests: config.max_requests.max(1), max_batch: config.max_batch.max(1) }
}

fn passed(deadline_ms: Option<u64>, now_ms: u64) -> bool {
    deadline_ms.is_some_and(|deadline| now_ms >= deadline)
}

#[cfg(test)]
mod tests;
