//! The one table of settings: name, default, help. Flags, environment variables, file keys and `--check-config` all come from
//! it, so they cannot disagree. Never reads anything.
use clap::{Arg, ArgAction, Command};

/// A setting, known by one name everywhere: `--node-id`, `TIDEGATE_WORKER_NODE_ID`, `nodeId` in the file.
pub struct Key {
    pub name: &'static str,
    pub value: &'static str,
    pub default: Option<&'static str>,
    pub repeated: bool,
    pub help: &'static str,
}

const fn key(name: &'static str, value: &'static str, default: Option<&'static str>, help: &'static str) -> Key {
    Key { name, value, default, repeated: false, help }
}

/// Every setting, in the order in which it is shown.
pub const KEYS: &[Key] = &[
    key("node-id", "ID", None, "Id of this worker; must be the one that its token was made for"),
    key("pool", "NAMESPACE/NAME", None, "WorkerPool that this worker belongs to"),
    key("node-token-file", "FILE", None, "File that holds the node token, `tgn_...`"),
    key("control-plane", "URL", Some("http://127.0.0.1:18000"), "gRPC address of the control plane; http:// only"),
    key("listen", "IP:PORT", Some("127.0.0.1:0"), "Address of the OpenAI API; port 0 takes a free one"),
    key("advertise", "IP:PORT", None, "Address that gateways reach this worker at; by default the bound address"),
    Key {
        name: "model-root",
        value: "DIR",
        default: None,
        repeated: true,
        help: "Folder that pushed model files must lie under; may be repeated, searched in order",
    },
    key(
        "engine",
        "onnx|fake",
        Some("onnx"),
        "Inference engine; `fake` answers without weights and is for benchmarks only",
    ),
    key("ort-dylib", "FILE", None, "ONNX Runtime shared library; needed by the engine `onnx`"),
    key(
        "provider",
        "cpu|cuda",
        Some("cpu"),
        "Execution provider; a missing CUDA is an error, never a silent fall-back",
    ),
    key("device", "N", Some("0"), "Index of the CUDA device"),
    key("intra-threads", "N", Some("1"), "Threads of one engine step; 0 means one per core"),
    key("prepacking", "true|false", Some("true"), "Copy weights into a faster layout at load time"),
    key(
        "memory-limit",
        "BYTES",
        None,
        "Bytes that all loaded versions together may need, by estimate; none by default",
    ),
    key("max-connections", "N", Some("1024"), "Client connections open at a time; more wait in the accept queue"),
    key("settle", "DURATION", Some("1s"), "At shutdown: how long to keep accepting after readiness turned 503"),
    key("grace", "DURATION", Some("30s"), "At shutdown: how long requests in flight may take to finish"),
    key(
        "linger",
        "DURATION",
        Some("2s"),
        "How long a version that is no longer wanted still answers requests that name it",
    ),
    key("slow-client", "DURATION", Some("10s"), "How long a stream may stand still because its client does not read"),
    key("otlp-endpoint", "URL", None, "OTLP gRPC receiver of traces and metrics, http:// only; none by default"),
    key("log-format", "text|json", Some("text"), "Shape of the log lines"),
    key("log", "FILTER", Some("info,ort=error"), "Log filter, such as `info,ort=error` or `tidegate_worker=debug`"),
];

/// `node-id` → `TIDEGATE_WORKER_NODE_ID`.
pub fn env_name(name: &str) -> String {
    format!("TIDEGATE_WORKER_{}", name.replace('-', "_").to_uppercase())
}

/// `node-id` → `nodeId`.
pub fn file_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '-' => upper = true,
            c if upper => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

const EXAMPLES: &str = "Examples:
  A worker on this machine, with the CPU:
    tidegate-worker --node-id w1 --pool default/chat --node-token-file w1.token \\
      --model-root ./models --ort-dylib ./libonnxruntime.so

  The same from a file, with one setting taken from the environment:
    TIDEGATE_WORKER_NODE_ID=w1 tidegate-worker --config worker.yaml

  What would be in force, and where each value comes from:
    tidegate-worker --config worker.yaml --check-config

Every setting is taken from its flag, else from TIDEGATE_WORKER_<NAME>, else from the file, else from its default.
Exit status: 0 after a drain, 64 for a configuration that is not valid, 1 for anything else.";

/// The command line, made from [`KEYS`].
pub fn command() -> Command {
    let mut command = Command::new("tidegate-worker")
        .version(env!("CARGO_PKG_VERSION"))
        .about(
            "One inference worker of Tidegate: serves the OpenAI API, takes new weights and limits without a restart",
        )
        .after_help(EXAMPLES)
        .subcommand(
            Command::new("errors")
                .about("Say what an error code means and what to do")
                .after_help("Examples:\n  tidegate-worker errors TG-2017\n  tidegate-worker errors")
                .arg(Arg::new("code").value_name("CODE").num_args(0..).help("Codes such as TG-2017; without one, all")),
        )
        .arg(Arg::new("config").long("config").value_name("FILE").help("YAML file with settings, keys in camelCase"))
        .arg(
            Arg::new("check-config")
                .long("check-config")
                .action(ArgAction::SetTrue)
                .help("Print what is in force and whence, then exit"),
        );
    for key in KEYS {
        let mut help = format!("{} [env: {}]", key.help, env_name(key.name));
        if let Some(default) = key.default {
            help.push_str(&format!(" [default: {default}]"));
        }
        let action = if key.repeated { ArgAction::Append } else { ArgAction::Set };
        command = command.arg(
            Arg::new(key.name)
                .long(key.name)
                .value_name(key.value)
                .action(action)
                .allow_negative_numbers(true)
                .help(help),
        );
    }
    command
}
