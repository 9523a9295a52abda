//! The desired set of workers, as `serve` names it, turned into processes. Level-triggered: every call names the whole set.
use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{
    find,
    plan::{Class, Part},
    process::Launch,
    runner::{Command, Handle, View},
};
use crate::{
    admin_token::write_private,
    config::{LogFormat, Provider, Settings},
};

/// Body of `PUT /v1/workers`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSet {
    pub workers: Vec<Wanted>,
}

/// One worker that must run.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wanted {
    /// Such as `default.chat-v1.0`; also the name of its log and token file.
    pub name: String,
    pub node_id: String,
    /// `<namespace>/<pool>`.
    pub pool: String,
    /// Its node token. Absent: the one that `up` was given earlier.
    #[serde(default)]
    pub token: Option<Token>,
}

/// A token that no `Debug` prints.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(redacted)")
    }
}

/// A worker as `GET /v1/workers` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerView {
    pub name: String,
    pub node_id: String,
    pub pool: String,
    pub pid: Option<i32>,
    /// `Starting`, `Running`, `BackingOff`, `Stopping`, `Stopped`, `NoToken` (send one) or `NoProgram`.
    pub state: &'static str,
    pub restarts: u64,
    /// Times in a row that it ended soon after its start.
    pub failures: u32,
    /// Exit status of its last end.
    pub last_exit: Option<i32>,
}

/// A worker that is known.
#[derive(Clone, Debug)]
struct Known {
    node_id: String,
    pool: String,
    has_token: bool,
}

/// Turns sets of workers into commands for the runner.
#[derive(Debug)]
pub struct Workers {
    settings: Settings,
    runner: Handle,
    program: Option<PathBuf>,
    library: Option<PathBuf>,
    known: Mutex<BTreeMap<String, Known>>,
}

impl Workers {
    pub fn new(settings: Settings, runner: Handle) -> Self {
        let program = find::worker(&settings);
        let library = find::onnxruntime(&settings);
        Self { settings, runner, program, library, known: Mutex::default() }
    }

    /// What keeps workers from running, if anything does.
    pub fn missing(&self) -> Option<&'static str> {
        match (&self.program, &self.library) {
            (None, _) => Some("tidegate-worker was not found; build it, or name it with --worker-bin"),
            (Some(_), None) => {
                Some("libonnxruntime.so was not found; run `make tools`, or name it with --onnxruntime-lib")
            }
            (Some(_), Some(_)) => None,
        }
    }

    /// Where the token of a worker is; the worker reads it at each connection.
    pub fn token_file(&self, name: &str) -> PathBuf {
        self.settings.in_data_dir("run").join(format!("worker-{name}.token"))
    }

    /// Makes the set what it shall be.
    ///
    /// # Errors
    /// A sentence for the caller when a name or the number is out of bounds; nothing is changed then.
    pub async fn set(&self, set: WorkerSet) -> Result<(), String> {
        let most = self.settings.max_workers as usize;
        if set.workers.len() > most {
            return Err(format!("{} workers are wanted, the setting maxWorkers allows {most}", set.workers.len()));
        }
        let mut wanted = BTreeMap::new();
        for worker in set.workers {
            check(&worker)?;
            if let Some(twice) = wanted.insert(worker.name.clone(), worker) {
                return Err(format!("{} is named twice", twice.name));
            }
        }
        let mut known = self.known.lock().await;
        // First what can fail: a refused set changes nothing.
        for (name, worker) in &wanted {
            if let Some(Token(token)) = &worker.token {
                write_private(&self.token_file(name), token.trim())
                    .map_err(|e| format!("the token of {name} could not be kept: {e}"))?;
            }
        }
        let gone: Vec<String> = known.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            known.remove(&name);
            let _ = std::fs::remove_file(self.token_file(&name));
            self.runner.send(Command::Unwant(name)).await;
        }
        for (name, worker) in wanted {
            let has_token = self.token_file(&name).is_file();
            known.insert(name.clone(), Known { node_id: worker.node_id.clone(), pool: worker.pool.clone(), has_token });
            if let (true, Some(launch)) = (has_token, self.launch(&worker)) {
                let grace = u64::try_from(self.settings.drain_timeout.as_millis()).unwrap_or(30_000) + 10_000;
                let part = Part { name, class: Class::Worker, recipe: launch.recipe(), grace };
                self.runner.send(Command::Want { part, launch }).await;
            }
        }
        Ok(())
    }

    fn launch(&self, worker: &Wanted) -> Option<Launch> {
        let (program, library) = (self.program.clone()?, self.library.clone()?);
        let s = &self.settings;
        let provider = match s.up.worker_provider {
            Provider::Cpu => "cpu",
            Provider::Cuda => "cuda",
        };
        let log_format = match s.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        let mut args: Vec<OsString> = Vec::new();
        let mut flag = |name: &str, value: OsString| args.extend([name.into(), value]);
        flag("--node-id", worker.node_id.clone().into());
        flag("--pool", worker.pool.clone().into());
        flag("--node-token-file", self.token_file(&worker.name).into());
        flag("--control-plane", s.grpc_url().into());
        // Where the control plane sees it come from: a worker is registered at no other address.
        flag("--listen", loopback(s.grpc_listen).into());
        flag("--ort-dylib", library.into());
        flag("--provider", provider.into());
        flag("--log-format", log_format.into());
        // ONNX Runtime tells every step of its optimiser at `info`.
        let log = if s.log_level.contains("ort=") { s.log_level.clone() } else { format!("{},ort=error", s.log_level) };
        flag("--log", log.into());
        flag("--grace", format!("{}s", s.drain_timeout.as_secs()).into());
        for root in &s.model_roots {
            flag("--model-root", root.clone().into());
        }
        if let Some(endpoint) = &s.otlp_endpoint {
            flag("--otlp-endpoint", endpoint.clone().into());
        }
        Some(Launch { program, args, env: Vec::new(), user: None, operators_database: false, class: Class::Worker })
    }

    /// Every worker of the set.
    pub async fn list(&self) -> Vec<WorkerView> {
        let known = self.known.lock().await;
        let overview = self.runner.overview.borrow();
        let view = |(name, k): (&String, &Known)| {
            let part: Option<&View> = overview.part(name);
            let state = match (part, k.has_token, self.missing()) {
                (Some(part), _, _) => part.state,
                (None, false, _) => "NoToken",
                (None, true, Some(_)) => "NoProgram",
                (None, true, None) => "Starting",
            };
            WorkerView {
                name: name.clone(),
                node_id: k.node_id.clone(),
                pool: k.pool.clone(),
                pid: part.and_then(|p| p.pid),
                state,
                restarts: part.map_or(0, |p| p.restarts),
                failures: part.map_or(0, |p| p.failures),
                last_exit: part.and_then(|p| p.last_exit),
            }
        };
        known.iter().map(view).collect()
    }
}

/// A free port of the loopback address from which `to`, on loopback too, is reached.
fn loopback(to: SocketAddr) -> &'static str {
    match to.ip().to_canonical() {
        IpAddr::V4(_) => "127.0.0.1:0",
        IpAddr::V6(_) => "[::1]:0",
    }
}

/// Names become file names and arguments: nothing but plain characters.
fn check(worker: &Wanted) -> Result<(), String> {
    let plain = |text: &str, more: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || more.contains(c);
        text.len() <= 200 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed)
    };
    for (what, text, more) in
        [("name", &worker.name, "."), ("nodeId", &worker.node_id, "._"), ("pool", &worker.pool, "./")]
    {
        if !plain(text, more) {
            return Err(format!(
                "{what} {text:?} is empty, too long or has characters other than letters, digits, '-' and {more:?}"
            ));
        }
    }
    if ["postgres", "serve", "gateway"].contains(&worker.name.as_str()) {
        return Err(format!("{} is the name of a part of `up`", worker.name));
    }
    match &worker.token {
        Some(Token(token)) if token.len() > 512 || token.chars().any(char::is_control) => {
            Err(format!("the token of {} is no token", worker.name))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    //! A set that cannot be taken changes nothing.
    use super::*;
    use crate::config::Inputs;

    fn workers(data_dir: &std::path::Path) -> Workers {
        let flags = [("data_dir", vec![data_dir.display().to_string()])];
        let settings =
            Settings::resolve(&Inputs { flags: flags.into(), cwd: std::env::temp_dir(), ..Inputs::default() }).unwrap();
        let (notes, _) = tokio::sync::mpsc::channel(1);
        let runner = super::super::runner::start(settings.in_data_dir("logs"), notes);
        Workers { settings, runner, program: None, library: None, known: Mutex::default() }
    }

    fn set(name: &str) -> WorkerSet {
        let token = Some(Token("tgn_x".to_owned()));
        let (node_id, pool) = (name.to_owned(), "a/b".to_owned());
        WorkerSet { workers: vec![Wanted { name: name.to_owned(), node_id, pool, token }] }
    }

    #[tokio::test]
    async fn a_worker_is_not_forgotten_when_the_token_of_the_next_cannot_be_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (run, away) = (dir.path().join("run"), dir.path().join("away"));
        std::fs::create_dir(&run).unwrap();
        let workers = workers(dir.path());
        workers.set(set("first")).await.unwrap();
        std::fs::rename(&run, &away).unwrap();
        assert!(workers.set(set("second")).await.unwrap_err().contains("second"));
        std::fs::rename(&away, &run).unwrap();
        let names = |list: Vec<WorkerView>| list.into_iter().map(|w| w.name).collect::<Vec<_>>();
        assert_eq!(names(workers.list().await), ["first"]);
        assert!(workers.token_file("first").is_file(), "its token is still there");
        workers.set(set("second")).await.unwrap();
        assert_eq!(names(workers.list().await), ["second"]);
        assert!(!workers.token_file("first").exists());
    }
}
