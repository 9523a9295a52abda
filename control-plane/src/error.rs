//! What can go wrong in the command line and the supervisor: one variant per failed operation, each with a stable code and an exit code.
use std::path::PathBuf;

use crate::{config::ConfigErrors, problem::Problem};

/// Most codes that one report sends its reader to.
const MAX_HINTS: usize = 4;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Config(ConfigErrors),
    #[error("TG-1510 no answer from {url}; {hint}")]
    Unreachable {
        url: String,
        hint: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("TG-1511 no admin token: {reason}; give --token-file FILE or --data-dir DIR")]
    NoToken { reason: String },
    #[error("TG-1512 {what}: {reason}")]
    Input { what: String, reason: String },
    #[error("TG-1513 {url} answered something that is no answer of Tidegate: {reason}")]
    Answer { url: String, reason: String },
    #[error("TG-1514 the admin token is not sent to {url}: over http it would be readable on the way; use https")]
    TokenInClear { url: String },
    #[error("TG-1515 {0}")]
    Usage(String),
    #[error("TG-1516 cannot use the CA file {}: {reason}", path.display())]
    CaFile { path: PathBuf, reason: String },
    #[error("{0}")]
    Refused(Box<Problem>),
    #[error(
        "TG-1313 only {done} of {of} documents were applied; what is applied stays, and applying all again is safe"
    )]
    PartlyApplied {
        done: usize,
        of: usize,
        #[source]
        source: Box<Error>,
    },
    #[error("TG-1517 cannot write the answer")]
    Output(#[source] std::io::Error),
    #[error(
        "TG-1518 {} belongs to another user (id {owner}), so its URL and token are not used; run this as that user, or give --server and --token-file",
        path.display()
    )]
    ForeignDataDir { path: PathBuf, owner: u32 },
    #[error("TG-1519 the admin token file {} cannot be used: {reason}", path.display())]
    AdminToken { path: PathBuf, reason: String },
    #[error("TG-1520 another `tidegate up` (process {holder}) uses {}; stop it, or choose another --data-dir", dir.display())]
    Locked { dir: PathBuf, holder: String },
    #[error(
        "TG-1521 no Postgres server found ({searched}); install the package `postgresql`, name its folder with --postgres-bin-dir, or name a database with --database-url-file"
    )]
    NoPostgres { searched: String },
    #[error("TG-1522 cannot use {}: {reason}", path.display())]
    DataDir { path: PathBuf, reason: String },
    #[error("TG-1523 {name} did not become ready: {reason}{}", tail(last_lines))]
    NotReady { name: String, reason: String, last_lines: String },
    #[error("TG-1524 the database could not be made: {reason}")]
    InitDb { reason: String },
    #[error("TG-1525 the path {} is longer than {max} bytes, the most that a Unix socket can have; choose a shorter --data-dir", path.display())]
    SocketPath { path: PathBuf, max: usize },
    #[error("TG-1526 {0}")]
    MissingPart(String),
    #[error("TG-1529 {name} could not be started")]
    Spawn {
        name: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "TG-1542 the admin token was not sent to {url}: whoever answers there did not prove that it knows the token ({reason}); stop it if it is a stranger, or name the right server with --server or --data-dir"
    )]
    Unproven { url: String, reason: String },
    #[error(
        "TG-1543 the server at {url} does not know the admin token of {}{}; name another token with --token-file, or the right server with --server or --data-dir",
        file.display(), if *.sent { "" } else { ", which was not sent" }
    )]
    UnknownToken { url: String, file: PathBuf, sent: bool },
    #[error("TG-1540 cannot listen{}", listed(lines))]
    Address { lines: Vec<String> },
    #[error("TG-1531 telemetry could not be set up: {0}")]
    Telemetry(String),
    #[error("TG-1532 the control plane stopped")]
    Serve(#[source] anyhow::Error),
}

/// After a colon when there is one, else below each other.
fn listed(lines: &[String]) -> String {
    match lines {
        [one] => format!(" on {one}"),
        many => many.iter().map(|line| format!("\n  on {line}")).collect(),
    }
}

fn tail(lines: &str) -> String {
    if lines.is_empty() { String::new() } else { format!("\nlast lines of its log:\n{lines}") }
}

impl Error {
    /// Stable code; its page is `docs/errors/<code>.md`. A refusal carries the server's code.
    pub fn code(&self) -> &str {
        match self {
            Self::Config(_) => "TG-1500",
            Self::Unreachable { .. } => "TG-1510",
            Self::NoToken { .. } => "TG-1511",
            Self::Input { .. } => "TG-1512",
            Self::Answer { .. } => "TG-1513",
            Self::TokenInClear { .. } => "TG-1514",
            Self::Usage(_) => "TG-1515",
            Self::CaFile { .. } => "TG-1516",
            Self::Refused(problem) => &problem.code,
            Self::PartlyApplied { .. } => "TG-1313",
            Self::Output(_) => "TG-1517",
            Self::ForeignDataDir { .. } => "TG-1518",
            Self::AdminToken { .. } => "TG-1519",
            Self::Locked { .. } => "TG-1520",
            Self::NoPostgres { .. } => "TG-1521",
            Self::DataDir { .. } => "TG-1522",
            Self::NotReady { .. } => "TG-1523",
            Self::InitDb { .. } => "TG-1524",
            Self::SocketPath { .. } => "TG-1525",
            Self::MissingPart(_) => "TG-1526",
            Self::Spawn { .. } => "TG-1529",
            Self::Address { .. } => "TG-1540",
            Self::Unproven { .. } => "TG-1542",
            Self::UnknownToken { .. } => "TG-1543",
            Self::Telemetry(_) => "TG-1531",
            Self::Serve(_) => "TG-1532",
        }
    }

    /// Exit status, after sysexits(3).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Usage(_) => 64,
            Self::Input { .. } | Self::CaFile { .. } => 66,
            Self::Unreachable { .. } => 69,
            Self::NoToken { .. }
            | Self::TokenInClear { .. }
            | Self::ForeignDataDir { .. }
            | Self::Unproven { .. }
            | Self::UnknownToken { .. } => 77,
            Self::PartlyApplied { source, .. } => source.exit_code(),
            Self::Refused(problem) if matches!(problem.status, 401 | 403) => 77,
            Self::Refused(_)
            | Self::Answer { .. }
            | Self::Output(_)
            | Self::AdminToken { .. }
            | Self::Locked { .. }
            | Self::NoPostgres { .. }
            | Self::DataDir { .. }
            | Self::NotReady { .. }
            | Self::InitDb { .. }
            | Self::SocketPath { .. }
            | Self::MissingPart(_)
            | Self::Spawn { .. }
            | Self::Address { .. }
            | Self::Telemetry(_)
            | Self::Serve(_) => 1,
        }
    }

    /// The message, what caused it, and which command says what to do, on one line each.
    pub fn report(&self) -> String {
        let mut out = self.causes();
        let codes = tidegate_error_pages::codes(&out);
        let more = if codes.len() > MAX_HINTS { " ..." } else { "" };
        let codes = &codes[..codes.len().min(MAX_HINTS)];
        if !codes.is_empty() {
            out.push_str(&format!("\nwhat to do: tidegate errors {}{more}", codes.join(" ")));
        }
        out
    }

    fn causes(&self) -> String {
        let mut out = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            out.push_str("\n  because: ");
            out.push_str(&error.to_string());
            cause = error.source();
        }
        out
    }
}
