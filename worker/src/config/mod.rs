//! Settings of one worker: read from flags, environment and file, checked completely before anything starts.
//! Never starts anything and never prints a secret (the token is a file name here).
mod keys;
mod layers;
mod resolve;
#[cfg(test)]
mod tests;
mod variables;

use std::{collections::BTreeMap, ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

pub use layers::{Layers, Origin};

/// Everything that a worker is told by its own configuration. Exists only when valid.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node_id: String,
    /// `<namespace>/<name>`.
    pub pool: String,
    pub node_token_file: PathBuf,
    pub control_plane: String,
    pub listen: SocketAddr,
    pub advertise: Option<SocketAddr>,
    pub model_roots: Vec<PathBuf>,
    pub engine: EngineChoice,
    pub max_connections: usize,
    pub settle: Duration,
    pub grace: Duration,
    pub linger: Duration,
    pub slow_client: Duration,
    pub telemetry: TelemetrySettings,
    /// A sentence about variables that are left out.
    pub left_out: Option<String>,
}

/// Which engine runs the models.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EngineChoice {
    Onnx(OnnxSettings),
    /// Deterministic answers without weights; for benchmarks and tests.
    Fake,
}

/// How ONNX Runtime is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OnnxSettings {
    pub dylib: PathBuf,
    pub provider: Provider,
    pub device: i32,
    /// 0 means one per core.
    pub intra_threads: usize,
    pub prepacking: bool,
    /// Bytes that all loaded versions together may need.
    pub memory_limit: Option<u64>,
}

/// Execution provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provider {
    Cpu,
    Cuda,
}

/// What is told about this process, and to whom.
#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    pub otlp_endpoint: Option<String>,
    pub json_logs: bool,
    pub filter: String,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub setting: String,
    pub message: String,
}

impl Problem {
    pub(crate) fn new(setting: &str, message: impl Into<String>) -> Self {
        Self { setting: setting.to_owned(), message: message.into() }
    }
}

/// What the command line asks for.
pub enum Asked {
    Run(Box<Settings>),
    /// Text for standard output, then exit 0 (`--help`, `--version`, `--check-config`).
    Print(String),
    /// Text for standard error, then exit 64.
    Refused(String),
}

/// Reads and checks everything; touches the file system only to look.
pub fn read(args: impl IntoIterator<Item = OsString>, env: &BTreeMap<String, String>) -> Asked {
    let matches = match keys::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(e) if e.use_stderr() => return Asked::Refused(e.render().to_string()),
        Err(e) => return Asked::Print(e.render().to_string()),
    };
    if let Some(asked) = matches.subcommand_matches("errors") {
        return pages(asked.get_many::<String>("code").unwrap_or_default());
    }
    let (mut problems, left_out) = variables::judge(env);
    let layers = layers::collect(&matches, env, &mut problems);
    let settings = resolve::resolve(&layers, &mut problems);
    let Some(settings) = settings.filter(|_| problems.is_empty()) else {
        return Asked::Refused(refusal(&problems));
    };
    if matches.get_flag("check-config") {
        let warning = left_out.map(|text| format!("Warning: {text}\n")).unwrap_or_default();
        return Asked::Print(format!("{}{warning}", in_force(&layers)));
    }
    Asked::Run(Box::new(Settings { left_out, ..settings }))
}

/// The pages of error codes, or the list of all.
fn pages<'a>(codes: impl Iterator<Item = &'a String>) -> Asked {
    let mut texts = Vec::new();
    for code in codes {
        match tidegate_error_pages::find(code) {
            Some(page) => texts.push(page.plain()),
            None => {
                let what =
                    format!("error: there is no error code {code:?}; `tidegate-worker errors` lists all of them\n");
                return Asked::Refused(what);
            }
        }
    }
    Asked::Print(if texts.is_empty() { tidegate_error_pages::list() } else { texts.join("\n") })
}

fn refusal(problems: &[Problem]) -> String {
    let mut text =
        format!("tidegate-worker: TG-2100: the configuration is not valid, {} problem(s):\n", problems.len());
    for problem in problems {
        text.push_str(&format!("  {}: {}\n", problem.setting, problem.message));
    }
    text.push_str("what to do: tidegate-worker errors TG-2100\n");
    text
}

/// The table that `--check-config` prints.
pub fn in_force(layers: &Layers) -> String {
    let mut text = String::from("The configuration is valid. In force:\n");
    for key in keys::KEYS {
        if let Some(raw) = layers.get(key.name) {
            let value = if raw.values.is_empty() { "-".to_owned() } else { raw.values.join(" ") };
            text.push_str(&format!("  {:<16} {:<32} ({})\n", key.name, value, raw.origin));
        }
    }
    text
}
