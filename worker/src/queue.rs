//! The bound on requests that wait or run in this process. Changes at once when the pool says so; never waits.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::error::RequestError;

/// Counts requests from admission to the end of their answer.
#[derive(Debug)]
pub struct Queue {
    inside: AtomicUsize,
    max: AtomicUsize,
}

impl Queue {
    pub fn new(max: usize) -> Self {
        Self { inside: AtomicUsize::new(0), max: AtomicUsize::new(max) }
    }

    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Requests waiting or running now.
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Acquire)
    }

    /// A place, or the refusal of one request too many.
    pub fn enter(self: &Arc<Self>) -> Result<QueuePlace, RequestError> {
        let max = self.max.load(Ordering::Relaxed);
        let entered = self.inside.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| (n < max).then_some(n + 1));
        match entered {
            Ok(_) => Ok(QueuePlace(self.clone())),
            Err(_) => Err(RequestError::QueueFull { max }),
        }
    }
}

/// Given back when dropped.
#[derive(Debug)]
pub struct QueuePlace(Arc<Queue>);

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::AcqRel);
    }
}
