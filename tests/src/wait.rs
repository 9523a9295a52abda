//! Waiting for a condition with a deadline; the error says what was awaited and what was seen last.
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Polls `check` every 20 ms until it answers Ok, at most for `limit`.
///
/// # Errors
/// The last answer of `check`, with `what`.
pub async fn until<T, F>(what: &str, limit: Duration, mut check: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    let began = Instant::now();
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(error) if began.elapsed() > limit => {
                bail!("waited {:.1} s for {what}; last: {error:#}", began.elapsed().as_secs_f64())
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
