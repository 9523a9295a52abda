//! Text to typed values. Collects every mistake; never stops at the first.
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use tidegate_program::text_file;
use tidegate_translate::CorsOrigin;

use super::{ConfigError, Layered, LogFormat, Origin, Provider, Secret, Settings, TlsFiles, UpSettings, fields::field};

struct Parser<'a> {
    layers: &'a BTreeMap<&'static str, Layered>,
    cwd: &'a Path,
    errors: &'a mut Vec<ConfigError>,
}

/// None when a value does not parse; `errors` says which ones.
pub fn parse(layers: BTreeMap<&'static str, Layered>, cwd: &Path, errors: &mut Vec<ConfigError>) -> Option<Settings> {
    let mut p = Parser { layers: &layers, cwd, errors };
    let data_dir = p.path("data_dir");
    let admin_listen = p.one::<SocketAddr>("admin_listen", "an IP address and a port, such as 127.0.0.1:9080");
    let grpc_listen = p.one::<SocketAddr>("grpc_listen", "an IP address and a port, such as 127.0.0.1:18000");
    let gateway_listen = p.one::<SocketAddr>("gateway_listen", "an IP address and a port, such as 127.0.0.1:10000");
    let database_url = p.database_url();
    let admin_tls = p.tls();
    let log_level = p.log_level();
    let log_format = p.choice("log_format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    let otlp_endpoint = p.otlp();
    let require_api_key = p.switch("require_api_key");
    let allowed_worker_ips = p.many::<IpAddr>("allowed_worker_ips", "an IP address");
    let admin_hosts = p.hosts("admin_hosts");
    let supervisor_socket = p.path("supervisor_socket");
    let instance_id = p.instance_id();
    let new_admin_token = p.switch("new_admin_token");
    let model_roots = p.paths("model_roots");
    let max_workers = p.number("max_workers", 0, 64);
    let max_body_bytes = p.number("max_body_bytes", 1024, 64 << 20);
    let cors_origins = p.many::<CorsOrigin>("cors_origins", CorsOrigin::EXPECTED);
    let drain = p.number("drain_timeout_seconds", 1, 3600);
    let worker_provider = p.choice("worker_provider", &[("cpu", Provider::Cpu), ("cuda", Provider::Cuda)]);
    let [postgres_bin_dir, envoy_bin, worker_bin, onnxruntime_lib] =
        ["postgres_bin_dir", "envoy_bin", "worker_bin", "onnxruntime_lib"].map(|key| p.path(key));
    Some(Settings {
        data_dir: data_dir?,
        admin_listen: admin_listen?,
        grpc_listen: grpc_listen?,
        gateway_listen: gateway_listen?,
        database_url,
        admin_tls,
        log_level: log_level?,
        log_format: log_format?,
        otlp_endpoint,
        require_api_key: require_api_key?,
        allowed_worker_ips,
        admin_hosts,
        supervisor_socket,
        instance_id,
        new_admin_token: new_admin_token?,
        model_roots,
        max_workers: max_workers?,
        max_body_bytes: max_body_bytes?,
        cors_origins,
        drain_timeout: Duration::from_secs(u64::from(drain?)),
        up: UpSettings { postgres_bin_dir, envoy_bin, worker_bin, onnxruntime_lib, worker_provider: worker_provider? },
        warnings: Vec::new(),
        layers,
    })
}

impl Parser<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.layers.get(key)?.values.first().map(String::as_str).filter(|v| !v.is_empty())
    }

    fn given(&self, key: &str) -> bool {
        self.text(key).is_some()
    }

    fn place(&self, key: &str) -> String {
        place(self.layers, key)
    }

    fn refuse(&mut self, key: &str, given: &str, expected: &str) {
        let place = self.place(key);
        let shown = if field(key).is_some_and(|f| f.secret) { "(redacted)" } else { given };
        self.errors.push(ConfigError::value(&place, shown, expected));
    }

    fn one<T: FromStr>(&mut self, key: &str, expected: &str) -> Option<T> {
        let text = self.text(key)?.to_owned();
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.refuse(key, &text, expected);
        }
        parsed
    }

    fn many<T: FromStr>(&mut self, key: &str, expected: &str) -> Vec<T> {
        let texts = self.layers.get(key).map(|l| l.values.clone()).unwrap_or_default();
        let mut out = Vec::with_capacity(texts.len());
        for text in texts {
            match text.parse() {
                Ok(value) => out.push(value),
                Err(_) => self.refuse(key, &text, expected),
            }
        }
        out
    }

    /// Host names and addresses, without scheme and port.
    fn hosts(&mut self, key: &str) -> Vec<String> {
        let hosts = self.many::<String>(key, "a host name or an address");
        let plain = |host: &str| {
            let name = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
            name || host.parse::<IpAddr>().is_ok()
        };
        for host in hosts.iter().filter(|host| !plain(host)) {
            self.refuse(
                key,
                host,
                "a host name or an address, without a scheme and without a port, such as admin.example",
            );
        }
        hosts
    }

    /// After a mistake the default of the table stands in, so that the checks across settings still run.
    fn number(&mut self, key: &str, min: u32, max: u32) -> Option<u32> {
        let text = self.text(key)?.to_owned();
        match text.parse() {
            Ok(n) if (min..=max).contains(&n) => Some(n),
            Ok(_) | Err(_) => {
                self.refuse(key, &text, &format!("a whole number from {min} to {max}"));
                field(key)?.default.parse().ok()
            }
        }
    }

    /// As [`Parser::number`] after a mistake.
    fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?.to_owned();
        let named = |wanted: &str| choices.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        if let Some(found) = named(&text) {
            return Some(found);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.refuse(key, &text, &names.join(" or "));
        named(field(key)?.default)
    }

    fn switch(&mut self, key: &str) -> Option<bool> {
        self.choice(key, &[("true", true), ("false", false)])
    }

    fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.text(key).map(|text| absolute(self.cwd, text))
    }

    fn paths(&mut self, key: &str) -> Vec<PathBuf> {
        let texts = self.layers.get(key).map(|l| l.values.as_slice()).unwrap_or_default();
        texts.iter().filter(|t| !t.is_empty()).map(|t| absolute(self.cwd, t)).collect()
    }

    fn database_url(&mut self) -> Option<Secret> {
        if self.given("database_url") && self.given("database_url_file") {
            let (a, b) = (self.place("database_url"), self.place("database_url_file"));
            self.errors.push(ConfigError::contradiction(
                &format!("{a} and {b}"),
                &format!("give {} or {}, not both", written("database_url"), written("database_url_file")),
            ));
            return None;
        }
        let (key, text) = match self.path("database_url_file") {
            Some(path) => match text_file::read_line(&path) {
                Ok(line) => ("database_url_file", line),
                Err(error) => {
                    let place = self.place("database_url_file");
                    self.errors.push(ConfigError::missing_file(&place, &path, &error.to_string()));
                    return None;
                }
            },
            None => ("database_url", self.text("database_url")?.to_owned()),
        };
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            self.refuse(key, "(redacted)", "a URL that begins with postgres://");
            return None;
        }
        if tidegate_store::Options::from_url(&text).is_err() {
            self.refuse(
                key,
                "(redacted)",
                "a URL that can be read, such as postgres://user:password@host:5432/database",
            );
            return None;
        }
        Some(Secret::new(text))
    }

    fn tls(&mut self) -> Option<TlsFiles> {
        match (self.path("admin_tls_cert_file"), self.path("admin_tls_key_file")) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            (Some(_), None) => self.needs("admin_tls_cert_file", "admin_tls_key_file"),
            (None, Some(_)) => self.needs("admin_tls_key_file", "admin_tls_cert_file"),
        }
    }

    fn needs<T>(&mut self, given: &str, missing: &str) -> Option<T> {
        let message = format!("{} needs {}", written(given), written(missing));
        self.errors.push(ConfigError::contradiction(&self.place(given), &message));
        None
    }

    fn log_level(&mut self) -> Option<String> {
        let text = self.text("log_level")?.to_owned();
        if tracing_subscriber::EnvFilter::builder().parse(&text).is_err() {
            self.refuse(
                "log_level",
                &text,
                "error, warn, info, debug, trace, or directives such as info,tidegate_api=debug",
            );
        }
        Some(text)
    }

    fn instance_id(&mut self) -> Option<String> {
        let text = self.text("instance_id")?.to_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if text.len() > 64 || !text.chars().all(plain) {
            self.refuse("instance_id", &text, "1 to 64 of letters, digits, '-', '.' and '_'");
        }
        Some(text)
    }

    fn otlp(&mut self) -> Option<String> {
        let text = self.text("otlp_endpoint")?.to_owned();
        if text
            .parse::<reqwest::Url>()
            .is_ok_and(|u| u.scheme() == "http" && u.host().is_some() && u.password().is_none())
        {
            return Some(text);
        }
        self.refuse("otlp_endpoint", "this value", "an http:// URL such as http://127.0.0.1:4317");
        None
    }
}

/// `flag --admin-listen`, or for the file and the default also the key.
pub(super) fn place(layers: &BTreeMap<&'static str, Layered>, key: &str) -> String {
    let file_key = field(key).map(super::Field::file_key).unwrap_or_default();
    match layers.get(key).map(|l| &l.origin) {
        Some(origin @ Origin::File(_)) => format!("{origin}: {file_key}"),
        Some(origin @ (Origin::Flag(_) | Origin::Env(_))) => origin.to_string(),
        Some(Origin::Default) | None => format!("default of {file_key}"),
    }
}

/// What a person writes to set `key`.
pub(super) fn written(key: &str) -> String {
    field(key).map(super::Field::written).unwrap_or_default()
}

fn absolute(cwd: &Path, text: &str) -> PathBuf {
    let joined = cwd.join(text);
    joined.components().filter(|c| !matches!(c, std::path::Component::CurDir)).collect()
}
