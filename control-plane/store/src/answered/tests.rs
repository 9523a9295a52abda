//! Whoever answers was reached.
use std::{borrow::Cow, fmt};

use sqlx::error::{DatabaseError, Error, ErrorKind};

use crate::ConnectError;

#[derive(Debug)]
struct Answer(&'static str, &'static str);

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
}

impl std::error::Error for Answer {}

impl DatabaseError for Answer {
    fn message(&self) -> &str {
        self.1
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.0.into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

#[test]
fn an_answer_is_never_called_unreachable_and_a_pooler_is_named() {
    let table = [
        ("28P01", "password authentication failed", "TG-1215", "password is wrong"),
        ("28000", "no pg_hba.conf entry", "TG-1215", "pg_hba.conf"),
        ("3D000", "database \"x\" does not exist", "TG-1215", "no such database"),
        ("53300", "too many connections", "TG-1215", "max_connections"),
        ("57P01", "terminating connection", "TG-1215", "shutting down"),
        ("57P03", "the database system is starting up", "TG-1215", "starting up"),
        ("53100", "could not extend file", "TG-1215", "disk is full"),
        ("08P01", "no such user", "TG-1215", "ended the connection (SQLSTATE 08P01)"),
        ("08006", "server closed", "TG-1215", "SQLSTATE 08006"),
        ("XX000", "cache lookup failed", "TG-1215", "SQLSTATE XX000"),
        ("08P01", "unsupported startup parameter: options", "TG-1216", "unsupported startup parameter: options"),
        ("08P01", "transaction blocks not allowed in statement pooling mode", "TG-1216", "statement pooling mode"),
        ("42P05", "prepared statement \"sqlx_s_1\" already exists", "TG-1216", "42P05"),
        ("26000", "prepared statement \"sqlx_s_1\" does not exist", "TG-1216", "26000"),
    ];
    for (state, message, code, says) in table {
        let error = ConnectError::from(Error::Database(Box::new(Answer(state, message))));
        assert_eq!(error.code(), code, "{state}: {error}");
        assert!(error.to_string().contains(says), "{state}: {error}");
        assert!(!error.to_string().contains("could not be reached"), "{state}: {error}");
    }
}

#[test]
fn who_did_not_answer_could_not_be_reached() {
    let io = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    for error in [Error::Io(io), Error::PoolTimedOut] {
        assert_eq!(ConnectError::from(error).code(), "TG-1211");
    }
    let tls = ConnectError::from(Error::Tls("the server has none".into()));
    assert_eq!(tls.code(), "TG-1215");
    assert!(tls.to_string().contains("sslmode"));
}
