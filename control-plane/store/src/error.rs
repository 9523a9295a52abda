//! What can go wrong between the store and Postgres, and how it reads from outside. Nothing here may carry a connection
//! string or a value that a caller sent.
use tidegate_policy::ports::StoreError;

/// Why the store could not be opened.
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
        }
    }
}

/// Inside a call: what the store decided, or what the database said.
#[derive(Debug)]
pub(crate) enum Fail {
    Refused(StoreError),
    Database(sqlx::Error),
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

impl Fail {
    /// True when the same call may well succeed now: nothing was written, and only other writers were in the way.
    pub(crate) fn is_transient(&self) -> bool {
        // serialization_failure, deadlock_detected, unique_violation (two first writers of one row)
        matches!(self.sqlstate().as_deref(), Some("40001" | "40P01" | "23505"))
    }

    fn sqlstate(&self) -> Option<String> {
        match self {
            Self::Refused(_) => None,
            Self::Database(error) => error.as_database_error()?.code().map(|c| c.into_owned()),
        }
    }

    pub(crate) fn into_store_error(self) -> StoreError {
        let state = self.sqlstate();
        match self {
            Self::Refused(error) => error,
            // untranslatable_character, invalid text, untranslatable: U+0000 has no place in Postgres
            Self::Database(_) if matches!(state.as_deref(), Some("22P05" | "22021")) => {
                StoreError::BadRequest { what: "text with the character U+0000 cannot be stored".to_owned() }
            }
            Self::Database(error) => StoreError::Unavailable(Box::new(error)),
        }
    }
}
