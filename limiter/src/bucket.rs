//! One token bucket in exact integers. Time is an argument; it never reads a clock.
//!
//! A token is `window_ms` units and every millisecond adds `rate` units, so no division ever loses a token.
//! In any interval of t ms a bucket admits at most `burst + rate * t / window_ms` requests.

/// `rate` per `window_ms`, and `burst` at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// 1 to 1,000,000,000.
    pub rate: u64,
    /// Milliseconds, 1 to 86,400,000.
    pub window_ms: u64,
    /// 1 to 1,000,000,000.
    pub burst: u64,
}

impl Quota {
    /// Largest `rate` and `burst`.
    pub const MAX_COUNT: u64 = 1_000_000_000;
    /// Largest window: a day.
    pub const MAX_WINDOW_MS: u64 = 86_400_000;

    /// None when a number is outside its range.
    pub fn new(rate: u64, window_ms: u64, burst: u64) -> Option<Self> {
        let counts = 1..=Self::MAX_COUNT;
        let ok = counts.contains(&rate) && counts.contains(&burst) && (1..=Self::MAX_WINDOW_MS).contains(&window_ms);
        ok.then_some(Self { rate, window_ms, burst })
    }

    fn capacity(&self) -> u64 {
        self.burst * self.window_ms
    }
}

/// The balance under a [`Quota`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bucket {
    /// Units of 1/`window_ms` token.
    level: u64,
    updated_ms: u64,
}

impl Bucket {
    /// A full bucket.
    pub fn full(quota: &Quota, now_ms: u64) -> Self {
        Self { level: quota.capacity(), updated_ms: now_ms }
    }

    /// Adds what time has brought. A clock that went back brings nothing.
    pub fn refill(&mut self, quota: &Quota, now_ms: u64) {
        let elapsed = now_ms.saturating_sub(self.updated_ms);
        self.level = elapsed.saturating_mul(quota.rate).saturating_add(self.level).min(quota.capacity());
        self.updated_ms = self.updated_ms.max(now_ms);
    }

    /// Zero when a token is there, else milliseconds until one is. Call after [`Self::refill`].
    pub fn wait_ms(&self, quota: &Quota) -> u64 {
        quota.window_ms.saturating_sub(self.level).div_ceil(quota.rate)
    }

    /// Takes one token. Only after `wait_ms` was zero at the same time.
    pub fn take(&mut self, quota: &Quota) {
        self.level = self.level.saturating_sub(quota.window_ms);
    }

    /// Whole tokens left.
    pub fn remaining(&self, quota: &Quota) -> u64 {
        self.level / quota.window_ms
    }

    /// A full bucket tells nothing and may be forgotten.
    pub fn is_full(&self, quota: &Quota) -> bool {
        self.level == quota.capacity()
    }

    /// Carries the balance to other numbers: what was used stays used, so a raised limit helps at once; a lowered one
    /// begins empty at worst and never in debt.
    pub fn rescale(&mut self, old: &Quota, new: &Quota, now_ms: u64) {
        self.refill(old, now_ms);
        let used = u128::from(old.capacity() - self.level) * u128::from(new.window_ms) / u128::from(old.window_ms);
        self.level = new.capacity().saturating_sub(u64::try_from(used).unwrap_or(u64::MAX));
    }
}
