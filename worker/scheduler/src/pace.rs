//! How fast an engine works, learnt from what its calls took. Pure: times are arguments. Says only what it has measured lately;
//! where it has to guess it guesses fast, so that nobody is refused for a guess.

/// Powers of two of the work of a call that are told apart.
const SIZES: usize = 40;
/// Weight of the newest call among those of its size.
const NEWEST: f64 = 0.3;
/// A measurement counts for so long; a refusal must not keep the measurement alive that caused it.
const FRESH_MS: u64 = 60_000;
/// How much longer than it ran a call is taken to be that was ended.
const ENDED: f64 = 1.25;
/// Calls of a size before it counts as measured.
const CALLS: u32 = 2;

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    units: f64,
    ms: f64,
    calls: u32,
    last_ms: u64,
}

/// What calls of each size took. The unit of work is the caller's: padded tokens, for example.
#[derive(Clone, Debug)]
pub struct Pace {
    sizes: [Size; SIZES],
}

/// What a call will take.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    pub ms: f64,
    /// Measured lately on calls of about this size; else it is a lower bound.
    pub firm: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self { sizes: [Size::default(); SIZES] }
    }
}

fn size_of(units: u64) -> usize {
    usize::try_from(units.max(1).ilog2()).unwrap_or(SIZES).min(SIZES - 1)
}

#[allow(clippy::cast_precision_loss)]
fn float(units: u64) -> f64 {
    units as f64
}

impl Pace {
    /// A call with so many units ended at `now` after `ms`.
    pub fn record(&mut self, units: u64, ms: f64, now: u64) {
        let Some(size) = self.sizes.get_mut(size_of(units)) else { return };
        if size.calls == 0 || now.saturating_sub(size.last_ms) > FRESH_MS {
            *size = Size { units: float(units), ms, calls: 0, last_ms: now };
        }
        size.units += NEWEST * (float(units) - size.units);
        size.ms += NEWEST * (ms - size.ms);
        size.calls = size.calls.saturating_add(1);
        size.last_ms = now;
    }

    /// A call with so many units was ended after `ms`, before it was through: it takes longer than that, and nobody knows how much.
    pub fn record_ended(&mut self, units: u64, ms: f64, now: u64) {
        if self.call(units, now).is_none_or(|known| known.ms < ms) {
            for _ in 0..CALLS {
                self.record(units, ms * ENDED, now);
            }
        }
    }

    /// What a call with so many units takes; None when nothing was measured lately.
    pub fn call(&self, units: u64, now: u64) -> Option<Estimate> {
        let fresh = |size: &&Size| size.calls >= CALLS && now.saturating_sub(size.last_ms) <= FRESH_MS;
        let at = size_of(units);
        let (below, above) = self.sizes.split_at_checked(at + 1)?;
        let asked = float(units.max(1));
        // Calls have a fixed part, so a smaller call gives a lower bound, and a part of a larger one does as well.
        if let Some(same) = below.last().filter(fresh) {
            return Some(Estimate { ms: same.ms * (asked / same.units).min(1.0), firm: true });
        }
        let larger = above.iter().find(fresh).map(|size| size.ms * asked / size.units);
        let smaller = below.iter().rev().find(fresh);
        let next = smaller.filter(|size| size.units * 2.0 >= asked);
        match (larger, smaller) {
            (Some(larger), Some(smaller)) => Some(Estimate { ms: larger.max(smaller.ms), firm: true }),
            (Some(ms), None) => Some(Estimate { ms, firm: true }),
            (None, Some(smaller)) => Some(Estimate { ms: smaller.ms, firm: next.is_some() }),
            (None, None) => None,
        }
    }

    /// Units in a millisecond, by the largest calls that were measured lately.
    pub fn units_per_ms(&self, now: u64) -> Option<f64> {
        let fresh = |size: &&Size| size.calls > 0 && now.saturating_sub(size.last_ms) <= FRESH_MS;
        self.sizes.iter().rev().find(fresh).map(|size| size.units / size.ms.max(0.001))
    }
}

#[cfg(test)]
mod tests;
