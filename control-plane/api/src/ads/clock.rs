//! Milliseconds that never go back and read like Unix time. The only clock of the ADS and fleet servers.
use std::{
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Unix milliseconds as of the first call, plus the monotonic time since. Whoever publishes to the hub stamps with this, so
/// that the time of a push can be measured.
pub fn now_ms() -> u64 {
    static ORIGIN: OnceLock<(Instant, u64)> = OnceLock::new();
    let (origin, unix_ms) = ORIGIN.get_or_init(|| {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (Instant::now(), u64::try_from(unix.as_millis()).unwrap_or(u64::MAX))
    });
    unix_ms.saturating_add(u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX))
}
