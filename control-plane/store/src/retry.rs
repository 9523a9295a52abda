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

impl PgStore {
    /// Runs `call` until it succeeds, is refused, or has lost [`ATTEMPTS`] times. Each run is a transaction of its own.
    pub(crate) async fn run<T, F, R>(&self, name: &'static str, call: F) -> Result<T, StoreError>
    where
        F: Fn() -> R + Send,
        R: Future<Output = Result<T, Fail>> + Send,
    {
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
        let outcome = match &result {
            Ok(_) => "ok",
            Err(StoreError::Unavailable(_)) => "unavailable",
            Err(_) => "refused",
        };
        self.metrics.calls.add(1, &[KeyValue::new("operation", name), KeyValue::new("outcome", outcome)]);
        result
    }

    /// The only place that says why the database failed: the caller gets no more than the first line of it.
    fn failed(&self, operation: &'static str, failure: Failure) -> StoreError {
        if let Some(failures) = self.quiet.due(failure.kind(), Instant::now()) {
            tracing::warn!(operation, failures, cause = failure.chain(), "the policy store failed");
        }
        StoreError::Unavailable(Box::new(failure))
    }
}
