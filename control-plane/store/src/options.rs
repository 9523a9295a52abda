//! How the store reaches Postgres, and how long it waits. Values only.
use std::{str::FromStr, time::Duration};

use sqlx::postgres::PgConnectOptions;

use crate::ConnectError;

/// Settings of a [`crate::PgStore`].
#[derive(Clone)]
pub struct Options {
    pub(crate) postgres: PgConnectOptions,
    /// Most connections of the pool; one of them listens for changes. Default 8.
    pub max_connections: u32,
    /// Longest wait for a connection; also how long a call takes to fail while the database is away. Default 2 s.
    pub acquire_timeout: Duration,
    /// Longest single statement, enforced by the server. Default 5 s.
    pub statement_timeout: Duration,
    /// Longest wait for a lock, enforced by the server. Default 3 s.
    pub lock_timeout: Duration,
    /// Longest whole call, in case the server does not answer at all. Default 10 s.
    pub call_timeout: Duration,
    /// How often the store looks for changes by itself. Default 1 s.
    pub poll_interval: Duration,
    /// Whether it also listens for notifications, which arrive in about a millisecond. Default true.
    pub listen: bool,
    /// Bytes of rows at which a page of a listing ends, however many items were asked for; one item is always in it. A
    /// document may have 1 MiB, so 500 of them would not fit anywhere. Default 8 MiB.
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
            poll_interval: Duration::from_secs(1),
            listen: true,
            page_bytes: 8 << 20,
        }
    }

    /// What every session of the pool is started with.
    pub(crate) fn session(&self) -> PgConnectOptions {
        self.postgres.clone().application_name("tidegate").options([
            ("synchronous_commit", "on".to_owned()),
            ("timezone", "UTC".to_owned()),
            // "already exists, skipping" of every start is not worth a line of log.
            ("client_min_messages", "warning".to_owned()),
            ("statement_timeout", self.statement_timeout.as_millis().to_string()),
            ("lock_timeout", self.lock_timeout.as_millis().to_string()),
            ("idle_in_transaction_session_timeout", (self.call_timeout * 2).as_millis().to_string()),
        ])
    }

    /// The session that migrates: it may wait for another replica that is migrating.
    pub(crate) fn migration_session(&self) -> PgConnectOptions {
        self.session().options([("statement_timeout", "120000"), ("lock_timeout", "60000")])
    }
}
