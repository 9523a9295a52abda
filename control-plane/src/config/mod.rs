//! One typed configuration for `serve` and `up`: flag over environment over file over default, every value with its origin,
//! every mistake reported at once. Secrets are never shown, not by `Debug` either.
mod args;
mod certificate;
mod check;
mod fields;
mod files;
mod layers;
mod report;
mod typed;
mod variables;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use tidegate_program::text_file;

pub use args::{GivenFlags, ServeArgs, UpArgs};
pub use check::{ConfigError, ConfigErrors};
pub use fields::{FIELDS, Field, Scope, Shape};
pub use layers::{Layered, Origin};
pub use report::{Report, report};

/// What a server writes into its data directory: where it listens.
pub const SERVER_FILE: &str = "server.json";

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the one place that needs it, never for a log or an error.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    Text,
    Json,
}

/// What the workers run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provider {
    Cpu,
    Cuda,
}

/// PEM files of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Everything that `serve` and `up` can be told. Values are checked: no further validation is needed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Absolute.
    pub data_dir: PathBuf,
    pub admin_listen: SocketAddr,
    /// Loopback.
    pub grpc_listen: SocketAddr,
    pub gateway_listen: SocketAddr,
    /// From `database_url`, or read from `database_url_file`.
    pub database_url: Option<Secret>,
    pub admin_tls: Option<TlsFiles>,
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub log_level: String,
    pub log_format: LogFormat,
    pub otlp_endpoint: Option<String>,
    pub require_api_key: bool,
    pub allowed_worker_ips: Vec<IpAddr>,
    /// Names by which the admin API may be called, besides loopback's and the certificate's.
    pub admin_hosts: Vec<String>,
    pub supervisor_socket: Option<PathBuf>,
    /// What the server calls itself; None: a random name.
    pub instance_id: Option<String>,
    /// Whether a lost admin token is replaced by another.
    pub new_admin_token: bool,
    /// Absolute; at least one.
    pub model_roots: Vec<PathBuf>,
    pub max_workers: u32,
    pub max_body_bytes: u32,
    /// Whose web pages may call the gateway.
    pub cors_origins: Vec<tidegate_translate::CorsOrigin>,
    pub drain_timeout: Duration,
    pub up: UpSettings,
    /// What is no mistake and yet worth a word: one sentence each.
    pub warnings: Vec<String>,
    /// Where each value came from.
    pub layers: BTreeMap<&'static str, Layered>,
}

/// What only `up` reads. None: to be searched for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpSettings {
    pub postgres_bin_dir: Option<PathBuf>,
    pub envoy_bin: Option<PathBuf>,
    pub worker_bin: Option<PathBuf>,
    pub onnxruntime_lib: Option<PathBuf>,
    pub worker_provider: Provider,
}

/// The text of a configuration file, or why it could not be read.
#[derive(Clone, Debug)]
pub struct GivenFile {
    pub path: PathBuf,
    pub text: Result<String, String>,
}

/// All that the settings are made from.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    pub flags: BTreeMap<&'static str, Vec<String>>,
    pub env: BTreeMap<String, String>,
    pub file: Option<GivenFile>,
    /// Whether the effective user is root: it decides the default data directory.
    pub root: bool,
    /// Absolute; relative paths start here.
    pub cwd: PathBuf,
    pub reader: Reader,
}

/// Who reads the settings. What one command does not use is not checked for it, so that one file serves both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reader {
    /// `check-config`, which looks at everything.
    #[default]
    Any,
    Serve,
    Up,
}

impl Reader {
    fn uses(self, key: &str) -> bool {
        let scope = fields::field(key).map(|field| field.scope);
        match self {
            Self::Any => true,
            Self::Serve => scope.is_some_and(|scope| scope.is_for(false)),
            Self::Up => scope.is_some_and(|scope| scope.is_for(true)),
        }
    }
}

/// The variables of this process that begin with `TIDEGATE_`.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.to_string_lossy().into_owned())))
        .filter(|(k, _)| k.starts_with("TIDEGATE_"))
        .collect()
}

/// Whether the variables of this process are well named, for the commands that read no settings; what is left out comes back.
///
/// # Errors
/// TG-1502 for every name that does not exist.
pub fn check_variables() -> Result<Vec<String>, ConfigErrors> {
    let (mistakes, left_out) = variables::judge(&environment());
    if mistakes.is_empty() { Ok(left_out) } else { Err(ConfigErrors(mistakes)) }
}

/// The variables of this process that are left out, in sentences.
pub fn left_out() -> Vec<String> {
    variables::judge(&environment()).1
}

impl Inputs {
    /// Reads the environment and the file that `--config` or `TIDEGATE_CONFIG` names.
    pub fn read(flags: GivenFlags, reader: Reader) -> Self {
        let env = environment();
        let path = flags.config.or_else(|| env.get("TIDEGATE_CONFIG").filter(|p| !p.is_empty()).map(PathBuf::from));
        let read = |path: &Path| text_file::read(path, text_file::MAX_SMALL).map_err(|e| e.to_string());
        let file = path.map(|path| GivenFile { text: read(&path), path });
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self { flags: flags.values, env, file, root: rustix::process::geteuid().is_root(), cwd, reader }
    }

    fn default_data_dir(&self) -> &'static str {
        if self.root { "/var/lib/tidegate" } else { ".tidegate" }
    }
}

impl Settings {
    /// Layers, parses and checks. Reads the files that settings name (`database_url_file`); starts nothing.
    ///
    /// # Errors
    /// Every mistake, not only the first.
    pub fn resolve(inputs: &Inputs) -> Result<Self, ConfigErrors> {
        let (settings, errors) = Self::resolve_with_layers(inputs);
        settings.map_err(|_| errors)
    }

    /// As [`Settings::resolve`]; the layers come back even when some value is wrong, for `check-config`.
    fn resolve_with_layers(inputs: &Inputs) -> (Result<Self, BTreeMap<&'static str, Layered>>, ConfigErrors) {
        let mut errors = Vec::new();
        let layers = layers::layer(inputs, &mut errors);
        let mut settings = typed::parse(layers.clone(), &inputs.cwd, &mut errors);
        if let Some(settings) = &mut settings {
            settings.warnings = variables::judge(&inputs.env).1;
            settings.warnings.extend(check::worth_a_word(settings, inputs.reader));
        }
        if let Some(settings) = &settings {
            check::check(settings, &mut errors);
            files::check(settings, inputs.reader, &mut errors);
        }
        match settings {
            Some(settings) if errors.is_empty() => (Ok(settings), ConfigErrors(errors)),
            Some(_) | None => (Err(layers), ConfigErrors(errors)),
        }
    }

    /// Reads flags, environment and file of this process.
    ///
    /// # Errors
    /// As [`Settings::resolve`].
    pub fn load(flags: GivenFlags, reader: Reader) -> Result<Self, ConfigErrors> {
        Self::resolve(&Inputs::read(flags, reader))
    }

    /// `<data>/admin-token`.
    pub fn admin_token_file(&self) -> PathBuf {
        self.data_dir.join("admin-token")
    }

    /// `<data>/server.json`: where the server of the data directory listens, or listened last.
    pub fn server_file(&self) -> PathBuf {
        self.data_dir.join(SERVER_FILE)
    }

    /// `http://127.0.0.1:9080`: where this machine reaches the admin API.
    pub fn admin_url(&self) -> String {
        let scheme = if self.admin_tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", reachable(self.admin_listen))
    }

    /// `http://127.0.0.1:10000`.
    pub fn gateway_url(&self) -> String {
        format!("http://{}", reachable(self.gateway_listen))
    }

    /// `http://127.0.0.1:18000`.
    pub fn grpc_url(&self) -> String {
        format!("http://{}", reachable(self.grpc_listen))
    }

    /// A folder or file in the data directory.
    pub fn in_data_dir(&self, name: impl AsRef<Path>) -> PathBuf {
        self.data_dir.join(name)
    }
}

/// An unspecified address (0.0.0.0) is reached over loopback.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => {
            SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), address.port())
        }
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests;
