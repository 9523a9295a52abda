//! Turns raw values into [`Settings`], collecting every problem. Looks at files and folders, never opens the network.
use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use tidegate_program::text_file;

use super::{EngineChoice, Layers, OnnxSettings, Origin, Problem, Provider, Settings, TelemetrySettings, keys};

struct Reader<'a> {
    layers: &'a Layers,
    problems: &'a mut Vec<Problem>,
}

/// All settings, or None with at least one problem added.
pub fn resolve(layers: &Layers, problems: &mut Vec<Problem>) -> Option<Settings> {
    let mut r = Reader { layers, problems };
    let node_id = r.required("node-id", node_id);
    let pool = r.required("pool", pool_name);
    let node_token_file = r.required("node-token-file", token_file);
    let control_plane = r.required("control-plane", http_url);
    let listen = r.required("listen", address);
    let advertise = r.optional("advertise", reachable);
    let engine = engine(&mut r);
    let fake = layers.get("engine").is_some_and(|raw| raw.values.first().is_some_and(|value| value == "fake"));
    let model_roots = roots(&mut r, !fake);
    let max_connections = r.required("max-connections", |t| number(t, 1, 65_536));
    let settle = r.required("settle", |t| duration(t, 0, 60_000));
    let grace = r.required("grace", |t| duration(t, 0, 3_600_000));
    let linger = r.required("linger", |t| duration(t, 0, 600_000));
    let slow_client = r.required("slow-client", |t| duration(t, 1, 600_000));
    let otlp_endpoint = r.optional("otlp-endpoint", http_url);
    let json_logs = r.required("log-format", |t| one_of(t, &[("text", false), ("json", true)]));
    let filter = r.required("log", log_filter);
    let (listen, advertise) = (listen?, advertise);
    if listen.ip().is_unspecified() && advertise.is_none() {
        r.problem("advertise", "is required when `listen` is an unspecified address such as 0.0.0.0".to_owned());
    }
    Some(Settings {
        node_id: node_id?,
        pool: pool?,
        node_token_file: node_token_file?,
        control_plane: control_plane?,
        listen,
        advertise,
        model_roots,
        engine: engine?,
        max_connections: max_connections?,
        settle: settle?,
        grace: grace?,
        linger: linger?,
        slow_client: slow_client?,
        telemetry: TelemetrySettings { otlp_endpoint, json_logs: json_logs?, filter: filter? },
        left_out: None,
    })
}

fn engine(r: &mut Reader<'_>) -> Option<EngineChoice> {
    let fake = r.required("engine", |t| one_of(t, &[("onnx", false), ("fake", true)]));
    let provider = r.required("provider", |t| one_of(t, &[("cpu", Provider::Cpu), ("cuda", Provider::Cuda)]));
    let device = r.required("device", |t| number(t, 0_i32, 63));
    let intra_threads = r.required("intra-threads", |t| number(t, 0_usize, 256));
    let prepacking = r.required("prepacking", |t| one_of(t, &[("true", true), ("false", false)]));
    let memory_limit = r.optional("memory-limit", |t| number(t, 1_u64 << 20, 1 << 50));
    if fake? {
        return Some(EngineChoice::Fake);
    }
    let dylib = r.required("ort-dylib", file);
    Some(EngineChoice::Onnx(OnnxSettings {
        dylib: dylib?,
        provider: provider?,
        device: device?,
        intra_threads: intra_threads?,
        prepacking: prepacking?,
        memory_limit,
    }))
}

fn roots(r: &mut Reader<'_>, required: bool) -> Vec<PathBuf> {
    let Some(raw) = r.layers.get("model-root") else { return Vec::new() };
    if raw.values.is_empty() && required {
        r.missing("model-root");
    }
    let mut out = Vec::new();
    for text in &raw.values {
        match std::fs::canonicalize(text) {
            Ok(path) if path.is_dir() => out.push(path),
            Ok(_) => r.problem("model-root", format!("{text:?} is not a folder")),
            Err(e) => r.problem("model-root", format!("{text:?} cannot be used: {e}")),
        }
    }
    out
}

impl Reader<'_> {
    fn problem(&mut self, name: &str, message: String) {
        let origin = self.layers.get(name).map(|raw| raw.origin.clone()).unwrap_or(Origin::Unset);
        let message = match origin {
            Origin::Unset => message,
            Origin::Flag | Origin::Env | Origin::File(_) | Origin::Default => format!("{message} (from {origin})"),
        };
        self.problems.push(Problem::new(name, message));
    }

    fn missing(&mut self, name: &str) {
        let (env, file) = (keys::env_name(name), keys::file_name(name));
        self.problem(name, format!("is required: set --{name}, {env}, or {file} in the file"));
    }

    fn optional<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.layers.get(name)?.values.first()?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problem(name, message);
                None
            }
        }
    }

    fn required<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let set = self.layers.get(name).is_some_and(|raw| !raw.values.is_empty());
        if !set {
            self.missing(name);
            return None;
        }
        self.optional(name, parse)
    }
}

fn node_id(text: &str) -> Result<String, String> {
    let ok = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/".contains(&b));
    if ok { Ok(text.to_owned()) } else { Err(format!("{text:?} must be 1 to 253 of A-Z a-z 0-9 - . _ /")) }
}

fn pool_name(text: &str) -> Result<String, String> {
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 253
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    };
    match text.split_once('/') {
        Some((namespace, name)) if label(namespace) && label(name) => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is not <namespace>/<name>")),
    }
}

/// Reads the token only to look whether it is one.
fn token_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let token = text_file::read_line(&path).map_err(|problem| format!("{text:?}: {problem}"))?;
    let good = token.strip_prefix("tgn_").is_some_and(|rest| !rest.is_empty() && rest.len() <= 256);
    if good { Ok(path) } else { Err(format!("{text:?} does not hold a node token (`tgn_...`)")) }
}

fn file(text: &str) -> Result<PathBuf, String> {
    match std::fs::metadata(text) {
        Ok(meta) if meta.is_file() => Ok(PathBuf::from(text)),
        Ok(_) => Err(format!("{text:?} is not a file")),
        Err(e) => Err(format!("{text:?} cannot be used: {e}")),
    }
}

fn http_url(text: &str) -> Result<String, String> {
    let uri = http::Uri::from_str(text).map_err(|e| format!("{text:?} is not a URL: {e}"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(_)) => Ok(text.to_owned()),
        (Some("https"), Some(_)) => Err(format!(
            "{text:?} cannot be used: this program speaks no TLS itself; name a proxy on this machine with http://, or encrypt the network"
        )),
        _ => Err(format!("{text:?} must be http://host:port")),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not ip:port"))
}

fn reachable(text: &str) -> Result<SocketAddr, String> {
    let address = address(text)?;
    if address.ip().is_unspecified() || address.port() == 0 {
        return Err(format!("{text:?} cannot be reached by others: it needs a real ip and port"));
    }
    Ok(address)
}

fn number<T: FromStr + PartialOrd + std::fmt::Display>(text: &str, low: T, high: T) -> Result<T, String> {
    match text.parse::<T>() {
        Ok(n) if n >= low && n <= high => Ok(n),
        Ok(_) | Err(_) => Err(format!("{text:?} is not a whole number from {low} to {high}")),
    }
}

fn one_of<T: Clone>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == text);
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    found.map(|(_, value)| value.clone()).ok_or_else(|| format!("{text:?} is not one of {}", names.join(", ")))
}

/// `250ms`, `2s`, `1m30s`, `1h`, within bounds in milliseconds.
fn duration(text: &str, low: u64, high: u64) -> Result<Duration, String> {
    let ms = tidegate_text::duration_ms(text);
    match ms {
        Some(ms) if (low..=high).contains(&ms) => Ok(Duration::from_millis(ms)),
        Some(_) | None => Err(format!("{text:?} is not a duration from {low}ms to {high}ms, such as 250ms or 2s")),
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|e| format!("{text:?} is not a log filter: {e}"))
}
