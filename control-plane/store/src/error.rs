//! What can go wrong between the store and Postgres, and how it reads from outside. Nothing here may carry a connection
//! string or a value that a caller sent.
use std::error::Error;

use tidegate_policy::ports::StoreError;

use crate::answered;

/// Why the store could not be opened, or cannot be used any longer.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the address of the database is not a Postgres URL; write postgres://user@host:5432/database")]
    Url,
    #[error("Postgres could not be reached")]
    Connect(#[source] sqlx::Error),
    #[error(
        "Postgres runs with {setting} = {value}, so an answered write could be lost; set {setting} = on in postgresql.conf and reload"
    )]
    NotDurable { setting: &'static str, value: String },
    #[error("Postgres is read-only (a standby, or default_transaction_read_only); give the address of the primary")]
    ReadOnly,
    #[error("the database could not be brought to this version's schema")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("Postgres answered and refused: {words}")]
    Refused {
        words: String,
        #[source]
        cause: sqlx::Error,
    },
    #[error(
        "Postgres is behind a connection pooler that does not keep sessions whole ({sign}); give the server's own address, or a pool in session mode"
    )]
    Pooler { sign: String },
    #[error(
        "the session was told {setting} = {wanted} and says {found:?}; a connection pooler drops it, or a role of the server forces another value"
    )]
    SettingLost { setting: &'static str, wanted: String, found: String },
}

impl ConnectError {
    /// Stable code; the page docs/errors/<code>.md says what to do.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url => "TG-1210",
            Self::Connect(_) => "TG-1211",
            Self::NotDurable { .. } => "TG-1212",
            Self::ReadOnly => "TG-1213",
            Self::Migrate(_) => "TG-1214",
            Self::Refused { .. } => "TG-1215",
            Self::Pooler { .. } => "TG-1216",
            Self::SettingLost { .. } => "TG-1217",
        }
    }

    /// A failed migration, unless it was the connection that failed.
    pub(crate) fn migrate(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(cause) if answered::pooler(&cause).is_some() => cause.into(),
            other => Self::Migrate(other),
        }
    }
}

impl From<sqlx::Error> for ConnectError {
    fn from(error: sqlx::Error) -> Self {
        if let Some(sign) = answered::pooler(&error) {
            return Self::Pooler { sign };
        }
        match answered::words(&error) {
            Some(words) => Self::Refused { words, cause: error },
            None => Self::Connect(error),
        }
    }
}

/// Inside a call: what the store decided, or what went wrong with the database.
#[derive(Debug)]
pub(crate) enum Fail {
    Refused(StoreError),
    Database(sqlx::Error),
    /// The server answers, but is not one whose answers count.
    Unusable(ConnectError),
    /// The whole call took too long.
    Unanswered(tokio::time::error::Elapsed),
}

impl From<ConnectError> for Fail {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Connect(error) | ConnectError::Refused { cause: error, .. } => Self::Database(error),
            other => Self::Unusable(other),
        }
    }
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<sqlx::Error> for Fail {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// Why the database did not do what it was asked. The text is the store's own and may be shown to a caller; what Postgres or
/// the system said is in the source, which is for the log only.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("Postgres is not reachable")]
    Unreachable(#[source] sqlx::Error),
    #[error("no connection to Postgres could be had in time: it is not reachable, or too slow")]
    NoConnection(#[source] sqlx::Error),
    #[error("Postgres did not finish in time; a write may have been done or not")]
    TooSlow(#[source] Box<dyn Error + Send + Sync>),
    #[error("Postgres answered and refused: {words}")]
    Refused {
        words: String,
        #[source]
        cause: sqlx::Error,
    },
    #[error("this version cannot read what Postgres answered")]
    Unreadable(#[source] sqlx::Error),
    #[error(transparent)]
    Unusable(ConnectError),
}

impl Failure {
    /// Name of the kind, for metrics and for how often it is logged.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::NoConnection(_) => "no_connection",
            Self::TooSlow(_) => "too_slow",
            Self::Refused { .. } => "refused",
            Self::Unreadable(_) => "unreadable",
            Self::Unusable(_) => "unusable",
        }
    }

    /// The text with everything below it, for the log.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut below = self.source();
        while let Some(cause) = below {
            let said = cause.to_string();
            // Errors of sqlx repeat their source in their own text.
            if !text.contains(&said) {
                text = format!("{text}: {said}");
            }
            below = cause.source();
        }
        text
    }

    fn of(error: sqlx::Error) -> Self {
        if let Some(sign) = answered::pooler(&error) {
            return Self::Unusable(ConnectError::Pooler { sign });
        }
        match (&error, answered::state(&error).as_deref()) {
            // query_canceled is statement_timeout, lock_not_available is lock_timeout.
            (_, Some("57014" | "55P03")) => return Self::TooSlow(Box::new(error)),
            // read_only_sql_transaction: it was made a standby.
            (_, Some("25006")) => return Self::Unusable(ConnectError::ReadOnly),
            (sqlx::Error::PoolTimedOut, _) => return Self::NoConnection(error),
            (
                sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::Encode(_)
                | sqlx::Error::RowNotFound
                | sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::TypeNotFound { .. },
                None,
            ) => return Self::Unreadable(error),
            (_, _) => {}
        }
        match answered::words(&error) {
            Some(words) => Self::Refused { words, cause: error },
            None => Self::Unreachable(error),
        }
    }
}

impl Fail {
    /// True when the same call may well succeed now: nothing was written, and only other writers were in the way.
    pub(crate) fn is_transient(&self) -> bool {
        // serialization_failure, deadlock_detected, unique_violation (two first writers of one row)
        matches!(self.sqlstate().as_deref(), Some("40001" | "40P01" | "23505"))
    }

    fn sqlstate(&self) -> Option<String> {
        match self {
            Self::Database(error) => answered::state(error),
            Self::Refused(_) | Self::Unusable(_) | Self::Unanswered(_) => None,
        }
    }

    /// What the caller is told, or, when the database is at fault, why.
    pub(crate) fn sorted(self) -> Result<StoreError, Failure> {
        let state = self.sqlstate();
        match self {
            Self::Refused(error) => Ok(error),
            // untranslatable_character, invalid text, untranslatable: U+0000 has no place in Postgres
            Self::Database(_) if matches!(state.as_deref(), Some("22P05" | "22021")) => {
                Ok(StoreError::BadRequest { what: "text with the character U+0000 cannot be stored".to_owned() })
            }
            Self::Database(error) => Err(Failure::of(error)),
            Self::Unusable(error) => Err(Failure::Unusable(error)),
            Self::Unanswered(elapsed) => Err(Failure::TooSlow(Box::new(elapsed))),
        }
    }
}
