//! The one table of settings: flag, environment variable and file key all come from a row of it.
//! It says what exists; `typed` says what a value must be.

/// Which command a setting is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Only `serve`; `up` sets it itself.
    Serve,
    /// `serve`, and `up` which hands it on.
    Both,
    /// Only `up`.
    Up,
}

impl Scope {
    /// As in the reference page and in `check-config`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Both => "serve, up",
            Self::Up => "up",
        }
    }

    /// Whether `up` (or else `serve`) reads it.
    pub fn is_for(self, up: bool) -> bool {
        match self {
            Self::Serve => !up,
            Self::Both => true,
            Self::Up => up,
        }
    }
}

/// What a value is, for help and for the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    One,
    /// Repeated on the command line, a list in the file, comma separated in the environment.
    Many,
    /// `true` or `false`; the bare flag means `true`.
    Switch,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// `admin_listen`: the flag is `--admin-listen`, the variable `TIDEGATE_ADMIN_LISTEN`, the file key `adminListen`.
    pub key: &'static str,
    pub flag: &'static str,
    pub scope: Scope,
    pub shape: Shape,
    /// Shown as `(redacted)` everywhere, and no flag: a command line is visible to every user of the machine.
    pub secret: bool,
    /// Empty: unset, or found out at start.
    pub default: &'static str,
    pub value_name: &'static str,
    pub help: &'static str,
}

macro_rules! row {
    ($key:expr, $flag:expr, $scope:expr, $shape:expr, $default:expr, $value:expr, $help:expr) => {
        Field {
            key: $key,
            flag: $flag,
            scope: $scope,
            shape: $shape,
            secret: false,
            default: $default,
            value_name: $value,
            help: $help,
        }
    };
}

use Scope::{Both, Serve, Up};

/// Every setting, in the order in which help and `check-config` show them.
pub const FIELDS: &[Field] = &[
    row!(
        "data_dir",
        "data-dir",
        Both,
        Shape::One,
        "",
        "DIR",
        "Where state is kept. Default: .tidegate, for root /var/lib/tidegate"
    ),
    row!(
        "admin_listen",
        "admin-listen",
        Both,
        Shape::One,
        "127.0.0.1:9080",
        "IP:PORT",
        "Address of the admin REST API"
    ),
    row!(
        "grpc_listen",
        "grpc-listen",
        Both,
        Shape::One,
        "127.0.0.1:18000",
        "IP:PORT",
        "Address of ADS and the fleet service; loopback only"
    ),
    row!(
        "gateway_listen",
        "gateway-listen",
        Both,
        Shape::One,
        "127.0.0.1:10000",
        "IP:PORT",
        "Address at which the gateway (Envoy) takes requests"
    ),
    Field {
        key: "database_url",
        flag: "database-url",
        scope: Both,
        shape: Shape::One,
        secret: true,
        default: "",
        value_name: "URL",
        help: "postgres:// URL of the policy store. `up` runs a private Postgres when it is not set",
    },
    row!(
        "database_url_file",
        "database-url-file",
        Both,
        Shape::One,
        "",
        "FILE",
        "File that holds the postgres:// URL of the policy store"
    ),
    row!(
        "admin_tls_cert_file",
        "admin-tls-cert-file",
        Both,
        Shape::One,
        "",
        "FILE",
        "PEM certificate chain of the admin API"
    ),
    row!("admin_tls_key_file", "admin-tls-key-file", Both, Shape::One, "", "FILE", "PEM private key of the admin API"),
    row!(
        "admin_hosts",
        "admin-hosts",
        Both,
        Shape::Many,
        "",
        "NAME",
        "Further names by which the admin API may be called; loopback's and the certificate's always may"
    ),
    row!(
        "log_level",
        "log-level",
        Both,
        Shape::One,
        "info",
        "LEVEL",
        "error, warn, info, debug, trace, or directives such as info,tidegate_api=debug"
    ),
    row!("log_format", "log-format", Both, Shape::One, "text", "FORMAT", "text or json"),
    row!(
        "otlp_endpoint",
        "otlp-endpoint",
        Both,
        Shape::One,
        "",
        "URL",
        "http:// endpoint that takes OTLP over gRPC; traces and metrics go there"
    ),
    Field {
        key: "require_api_key",
        flag: "require-api-key",
        scope: Both,
        shape: Shape::Switch,
        secret: false,
        default: "true",
        value_name: "BOOL",
        help: "Whether the gateway refuses requests without an API key; a wrong or foreign key is refused in any case",
    },
    row!(
        "allowed_worker_ips",
        "allowed-worker-ips",
        Both,
        Shape::Many,
        "",
        "IP",
        "Further addresses that a worker may register; by default only the one it connects from"
    ),
    row!(
        "supervisor_socket",
        "supervisor-socket",
        Serve,
        Shape::One,
        "",
        "PATH",
        "Unix socket of `up`, through which workers are started; without it none are"
    ),
    row!(
        "instance_id",
        "instance-id",
        Serve,
        Shape::One,
        "",
        "NAME",
        "Name of this server process, told by /readyz and in x-tidegate-instance. Default: a random one at each start"
    ),
    Field {
        key: "new_admin_token",
        flag: "new-admin-token",
        scope: Both,
        shape: Shape::Switch,
        secret: false,
        default: "false",
        value_name: "BOOL",
        help: "Makes another admin token when DATA_DIR/admin-token is gone; earlier ones stay valid",
    },
    row!(
        "model_roots",
        "model-roots",
        Up,
        Shape::Many,
        "",
        "DIR",
        "Folders under which model versions lie. Default: DATA_DIR/models"
    ),
    row!(
        "max_workers",
        "max-workers",
        Both,
        Shape::One,
        "16",
        "N",
        "Most workers that are started, over all pools; 0 to 64"
    ),
    row!(
        "max_body_bytes",
        "max-body-bytes",
        Both,
        Shape::One,
        "1048576",
        "BYTES",
        "Largest request body at the gateway; 1024 to 67108864"
    ),
    row!(
        "cors_origins",
        "cors-origins",
        Both,
        Shape::Many,
        "",
        "ORIGIN",
        "Web pages that may call the gateway: https://app.example.com, https://*.example.com or *. Default: none"
    ),
    row!(
        "drain_timeout_seconds",
        "drain-timeout-seconds",
        Up,
        Shape::One,
        "30",
        "SECONDS",
        "How long a stopped worker may finish its requests; 1 to 3600"
    ),
    row!(
        "postgres_bin_dir",
        "postgres-bin-dir",
        Up,
        Shape::One,
        "",
        "DIR",
        "Folder with initdb and postgres. Default: PATH, Debian's folders, the tools cache"
    ),
    row!(
        "envoy_bin",
        "envoy-bin",
        Up,
        Shape::One,
        "",
        "FILE",
        "The Envoy program. Default: the tools cache, then PATH"
    ),
    row!(
        "worker_bin",
        "worker-bin",
        Up,
        Shape::One,
        "",
        "FILE",
        "The tidegate-worker program. Default: beside this program, then PATH"
    ),
    row!(
        "onnxruntime_lib",
        "onnxruntime-lib",
        Up,
        Shape::One,
        "",
        "FILE",
        "libonnxruntime.so for the workers. Default: the tools cache"
    ),
    row!(
        "worker_provider",
        "worker-provider",
        Up,
        Shape::One,
        "cpu",
        "NAME",
        "Execution provider of the workers: cpu or cuda"
    ),
];

impl Field {
    /// `TIDEGATE_ADMIN_LISTEN`.
    pub fn env(&self) -> String {
        format!("TIDEGATE_{}", self.key.to_ascii_uppercase())
    }

    /// What a person writes to set it: the flag, or the variable of a secret, which has none.
    pub fn written(&self) -> String {
        if self.secret { self.env() } else { format!("--{}", self.flag) }
    }

    /// `adminListen`.
    pub fn file_key(&self) -> String {
        let mut out = String::with_capacity(self.key.len());
        let mut upper = false;
        for c in self.key.chars() {
            match (c, upper) {
                ('_', _) => upper = true,
                (c, true) => {
                    out.push(c.to_ascii_uppercase());
                    upper = false;
                }
                (c, false) => out.push(c),
            }
        }
        out
    }
}

/// The row of `key`.
pub fn field(key: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|f| f.key == key)
}
