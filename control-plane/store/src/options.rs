//! How the store reaches Postgres, and how long it waits. Values only.
use std::{str::FromStr, time::Duration};

use sqlx::postgres::PgConnectOptions;

use crate::ConnectError;

/// Settings of a [`crate::PgStore`].
#[derive(Clone)]
pub struct Options {
    pub(crate) postgres: PgConnectOptions,
    /// Most connections for reads and writes of callers; the control plane's own work has six besides. Default 8.
    pub max_connections: u32,
    /// Longest wait for a connection; also how long a call takes to fail while the database is away. Default 2 s.
    pub acquire_timeout: Duration,
    /// Longest single statement, enforced by the server. Default 5 s.
    pub statement_timeout: Duration,
    /// Longest wait for a lock, enforced by the server. Default 3 s.
    pub lock_timeout: Duration,
    /// Longest whole call, in case the server does not answer at all. Default 10 s.
    pub call_timeout: Duration,
    /// Most reads, and most writes, that wait for their turn. Default 256, as many requests as the admin API answers at once.
    pub queue: usize,
    /// Longest wait for a turn. Default 8 s.
    pub patience: Duration,
    /// How often the store looks for changes by itself. Default 1 s.
    pub poll_interval: Duration,
    /// Whether it also listens for notifications, which arrive in about a millisecond. Default true.
    pub listen: bool,
    /// Bytes of rows at which a page of a listing ends, however many items were asked for; one item is always in it. A
    /// document may have 1 MiB, so 500 of them would not fit anywhere. Default 2 MiB, so that a page fits into a body that is sent back.
    pub page_bytes: usize,
}

impl Options {
    /// From a URL such as `postgres://user@host/database` or `postgres:///db?host=/socket/dir`.
    ///
    /// # Errors
    /// [`ConnectError::Url`] when it does not parse; the text never holds the URL, which may carry a password.
    pub fn from_url(url: &str) -> Result<Self, ConnectError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(ConnectError::Url);
        }
        Ok(Self::new(PgConnectOptions::from_str(url).map_err(|_| ConnectError::Url)?))
    }

    /// From connection options made by hand.
    #[must_use]
    pub fn new(postgres: PgConnectOptions) -> Self {
        Self {
            postgres,
            max_connections: 8,
            acquire_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(3),
            call_timeout: Duration::from_secs(10),
            queue: 256,
            patience: Duration::from_secs(8),
            poll_interval: Duration::from_secs(1),
            listen: true,
            page_bytes: 2 << 20,
        }
    }

    /// How a session is opened. Nothing is asked for here that a pooler refuses: see `session` for what is set afterwards.
    pub(crate) fn session(&self) -> PgConnectOptions {
        self.postgres.clone().application_name("tidegate").extra_float_digits(None)
    }
}
