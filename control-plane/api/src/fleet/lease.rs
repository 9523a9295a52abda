//! Keeps one worker's lease: writes when a fact changed and when it is time to renew, and tries again while the store is
//! away. The facts are kept meanwhile; only the newest count.
use std::{sync::Arc, time::Duration};

use chrono::Utc;
use tidegate_policy::ports::{FleetStore, LeaseOutcome, StoreError, WorkerLease};
use tokio::time::Instant;

use super::{
    gone::Last,
    report::{Facts, WorkerState},
};
use crate::ads::Refusal;

/// Waits between attempts while the store is away.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(2);

/// One worker's lease during one stream.
pub(crate) struct LeaseKeeper {
    store: Arc<dyn FleetStore>,
    node_id: String,
    interval: Duration,
    ttl: Duration,
    /// The newest facts, until the store has them.
    wanted: Option<Facts>,
    /// What the store has, and since when.
    held: Option<(Facts, Instant)>,
    retry: Option<(Instant, Duration)>,
}

impl LeaseKeeper {
    pub fn new(store: Arc<dyn FleetStore>, node_id: String, interval: Duration) -> Self {
        Self { store, node_id, interval, ttl: interval * 3, wanted: None, held: None, retry: None }
    }

    /// The worker reported: writes if there is something to write.
    pub async fn reported(&mut self, facts: Facts) -> Result<(), Refusal> {
        let renew_after = self.interval * 3 / 4;
        let fresh = self.held.as_ref().is_some_and(|(held, at)| *held == facts && at.elapsed() < renew_after);
        if fresh && self.wanted.is_none() {
            return Ok(());
        }
        self.wanted = Some(facts);
        // While the store is away the next attempt comes by the clock, not with every report.
        if self.retry.is_some_and(|(at, _)| Instant::now() < at) {
            return Ok(());
        }
        self.write().await
    }

    /// Whose lease is held. None: no lease, or the worker gave it up.
    pub fn last(&self) -> Option<Last> {
        let (facts, _) = self.held.as_ref().filter(|(facts, _)| facts.state != WorkerState::Draining)?;
        let (node_id, incarnation) = (self.node_id.clone(), facts.incarnation.clone());
        Some(Last { node_id, incarnation, address: facts.address })
    }

    /// When [`Self::retry`] is due.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry.map(|(at, _)| at)
    }

    /// Tries again what failed.
    pub async fn retry(&mut self) -> Result<(), Refusal> {
        self.write().await
    }

    async fn write(&mut self) -> Result<(), Refusal> {
        let Some(facts) = self.wanted.clone() else {
            self.retry = None;
            return Ok(());
        };
        match self.put(&facts).await {
            Ok(LeaseOutcome::Held { changed }) => {
                if changed {
                    tracing::debug!(node = %self.node_id, state = ?facts.state, versions = ?facts.versions, "a worker's facts changed");
                }
                (self.retry, self.wanted) = (None, None);
                self.held = Some((facts, Instant::now()));
                Ok(())
            }
            Ok(LeaseOutcome::AddressTaken { by }) => {
                Err(Refusal::AddressTaken { address: facts.address.to_string(), by })
            }
            Err(error) => {
                if self.retry.is_none() {
                    tracing::warn!(node = %self.node_id, error = causes(&error), "a worker's lease cannot be written; trying again");
                }
                let wait = self.retry.map_or(RETRY_FIRST, |(_, wait)| (wait * 2).min(RETRY_LONGEST));
                self.retry = Some((Instant::now() + wait, wait));
                Ok(())
            }
        }
    }

    async fn put(&self, facts: &Facts) -> Result<LeaseOutcome, StoreError> {
        // A draining worker gives up its endpoints at once, not when its lease ends.
        if facts.state == WorkerState::Draining {
            self.store.release(&self.node_id, &facts.incarnation).await?;
            return Ok(LeaseOutcome::Held { changed: true });
        }
        let lease = WorkerLease {
            node_id: self.node_id.clone(),
            incarnation: facts.incarnation.clone(),
            pool: facts.pool.clone(),
            address: facts.address,
            ready: facts.state == WorkerState::Ready,
            versions: facts.versions.clone(),
            expires_at: Utc::now() + self.ttl,
        };
        self.store.hold(&lease, u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX)).await
    }
}

/// An error with everything that caused it, on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
