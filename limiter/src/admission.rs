//! All the limits of one process: one decision over every limit that applies, all or nothing. A refused request consumes nothing.
//! Time is an argument; the caller holds the lock.
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    bucket::{Bucket, Quota},
    matching::{Condition, RequestView},
};

/// Balances kept per limit; further counter values share one balance, so memory is bounded and nobody gets in free.
pub const MAX_BALANCES: usize = 100_000;
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
    held: Vec<(String, Key)>,
    /// Every limit with a request rate that applied.
    pub standings: Vec<Standing>,
    /// Limits in shadow mode that would have refused.
    pub shadow_refusals: Vec<Refusal>,
}

type Key = Arc<[u8]>;

#[derive(Debug)]
struct State {
    limit: Limit,
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
}

impl Admission {
    /// Puts new limits in force. A limit that keeps its id keeps its balances; one that is gone is forgotten.
    pub fn apply(&mut self, limits: Vec<Limit>, now_ms: u64) {
        let mut old = std::mem::take(&mut self.limits);
        for limit in limits {
            let mut state = old
                .remove(&limit.id)
                .filter(|s| s.limit.counters == limit.counters)
                .unwrap_or_else(|| State { limit: limit.clone(), balances: HashMap::new(), overflow: None });
            state.replace(limit, now_ms);
            self.limits.insert(state.limit.id.clone(), state);
        }
    }

    /// Admits the request under every limit that applies, or refuses it and consumes nothing.
    pub fn try_admit(&mut self, request: &RequestView<'_>, now_ms: u64) -> Result<Permit, Refusal> {
        let applying: Vec<(String, Key)> = self
            .limits
            .values()
            .filter(|s| s.limit.conditions.iter().all(|c| c.holds(request)))
            .filter_map(|s| Some((s.limit.id.clone(), s.limit.key(request)?)))
            .collect();
        let mut worst: Option<Refusal> = None;
        let mut shadow_refusals = Vec::new();
        for (id, key) in &applying {
            let Some(state) = self.limits.get_mut(id) else { continue };
            if let Some(refusal) = state.check(key, now_ms) {
                if state.limit.shadow {
                    shadow_refusals.push(refusal);
                } else if worst.as_ref().is_none_or(|w| w.retry_after_ms < refusal.retry_after_ms) {
                    worst = Some(refusal);
                }
            }
        }
        if let Some(refusal) = worst {
            return Err(refusal);
        }
        let standings = applying.iter().filter_map(|(id, key)| self.limits.get_mut(id)?.commit(key, now_ms)).collect();
        Ok(Permit { held: applying, standings, shadow_refusals })
    }

    /// The response has ended. Limits that went away meanwhile are ignored.
    pub fn release(&mut self, permit: Permit) {
        for (id, key) in permit.held {
            if let Some(state) = self.limits.get_mut(&id) {
                let balance = state.balance_mut(&key);
                balance.in_flight = balance.in_flight.saturating_sub(1);
            }
        }
    }

    /// Forgets balances that say nothing: full and nothing in flight. Call it now and then.
    pub fn sweep(&mut self, now_ms: u64) {
        for state in self.limits.values_mut() {
            let quota = state.limit.requests;
            state.balances.retain(|_, b| !b.is_idle(quota.as_ref(), now_ms));
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

    fn balance_mut(&mut self, key: &Key) -> &mut Balance {
        let known = self.balances.contains_key(key);
        let fresh = self.fresh(0);
        if known || self.balances.len() < MAX_BALANCES {
            self.balances.entry(key.clone()).or_insert(fresh)
        } else {
            self.overflow.get_or_insert(fresh)
        }
    }

    fn check(&mut self, key: &Key, now_ms: u64) -> Option<Refusal> {
        let (id, quota, concurrency) = (self.limit.id.clone(), self.limit.requests, self.limit.concurrency);
        let balance = self.balance_mut(key);
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

    fn commit(&mut self, key: &Key, now_ms: u64) -> Option<Standing> {
        let (limit, quota) = (self.limit.id.clone(), self.limit.requests);
        let balance = self.balance_mut(key);
        balance.in_flight += 1;
        let (bucket, quota) = (balance.bucket.as_mut()?, quota?);
        bucket.refill(&quota, now_ms);
        bucket.take(&quota);
        Some(Standing { limit, remaining: bucket.remaining(&quota), quota })
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
