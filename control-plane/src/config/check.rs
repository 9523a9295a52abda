//! Checks across settings (binds, files), and the error type of the configuration.
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use super::{
    Reader, Settings,
    typed::{place, written},
};

/// One mistake in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// Stable; see `docs/errors/`.
    pub code: &'static str,
    /// Where the value came from: `flag --admin-listen`, `env TIDEGATE_…`, `file x.yaml: adminListen`.
    pub place: String,
    pub message: String,
}

impl ConfigError {
    pub(super) fn file(place: &str, reason: &str) -> Self {
        Self { code: "TG-1501", place: place.to_owned(), message: reason.trim_end().to_owned() }
    }

    pub(super) fn unknown(place: &str, nearest: Option<String>) -> Self {
        let hint = nearest.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
        Self { code: "TG-1502", place: place.to_owned(), message: format!("there is no such setting{hint}") }
    }

    pub(super) fn value(place: &str, given: &str, expected: &str) -> Self {
        let given = if given == "this value" { given.to_owned() } else { format!("{given:?}") };
        Self { code: "TG-1503", place: place.to_owned(), message: format!("{given} is not {expected}") }
    }

    fn insecure(place: String, message: &str) -> Self {
        Self { code: "TG-1504", place, message: message.to_owned() }
    }

    pub(super) fn contradiction(place: &str, message: &str) -> Self {
        Self { code: "TG-1505", place: place.to_owned(), message: message.to_owned() }
    }

    pub(super) fn missing_file(place: &str, path: &Path, reason: &str) -> Self {
        Self { code: "TG-1506", place: place.to_owned(), message: format!("cannot read {}: {reason}", path.display()) }
    }
}

impl ConfigError {
    /// A folder that is not there, or in which nothing can be done.
    pub(super) fn folder(place: &str, path: &Path, reason: &str) -> Self {
        Self { code: "TG-1545", place: place.to_owned(), message: format!("{} {reason}", path.display()) }
    }

    pub(super) fn certificate(place: &str, message: String) -> Self {
        Self { code: "TG-1541", place: place.to_owned(), message }
    }

    /// A document that `up` was told to apply.
    pub fn document(place: String, message: String) -> Self {
        Self { code: "TG-1546", place, message }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.place, self.message)
    }
}

/// Every mistake in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "TG-1500 the configuration has {} mistake(s); nothing was started", self.0.len())?;
        for error in &self.0 {
            writeln!(f, "  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// What no single value shows.
pub(super) fn check(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let place = |key: &str| place(&settings.layers, key);
    if !settings.admin_listen.ip().is_loopback() && settings.admin_tls.is_none() {
        errors.push(ConfigError::insecure(
            place("admin_listen"),
            &format!(
                "the admin API listens beyond loopback only with TLS: set {} and {}",
                written("admin_tls_cert_file"),
                written("admin_tls_key_file")
            ),
        ));
    }
    if !settings.grpc_listen.ip().is_loopback() {
        errors.push(ConfigError::insecure(
            place("grpc_listen"),
            "ADS and the fleet service carry node tokens and have no TLS in this version: bind to a loopback address",
        ));
    }
    if !settings.gateway_listen.ip().is_loopback() && !settings.require_api_key {
        errors.push(ConfigError::insecure(
            place("gateway_listen"),
            &format!("the gateway listens beyond loopback only with {}=true", written("require_api_key")),
        ));
    }
    ports(settings, errors);
}

/// What a command does with these settings that somebody may not expect.
pub(super) fn worth_a_word(settings: &Settings, reader: Reader) -> Vec<String> {
    let mut out = Vec::new();
    if settings.max_workers == 0 && reader != Reader::Serve {
        out.push(format!(
            "{}: 0, so no worker is started, whatever the pools say",
            place(&settings.layers, "max_workers")
        ));
    }
    out
}

fn ports(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let all = [
        ("admin_listen", settings.admin_listen),
        ("grpc_listen", settings.grpc_listen),
        ("gateway_listen", settings.gateway_listen),
    ];
    for (i, (a, first)) in all.iter().enumerate() {
        for (b, second) in &all[i + 1..] {
            if overlap(*first, *second) {
                let place = |key: &str| place(&settings.layers, key);
                let places = format!("{} and {}", place(a), place(b));
                let message = if first == second {
                    format!("both are {first}")
                } else {
                    format!("{first} and {second} cannot both be listened on")
                };
                errors.push(ConfigError::contradiction(&places, &message));
            }
        }
    }
}

/// Whether only one of two listeners can have its address: `[::]` is also every address of IPv4.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let (x, y) = (a.ip().to_canonical(), b.ip().to_canonical());
    let covers = |all: IpAddr, one: IpAddr| all.is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    a.port() == b.port() && a.port() != 0 && (x == y || covers(x, y) || covers(y, x))
}
