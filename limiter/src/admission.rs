//! All the limits of one process: one decision over every limit that applies, all or nothing. A refused request consumes nothing.
//! Time is an argument; the caller holds the lock.
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use crate::{
    bucket::{Bucket, Quota},
    matching::{Condition, RequestView},
};

/// Most limits of one process. The control plane leaves out what is over it; a worker refuses a set that has more.
pub const MAX_LIMITS: usize = 1_024;

/// Balances kept per limit; further counter values share one balance, so memory is bounded and nobody gets in free.
pub const MAX_BALANCES: usize = 100_000;
/// Longest text that a balance keeps of the values it counts, in bytes; longer ones are told apart by their SHA-256.
const MAX_KEY_BYTES: usize = 256;
/// What a client is told to wait when only requests in flight stand in the way, milliseconds.
const CONCURRENCY_RETRY_MS: u64 = 1_000;

/// One limit.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Keeps the balance when the numbers change.
    pub id: String,
    /// All must hold; none means every request.
    pub conditions: Vec<Condition>,
    pub counters: Vec<Counter>,
    pub requests: Option<Quota>,
    /// Requests in flight.
    pub concurrency: Option<u64>,
    /// Count, but admit.
    pub shadow: bool,
}

/// What gets a balance of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Counter {
    Tenant,
    /// Lower-case header name.
    Header(String),
}

/// Why a request was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub limit: String,
    pub retry_after_ms: u64,
    pub what: Refused,
}

/// Which quantity ran out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    Requests,
    Concurrency,
}

/// How one limit stands after an admission.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    pub limit: String,
    pub remaining: u64,
    pub quota: Quota,
}

/// An admitted request: give it back with [`Admission::release`] when the response has ended.
#[must_use = "the request counts as in flight until it is released"]
#[derive(Debug)]
pub struct Permit {
    held: Vec<Held>,
    /// Every limit with a request rate that applied.
    pub standings: Vec<Standing>,
    /// Limits in shadow mode that would have refused; as if they had, the request does not count there.
    pub shadow_refusals: Vec<Refusal>,
}

type Key = Arc<[u8]>;

/// Where a request is counted: this balance of this limit, and of no other that has the same id later.
#[derive(Debug)]
struct Held {
    limit: String,
    epoch: u64,
    slot: Slot,
}

/// A balance of a limit.
#[derive(Clone, Debug)]
enum Slot {
    Own(Key),
    /// The one that keys beyond [`MAX_BALANCES`] share.
    Overflow,
}

#[derive(Debug)]
struct State {
    limit: Limit,
    /// No two states of one process have the same.
    epoch: u64,
    balances: HashMap<Key, Balance>,
    /// Shared by all keys beyond [`MAX_BALANCES`].
    overflow: Option<Balance>,
}

#[derive(Clone, Debug)]
struct Balance {
    bucket: Option<Bucket>,
    in_flight: u64,
}

/// All the limits of one process.
#[derive(Debug, Default)]
pub struct Admission {
    limits: BTreeMap<String, State>,
    epochs: u64,
}

impl Admission {
    /// Puts new limits in force. A limit that keeps its id and counters keeps its balances; one that is gone is forgotten,
    /// requests in flight included, also if its id comes back.
    pub fn apply(&mut self, limits: Vec<Limit>, now_ms: u64) {
        let mut old = std::mem::take(&mut self.limits);
        for limit in limits {
            self.epochs += 1;
            let epoch = self.epochs;
            let mut state = old
                .remove(&limit.id)
                .filter(|s| s.limit.counters == limit.counters)
                .unwrap_or_else(|| State { limit: limit.clone(), epoch, balances: HashMap::new(), overflow: None });
            state.replace(limit, now_ms);
            self.limits.insert(state.limit.id.clone(), state);
        }
    }

    /// Admits the request under every limit that applies, or refuses it and consumes nothing.
    ///
    /// # Errors
    /// The refusal with the longest wait.
    pub fn try_admit(&mut self, request: &RequestView<'_>, now_ms: u64) -> Result<Permit, Refusal> {
        let mut applying: Vec<(&mut State, Slot, bool)> = Vec::new();
        let mut worst: Option<Refusal> = None;
        let mut shadow_refusals = Vec::new();
        for state in self.limits.values_mut() {
            if !state.limit.conditions.iter().all(|c| c.holds(request)) {
                continue;
            }
            let Some(key) = state.limit.key(request) else { continue };
            let slot = state.slot(key, now_ms);
            let refusal = state.check(&slot, now_ms);
            let counts = refusal.is_none();
            match refusal {
                Some(refusal) if state.limit.shadow => shadow_refusals.push(refusal),
                Some(refusal) if worst.as_ref().is_none_or(|w| w.retry_after_ms < refusal.retry_after_ms) => {
                    worst = Some(refusal);
                }
                Some(_) | None => {}
            }
            applying.push((state, slot, counts));
        }
        if let Some(refusal) = worst {
            return Err(refusal);
        }
        let mut permit = Permit { held: Vec::new(), standings: Vec::new(), shadow_refusals };
        for (state, slot, counts) in applying {
            if counts {
                state.commit(&slot);
            }
            permit.standings.extend(state.standing(&slot));
            if counts {
                permit.held.push(Held { limit: state.limit.id.clone(), epoch: state.epoch, slot });
            }
        }
        Ok(permit)
    }

    /// The response has ended. Limits that went away meanwhile are ignored, also when one with the same id came after.
    pub fn release(&mut self, permit: Permit) {
        for held in permit.held {
            let state = self.limits.get_mut(&held.limit).filter(|s| s.epoch == held.epoch);
            if let Some(balance) = state.and_then(|s| s.balance_mut(&held.slot)) {
                balance.in_flight = balance.in_flight.saturating_sub(1);
            }
        }
    }

    /// Forgets balances that say nothing: full and nothing in flight. Call it now and then.
    pub fn sweep(&mut self, now_ms: u64) {
        for state in self.limits.values_mut() {
            let quota = state.limit.requests;
            state.balances.retain(|_, b| !b.is_idle(quota.as_ref(), now_ms));
            state.overflow.take_if(|b| b.is_idle(quota.as_ref(), now_ms));
        }
    }

    /// Balances kept now, and whether any limit's keys overflow into a shared one.
    pub fn balances(&self) -> (usize, bool) {
        let kept = self.limits.values().map(|s| s.balances.len()).sum();
        (kept, self.limits.values().any(|s| s.overflow.is_some()))
    }
}

impl Limit {
    /// None when a counter has no value in this request: the limit does not apply.
    fn key(&self, request: &RequestView<'_>) -> Option<Key> {
        let mut key = Vec::new();
        for counter in &self.counters {
            let value = match counter {
                Counter::Tenant => request.tenant?.as_bytes().to_vec(),
                Counter::Header(name) => request.header(name)?,
            };
            key.extend_from_slice(&(value.len() as u64).to_le_bytes());
            key.extend_from_slice(&value);
        }
        if key.len() > MAX_KEY_BYTES {
            // No plain key begins like this: its first eight bytes are the length of a value.
            let digest: [u8; 32] = Sha256::digest(&key).into();
            return Some([&[0xFF; 8], &digest[..]].concat().into());
        }
        Some(key.into())
    }
}

impl State {
    fn replace(&mut self, limit: Limit, now_ms: u64) {
        for balance in self.balances.values_mut().chain(self.overflow.as_mut()) {
            balance.bucket = match (balance.bucket, self.limit.requests, limit.requests) {
                (Some(mut bucket), Some(old), Some(new)) => {
                    bucket.rescale(&old, &new, now_ms);
                    Some(bucket)
                }
                (_, _, new) => new.map(|quota| Bucket::full(&quota, now_ms)),
            };
        }
        self.limit = limit;
    }

    fn fresh(&self, now_ms: u64) -> Balance {
        Balance { bucket: self.limit.requests.map(|q| Bucket::full(&q, now_ms)), in_flight: 0 }
    }

    /// The balance for a key, made when it is new; beyond the bound the shared one.
    fn slot(&mut self, key: Key, now_ms: u64) -> Slot {
        if self.balances.contains_key(&key) {
            return Slot::Own(key);
        }
        let fresh = self.fresh(now_ms);
        if self.balances.len() < MAX_BALANCES {
            self.balances.insert(key.clone(), fresh);
            return Slot::Own(key);
        }
        self.overflow.get_or_insert(fresh);
        Slot::Overflow
    }

    fn balance(&self, slot: &Slot) -> Option<&Balance> {
        match slot {
            Slot::Own(key) => self.balances.get(key),
            Slot::Overflow => self.overflow.as_ref(),
        }
    }

    fn balance_mut(&mut self, slot: &Slot) -> Option<&mut Balance> {
        match slot {
            Slot::Own(key) => self.balances.get_mut(key),
            Slot::Overflow => self.overflow.as_mut(),
        }
    }

    fn check(&mut self, slot: &Slot, now_ms: u64) -> Option<Refusal> {
        let (id, quota, concurrency) = (self.limit.id.clone(), self.limit.requests, self.limit.concurrency);
        let balance = self.balance_mut(slot)?;
        if let (Some(bucket), Some(quota)) = (&mut balance.bucket, quota) {
            bucket.refill(&quota, now_ms);
            let retry_after_ms = bucket.wait_ms(&quota);
            if retry_after_ms > 0 {
                return Some(Refusal { limit: id, retry_after_ms, what: Refused::Requests });
            }
        }
        let full = concurrency.is_some_and(|max| balance.in_flight >= max);
        full.then_some(Refusal { limit: id, retry_after_ms: CONCURRENCY_RETRY_MS, what: Refused::Concurrency })
    }

    /// Counts the request. Only after [`Self::check`] refused nothing at the same time.
    fn commit(&mut self, slot: &Slot) {
        let quota = self.limit.requests;
        let Some(balance) = self.balance_mut(slot) else { return };
        balance.in_flight += 1;
        if let (Some(bucket), Some(quota)) = (&mut balance.bucket, quota) {
            bucket.take(&quota);
        }
    }

    fn standing(&self, slot: &Slot) -> Option<Standing> {
        let quota = self.limit.requests?;
        let remaining = self.balance(slot)?.bucket?.remaining(&quota);
        Some(Standing { limit: self.limit.id.clone(), remaining, quota })
    }
}

impl Balance {
    fn is_idle(&mut self, quota: Option<&Quota>, now_ms: u64) -> bool {
        let full = match (&mut self.bucket, quota) {
            (Some(bucket), Some(quota)) => {
                bucket.refill(quota, now_ms);
                bucket.is_full(quota)
            }
            (None, _) | (_, None) => true,
        };
        full && self.in_flight == 0
    }
}
