//! Who may use a connection, in the order of asking: a bounded number at a time, a bounded number waiting, for a bounded time. What is
//! turned away did nothing, and is told so.
use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, UpDownCounter},
};
use tidegate_policy::ports::StoreError;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Longest pause that a caller is asked to make.
const LONGEST_PAUSE: u64 = 30;

/// See the module.
pub(crate) struct Queue {
    what: &'static str,
    places: Semaphore,
    most: usize,
    patience: Duration,
    waiting: AtomicUsize,
    /// How long a turn takes lately, microseconds.
    turn: AtomicU64,
    waits: UpDownCounter<i64>,
    refused: Counter<u64>,
}

impl Queue {
    /// `places` at once, `most` waiting, each for `patience` at most.
    pub(crate) fn new(what: &'static str, (places, most): (usize, usize), patience: Duration) -> Self {
        let meter = opentelemetry::global::meter("tidegate");
        let waits = meter.i64_up_down_counter("tidegate_store_waiting");
        let refused = meter.u64_counter("tidegate_store_turned_away");
        Self {
            what,
            places: Semaphore::new(places),
            most,
            patience,
            waiting: AtomicUsize::new(0),
            turn: AtomicU64::new(0),
            waits: waits.with_description("Calls of the policy store that wait for their turn").build(),
            refused: refused.with_description("Calls of the policy store refused because too many wait").build(),
        }
    }

    /// Waits for a turn, which ends with what is returned.
    ///
    /// # Errors
    /// [`StoreError::Busy`]: nothing was done.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, StoreError> {
        if let Ok(permit) = self.places.try_acquire() {
            return Ok(self.begin(permit));
        }
        let place = Waiting::new(self);
        if place.before >= self.most {
            return Err(self.turn_away(place.before));
        }
        match tokio::time::timeout(self.patience, self.places.acquire()).await {
            Ok(Ok(permit)) => Ok(self.begin(permit)),
            Ok(Err(_)) | Err(_) => Err(self.turn_away(self.waiting.load(Ordering::Relaxed))),
        }
    }

    fn begin<'a>(&'a self, permit: SemaphorePermit<'a>) -> Turn<'a> {
        Turn { queue: self, began: Instant::now(), _permit: permit }
    }

    fn turn_away(&self, waiting: usize) -> StoreError {
        self.refused.add(1, &[KeyValue::new("what", self.what)]);
        let each = self.turn.load(Ordering::Relaxed);
        let seconds = (each.saturating_mul(waiting as u64) / 1_000_000 + 1).min(LONGEST_PAUSE);
        StoreError::Busy { what: self.what, waiting, retry_after_s: seconds }
    }
}

/// A caller in the queue.
struct Waiting<'a> {
    queue: &'a Queue,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn new(queue: &'a Queue) -> Self {
        queue.waits.add(1, &[KeyValue::new("what", queue.what)]);
        Self { before: queue.waiting.fetch_add(1, Ordering::Relaxed), queue }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, Ordering::Relaxed);
        self.queue.waits.add(-1, &[KeyValue::new("what", self.queue.what)]);
    }
}

/// A turn; dropping it lets the next one in.
pub(crate) struct Turn<'a> {
    queue: &'a Queue,
    began: Instant,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let took = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let lately = self.queue.turn.load(Ordering::Relaxed);
        // Half of it is the last turn: good enough to say how long to stay away.
        self.queue.turn.store(lately / 2 + took / 2, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
