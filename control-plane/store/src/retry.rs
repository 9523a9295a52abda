//! Bounded repetition of a call that lost against other writers, and an end to calls that the server never answers.
use std::{future::Future, time::Duration};

use opentelemetry::KeyValue;
use tidegate_policy::ports::StoreError;

use crate::{error::Fail, store::PgStore};

const ATTEMPTS: u32 = 5;

impl PgStore {
    /// Runs `call` until it succeeds, is refused, or has lost [`ATTEMPTS`] times. Each run is a transaction of its own.
    pub(crate) async fn run<T, F, R>(&self, name: &'static str, call: F) -> Result<T, StoreError>
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
        let result = match tokio::time::timeout(self.options.call_timeout, all).await {
            Ok(result) => result.map_err(Fail::into_store_error),
            Err(elapsed) => Err(StoreError::Unavailable(Box::new(elapsed))),
        };
        let outcome = match &result {
            Ok(_) => "ok",
            Err(StoreError::Unavailable(_)) => "unavailable",
            Err(_) => "refused",
        };
        self.metrics.calls.add(1, &[KeyValue::new("operation", name), KeyValue::new("outcome", outcome)]);
        result
    }
}
