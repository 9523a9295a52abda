//! Lines of log about a failure that repeats: the first at once, then at most one in ten seconds of each kind, with how many
//! calls failed meanwhile. It reads no clock.
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_secs(10);

/// What was written when, by kind of failure. The kinds are a handful of names in the code, so it cannot grow.
#[derive(Default)]
pub(crate) struct Quiet(Mutex<BTreeMap<&'static str, Held>>);

struct Held {
    last: Instant,
    failures: u64,
}

impl Quiet {
    /// Counts a failure. When a line is due at `now`: how many failures it stands for, this one included.
    pub(crate) fn due(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = kinds.get_mut(kind) else {
            kinds.insert(kind, Held { last: now, failures: 0 });
            return Some(1);
        };
        held.failures += 1;
        if now.saturating_duration_since(held.last) < EVERY {
            return None;
        }
        held.last = now;
        Some(std::mem::take(&mut held.failures))
    }
}

#[cfg(test)]
mod tests;
