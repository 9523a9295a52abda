//! The limits that this process enforces, made from a pushed [`LimitSet`]. A set is taken whole or refused whole; a limit that
//! keeps its id keeps its balance. Takes the tenant from its header as it stands: that only the gateway can set it is the network's
//! affair (docs/reference/worker.md).
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use arc_swap::ArcSwap;
use http::HeaderMap;
use tidegate_limiter::{
    admission::{Admission, Counter, Limit, MAX_LIMITS, Permit, Refusal, Standing},
    bucket::Quota,
    matching::{BUCKETS, Condition, RequestView, ValueTest, full_match},
};
use tidegate_proto::{
    contract::HEADER_TENANT,
    worker::{self as pb, LimitSet},
};

use crate::error::WorkerError;

/// How often balances that say nothing are forgotten, in admissions.
const SWEEP_EVERY: u32 = 4_096;

/// What a request must be asked for, and what each limit's quota is.
#[derive(Default)]
struct Index {
    headers: BTreeSet<String>,
    quotas: BTreeMap<String, Quota>,
    empty: bool,
}

/// Shared by all requests of this process.
pub struct Limits {
    admission: Mutex<(Admission, u32)>,
    index: ArcSwap<Index>,
    epoch: Instant,
}

impl Default for Limits {
    fn default() -> Self {
        let index = Index { empty: true, ..Index::default() };
        Self { admission: Mutex::default(), index: ArcSwap::from_pointee(index), epoch: Instant::now() }
    }
}

impl Limits {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, (Admission, u32)> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a checked set in force.
    pub fn apply(&self, limits: Vec<Limit>) {
        let index = index(&limits);
        let mut guard = self.lock();
        guard.0.apply(limits, self.now_ms());
        self.index.store(Arc::new(index));
    }

    /// Admits a request under every limit that applies, or consumes nothing. The permit counts as in flight until dropped.
    pub fn admit(self: &Arc<Self>, headers: &HeaderMap) -> Result<LimitPermit, Refusal> {
        let index = self.index.load();
        if index.empty {
            return Ok(LimitPermit { held: None });
        }
        let seen: Vec<(String, Vec<u8>)> = index
            .headers
            .iter()
            .flat_map(|name| headers.get_all(name).iter().map(move |value| (name.clone(), value.as_bytes().to_vec())))
            .collect();
        let tenant = headers.get(HEADER_TENANT).and_then(|value| value.to_str().ok());
        let view = RequestView { headers: &seen, tenant };
        let now_ms = self.now_ms();
        let mut guard = self.lock();
        guard.1 = guard.1.wrapping_add(1);
        if guard.1.is_multiple_of(SWEEP_EVERY) {
            guard.0.sweep(now_ms);
        }
        let permit = guard.0.try_admit(&view, now_ms)?;
        Ok(LimitPermit { held: Some((self.clone(), permit)) })
    }

    /// The request quota of a limit, where it has one.
    pub fn quota(&self, limit: &str) -> Option<Quota> {
        self.index.load().quotas.get(limit).copied()
    }

    /// Balances kept, and whether keys share one because there are too many.
    pub fn balances(&self) -> (usize, bool) {
        self.lock().0.balances()
    }
}

/// Given back when dropped.
pub struct LimitPermit {
    held: Option<(Arc<Limits>, Permit)>,
}

impl LimitPermit {
    /// The tightest limit with a request rate that applied.
    pub fn tightest(&self) -> Option<&Standing> {
        self.held.as_ref()?.1.standings.iter().min_by_key(|s| s.remaining)
    }

    /// Limits in shadow mode that would have refused.
    pub fn shadow_refusals(&self) -> &[Refusal] {
        self.held.as_ref().map_or(&[], |(_, permit)| &permit.shadow_refusals)
    }
}

impl Drop for LimitPermit {
    fn drop(&mut self) {
        if let Some((limits, permit)) = self.held.take() {
            limits.lock().0.release(permit);
        }
    }
}

fn index(limits: &[Limit]) -> Index {
    let mut index = Index { empty: limits.is_empty(), ..Index::default() };
    for limit in limits {
        for condition in &limit.conditions {
            match condition {
                Condition::Header { name, .. } => index.headers.insert(name.clone()),
                Condition::Bucket { header, .. } => index.headers.insert(header.clone()),
                Condition::Tenant(_) => false,
            };
        }
        for counter in &limit.counters {
            match counter {
                Counter::Header(name) => index.headers.insert(name.clone()),
                Counter::Tenant => false,
            };
        }
        if let Some(quota) = limit.requests {
            index.quotas.insert(limit.id.clone(), quota);
        }
    }
    index
}

/// Checks and compiles a pushed set; nothing is in force until [`Limits::apply`].
pub fn compile(set: &LimitSet) -> Result<Vec<Limit>, WorkerError> {
    if set.limits.len() > MAX_LIMITS {
        let reason = format!("the set has {} limits, {MAX_LIMITS} are allowed", set.limits.len());
        return Err(WorkerError::LimitSetRefused { limit: set.name.clone(), reason });
    }
    let mut ids = BTreeSet::new();
    set.limits
        .iter()
        .map(|limit| {
            let refused = |reason: String| WorkerError::LimitSetRefused { limit: limit.id.clone(), reason };
            if limit.id.is_empty() || !ids.insert(limit.id.as_str()) {
                return Err(refused("the id is empty or stands twice".to_owned()));
            }
            one(limit).map_err(refused)
        })
        .collect()
}

fn one(limit: &pb::Limit) -> Result<Limit, String> {
    let requests = match &limit.requests {
        Some(rate) => Some(
            Quota::new(rate.rate, rate.window_ms, rate.burst).ok_or("a number of the request rate is out of range")?,
        ),
        None => None,
    };
    if requests.is_none() && limit.concurrency.is_none() {
        return Err("it limits neither requests nor concurrency".to_owned());
    }
    Ok(Limit {
        id: limit.id.clone(),
        conditions: limit.conditions.iter().map(condition).collect::<Result<_, _>>()?,
        counters: limit.counters.iter().map(counter).collect::<Result<_, _>>()?,
        requests,
        concurrency: limit.concurrency,
        shadow: limit.shadow,
    })
}

fn header_name(name: &str) -> Result<String, String> {
    let parsed = http::HeaderName::from_lowercase(name.as_bytes());
    parsed.map(|name| name.as_str().to_owned()).map_err(|_| format!("{name:?} is not a lower-case header name"))
}

fn condition(condition: &pb::Condition) -> Result<Condition, String> {
    use pb::{condition::Kind, header_condition::Op};
    match condition.kind.as_ref().ok_or("a condition has no kind")? {
        Kind::Tenant(tenant) => Ok(Condition::Tenant(tenant.clone())),
        Kind::Bucket(bucket) => {
            if bucket.from >= bucket.to || bucket.to > BUCKETS {
                return Err(format!("[{}, {}) is not a range of buckets", bucket.from, bucket.to));
            }
            let header = header_name(&bucket.header)?;
            Ok(Condition::Bucket { header, seed: bucket.seed, from: bucket.from, to: bucket.to })
        }
        Kind::Header(header) => {
            let test = match header.op.as_ref().ok_or("a header condition has no test")? {
                Op::Exact(value) => ValueTest::Exact(value.clone()),
                Op::Prefix(value) => ValueTest::Prefix(value.clone()),
                Op::Regex(source) => {
                    let compiled = full_match(source).map_err(|e| format!("the pattern does not compile: {e}"))?;
                    ValueTest::Regex { source: source.clone(), compiled }
                }
                Op::Present(true) => ValueTest::Present,
                Op::Present(false) => return Err("`present` must be true".to_owned()),
            };
            Ok(Condition::Header { name: header_name(&header.name)?, test })
        }
    }
}

fn counter(counter: &pb::Counter) -> Result<Counter, String> {
    use pb::counter::Kind;
    match counter.kind.as_ref().ok_or("a counter has no kind")? {
        Kind::Tenant(true) => Ok(Counter::Tenant),
        Kind::Tenant(false) => Err("`tenant` must be true".to_owned()),
        Kind::Header(name) => Ok(Counter::Header(header_name(name)?)),
    }
}
