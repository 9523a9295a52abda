//! Queue and batches of one lane: a bounded first-in first-out queue whose requests join the running batch between steps; the
//! turns of requests with many rows ([`fair`]); and whether a request can end in time ([`Admission`], by a measured [`Pace`]).
//! Pure: time is an argument (milliseconds of any steady clock), nothing waits, and nothing here knows what a request is.
//!
//! ```
//! use tidegate_scheduler::{Config, Scheduler};
//!
//! let mut lane = Scheduler::new(Config { max_requests: 64, max_batch: 8 });
//! lane.push("a", Some(1_000))?;
//! let turn = lane.next(5);
//! assert_eq!(turn.admitted[0].request, "a"); // prefill it, step it with the others, then:
//! lane.finish(turn.admitted[0].ticket);
//! # Ok::<(), tidegate_scheduler::Full>(())
//! ```
use std::collections::{BTreeSet, VecDeque};

mod admission;
pub mod fair;
mod pace;

pub use admission::{Admission, Ask, Line};
pub use fair::Late;
pub use pace::{Estimate, Pace};

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
}

/// What to do before the next step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn<T> {
    /// Start these, in the order in which they came.
    pub admitted: Vec<Admit<T>>,
    /// Their deadline passed while they waited; they never ran. Answer them with a time-out.
    pub expired: Vec<T>,
}

/// How many requests are here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    pub waiting: usize,
    pub running: usize,
}

struct Waiting<T> {
    ticket: Ticket,
    request: T,
    deadline_ms: Option<u64>,
}

/// The queue and the running set of one lane.
pub struct Scheduler<T> {
    config: Config,
    queue: VecDeque<Waiting<T>>,
    running: BTreeSet<Ticket>,
    next: u64,
}

impl<T> Scheduler<T> {
    /// An empty lane. A bound of 0 counts as 1.
    pub fn new(config: Config) -> Self {
        Self { config: at_least_one(config), queue: VecDeque::new(), running: BTreeSet::new(), next: 0 }
    }

    /// New bounds from the next push and turn on; what waits or runs already stays.
    pub fn configure(&mut self, config: Config) {
        self.config = at_least_one(config);
    }

    /// Puts a request at the end of the queue. `deadline_ms` is on the clock of [`Scheduler::next`]: from then on it does not
    /// start any more.
    pub fn push(&mut self, request: T, deadline_ms: Option<u64>) -> Result<Ticket, Full> {
        if self.queue.len() + self.running.len() >= self.config.max_requests {
            return Err(Full {
                waiting: self.queue.len(),
                running: self.running.len(),
                max_requests: self.config.max_requests,
            });
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.queue.push_back(Waiting { ticket, request, deadline_ms });
        Ok(ticket)
    }

    /// Takes out what waits and is `dead`, in order, for example because its client has gone. Call it before [`Scheduler::next`],
    /// so that the dead take no place in a batch.
    pub fn discard(&mut self, dead: impl Fn(&T) -> bool) -> Vec<T> {
        self.take_out(|waiting| dead(&waiting.request))
    }

    /// Decides what happens before the next step: who joins, whose time is over. Call it between any two steps.
    pub fn next(&mut self, now_ms: u64) -> Turn<T> {
        let expired = self.take_out(|waiting| waiting.deadline_ms.is_some_and(|deadline| now_ms >= deadline));
        let mut admitted = Vec::new();
        while self.running.len() < self.config.max_batch {
            let Some(Waiting { ticket, request, .. }) = self.queue.pop_front() else { break };
            self.running.insert(ticket);
            admitted.push(Admit { ticket, request });
        }
        Turn { admitted, expired }
    }

    fn take_out(&mut self, out: impl Fn(&Waiting<T>) -> bool) -> Vec<T> {
        if !self.queue.iter().any(&out) {
            return Vec::new();
        }
        let (taken, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.queue).into_iter().partition(out);
        self.queue = kept;
        taken.into_iter().map(|waiting| waiting.request).collect()
    }

    /// Frees the place of a running request, whatever its end was. False when it was not running.
    pub fn finish(&mut self, ticket: Ticket) -> bool {
        self.running.remove(&ticket)
    }

    /// Nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty()
    }

    /// Takes everything that waits, in order: a lane that goes away hands its queue back.
    pub fn drain_waiting(&mut self) -> Vec<T> {
        self.queue.drain(..).map(|waiting| waiting.request).collect()
    }

    pub fn load(&self) -> Load {
        Load { waiting: self.queue.len(), running: self.running.len() }
    }
}

fn at_least_one(config: Config) -> Config {
    Config { max_requests: config.max_requests.max(1), max_batch: config.max_batch.max(1) }
}

#[cfg(test)]
mod tests;
