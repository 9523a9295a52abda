//! What `up` itself has to say beside its steps: warnings of the supervisor, on standard error. Steps are printed, not logged.
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{config::Settings, error::Error, telemetry::lines};

/// Installs the subscriber of this process.
///
/// # Errors
/// TG-1531.
pub fn init(settings: &Settings) -> Result<(), Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Telemetry(e.to_string());
    let filter = EnvFilter::builder().parse(&settings.log_level).map_err(|e| failed(&e))?;
    tracing_subscriber::registry().with(filter).with(lines(settings.log_format)).try_init().map_err(|e| failed(&e))
}
