//! `tidegate up`: the supervisor. It owns a private Postgres, `serve`, the gateway and the workers; it decides no policy and carries no
//! request. Killing it in any way leaves nothing running; killing `serve` never touches the data path.
//! Everything here runs on the main thread (see `process`).
mod environment;
mod find;
mod gateway;
mod heal;
mod lock;
mod log;
mod plan;
mod postgres;
mod process;
mod runner;
mod sequence;
mod serve;
mod socket;
mod stale;
mod tokens;
mod workers;

use std::{os::unix::fs::DirBuilderExt as _, path::PathBuf, sync::Arc};

pub use find::tools_dir;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::{addresses, config::Settings, error::Error};

/// Lines for the operator that wait to be printed; more are dropped with a warning.
const NOTES: usize = 64;

/// Runs everything until SIGINT or SIGTERM; a second one ends it at once. Applies `documents` after the start.
/// Prints a line per step, and `ready` when everything runs.
///
/// # Errors
/// When a part is missing or does not become ready; everything that was started is stopped first.
pub async fn run(settings: Settings, documents: Vec<PathBuf>) -> Result<(), Error> {
    log::init(&settings)?;
    prepare_dirs(&settings)?;
    let _lock = lock::lock(&settings.data_dir)?;
    addresses::check(&settings).await?;
    let settings = Settings {
        supervisor_socket: Some(settings.in_data_dir("supervisor.sock")),
        // Known before it starts: an answer of another server is no sign that ours is ready.
        instance_id: Some(format!("up-{:016x}", rand::random::<u64>())),
        ..settings
    };
    // Left by an `up` that was killed; it would lead others astray.
    let _ = std::fs::remove_file(settings.in_data_dir("up.json"));
    let mut signals = Signals::new()?;
    let (notes, mut lines) = mpsc::channel(NOTES);
    let runner = runner::start(settings.in_data_dir("logs"), notes.clone());
    let workers = Arc::new(workers::Workers::new(settings.clone(), runner.clone()));
    let path = settings.in_data_dir("supervisor.sock");
    let listener = socket::bind(&path)?;
    let served = tokio::spawn(socket::serve(listener, workers.clone(), runner.clone()));

    let outcome = {
        let start = sequence::start(&settings, &runner, &workers, documents);
        tokio::pin!(start);
        loop {
            tokio::select! {
                outcome = &mut start => break Some(outcome),
                Some(line) = lines.recv() => say(&line),
                () = signals.next() => break None,
            }
        }
    };
    let outcome = match outcome {
        Some(Ok(started)) => {
            say("ready");
            let (gateway, client) = (started.gateway, started.client);
            let healer = heal::Healer { settings: settings.clone(), client, workers, notes, gateway };
            tokio::select! {
                () = healer.run() => {}
                () = stay(&mut signals, &mut lines) => {}
            }
            Ok(())
        }
        Some(Err(error)) => Err(error),
        None => Ok(()),
    };
    say("stopping");
    stop(&runner, &mut signals, &mut lines).await;
    served.abort();
    for file in [path, settings.in_data_dir("up.json"), gateway::admin_socket(&settings)] {
        let _ = std::fs::remove_file(file);
    }
    say("stopped; nothing is left running");
    outcome
}

async fn stay(signals: &mut Signals, lines: &mut mpsc::Receiver<String>) {
    loop {
        tokio::select! {
            () = signals.next() => return,
            Some(line) = lines.recv() => say(&line),
        }
    }
}

async fn stop(runner: &runner::Handle, signals: &mut Signals, lines: &mut mpsc::Receiver<String>) {
    runner.send(runner::Command::Shutdown).await;
    let finished = runner.finished();
    tokio::pin!(finished);
    loop {
        tokio::select! {
            () = &mut finished => return,
            () = signals.next() => {
                say("stopping now");
                runner.send(runner::Command::Force).await;
            }
            Some(line) = lines.recv() => say(&line),
        }
    }
}

/// One line for whoever started `up`; a reader that is gone is no reason to stop.
fn say(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Ctrl-C and its relatives.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let listen =
            |kind| signal(kind).map_err(|source| Error::Spawn { name: "the signal handler".to_owned(), source });
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// The data directory, and in it what only this user may read. Under root others may walk through: Postgres runs as another user.
fn prepare_dirs(settings: &Settings) -> Result<(), Error> {
    let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    let make = |path: PathBuf, mode: u32| {
        let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(&path);
        made.map_err(|e| Error::DataDir { path, reason: e.to_string() })
    };
    make(settings.data_dir.clone(), mode)?;
    make(settings.in_data_dir("logs"), 0o700)?;
    make(settings.in_data_dir("run"), 0o700)?;
    // A worker refuses a folder for models that is not there; this one is ours to make.
    let models = settings.in_data_dir("models");
    if settings.model_roots.contains(&models) { make(models, 0o755) } else { Ok(()) }
}
