//! What `up` itself has to say beside its steps: warnings of the supervisor, on standard error. Steps are printed, not logged.
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    config::{LogFormat, Settings},
    error::Error,
};

/// Installs the subscriber of this process.
///
/// # Errors
/// TG-1531.
pub fn init(settings: &Settings) -> Result<(), Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Telemetry(e.to_string());
    let filter = EnvFilter::builder().parse(&settings.log_level).map_err(|e| failed(&e))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = match settings.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|e| failed(&e))
}
