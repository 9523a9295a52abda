//! Bounded repetition of a call that lost against other writers, and an end to calls that the server never answers.
use std::{
    future::Future,
    time::{Duration, Instant},
};

use opentelemetry::KeyValue;
use tidegate_policy::ports::StoreError;

use crate::{
    error::{Fail, Failure},
    store::PgStore,
};

const ATTEMPTS: u32 = 5;

/// What a call waits for before it takes a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    Read,
    Write,
    /// A read of everything: long, and few at a time, so that the rest of the upkeep has its connections.
    Everything,
    /// Nothing: connections are kept for it.
    Upkeep,
}

impl PgStore {
    /// Runs `call`, when it is its turn, until it succeeds, is refused, or has lost [`ATTEMPTS`] times. Each run is a transaction of
    /// its own.
    pub(crate) async fn run<T, F, R>(&self, lane: Lane, name: &'static str, call: F) -> Result<T, StoreError>
    where
        F: Fn() -> R + Send,
        R: Future<Output = Result<T, Fail>> + Send,
    {
        let turn = match lane {
            Lane::Read => self.reads.turn().await.map(Some),
            Lane::Write => self.writes.turn().await.map(Some),
            Lane::Everything => self.full_reads.turn().await.map(Some),
            Lane::Upkeep => Ok(None),
        };
        let _turn = turn.inspect_err(|_| self.count(name, "busy"))?;
        self.run_within(self.options.call_timeout, name, call).await
    }

    /// As [`PgStore::run`], for a call that may take `limit`.
    pub(crate) async fn run_within<T, F, R>(
        &self,
        limit: Duration,
        name: &'static str,
        call: F,
    ) -> Result<T, StoreError>
    where
        F: Fn() -> R + Send,
        R: Future<Output = Result<T, Fail>> + Send,
    {
        let all = async {
            let mut attempt = 1;
            loop {
                match call().await {
                    Err(fail) if fail.is_transient() && attempt < ATTEMPTS => {
                        self.metrics.retries.add(1, &[KeyValue::new("operation", name)]);
                        tokio::time::sleep(Duration::from_millis(u64::from(attempt) * 5)).await;
                        attempt += 1;
                    }
                    other => return other,
                }
            }
        };
        let result = match tokio::time::timeout(limit, all).await {
            Ok(result) => result,
            Err(elapsed) => Err(Fail::Unanswered(elapsed)),
        };
        let result = result.map_err(|fail| fail.sorted().unwrap_or_else(|failure| self.failed(name, failure)));
        self.count(
            name,
            match &result {
                Ok(_) => "ok",
                Err(error) if error.is_outage() => "unavailable",
                Err(_) => "refused",
            },
        );
        result
    }

    fn count(&self, operation: &'static str, outcome: &'static str) {
        self.metrics.calls.add(1, &[KeyValue::new("operation", operation), KeyValue::new("outcome", outcome)]);
    }

    /// The only place that says why the database failed: the caller gets no more than the first line of it.
    fn failed(&self, operation: &'static str, failure: Failure) -> StoreError {
        let failure = match (failure, self.pools.broken()) {
            (Failure::NoConnection(_), Some(why)) => Failure::Unusable(why),
            (failure, _) => failure,
        };
        if let Some(failures) = self.quiet.due(failure.kind(), Instant::now()) {
            tracing::warn!(operation, failures, cause = failure.chain(), "the policy store failed");
        }
        match failure {
            Failure::Unusable(why) => StoreError::Unfit { code: why.code(), why: why.to_string() },
            other => StoreError::Unavailable(Box::new(other)),
        }
    }
}
