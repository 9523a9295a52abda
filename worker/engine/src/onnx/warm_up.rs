//! The first runs of a version, before it counts as loaded: a pushed graph may loop for ever, so they end when the load is
//! cancelled or their time is over.
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::engine::Terminate;
use crate::error::EngineError;
use crate::load::LoadCancel;

/// How often the runs are looked at; they are stopped at most this late.
const LOOK: Duration = Duration::from_millis(20);

/// Does `runs`, which `terminator` can stop. TG-2025 when the load was cancelled, TG-2029 after `limit`, else what they say.
pub(super) fn run(
    cancel: &LoadCancel,
    limit: Duration,
    terminator: &dyn Terminate,
    runs: impl FnOnce() -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let until = Instant::now() + limit;
    let (running, ended) = mpsc::channel::<()>();
    let result = std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                // Again and again: a stop between two runs would be lost on the next.
                if cancel.is_cancelled() || Instant::now() >= until {
                    terminator.terminate();
                }
            }
        });
        let result = runs();
        // Ends the watch. It is dropped, too, when the runs panic: this closure owns it.
        drop(running);
        result
    });
    match result {
        Ok(()) => Ok(()),
        Err(_) if cancel.is_cancelled() => Err(EngineError::LoadCancelled),
        Err(error) if error.terminated() => Err(EngineError::WarmUpTooLong { seconds: limit.as_secs() }),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
