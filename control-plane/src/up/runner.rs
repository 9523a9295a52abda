//! Performs what `plan` decides: spawns, signals, waits for exits, keeps the clock. One task owns all state; others send it commands
//! and read a `watch`.
use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use super::{
    plan::{Action, Event, Part, Supervisor},
    process::{self, Launch},
};

/// Commands and exits waiting to be handled; more senders wait.
const QUEUE: usize = 256;
/// How often logs are bounded.
const ROTATE_EVERY: Duration = Duration::from_secs(2);

/// What the runner is told.
#[derive(Debug)]
pub enum Command {
    Want { part: Part, launch: Launch },
    Unwant(String),
    Shutdown,
    Force,
}

/// A part as others see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    pub name: String,
    pub class: super::plan::Class,
    pub pid: Option<i32>,
    pub state: &'static str,
    pub restarts: u64,
    pub failures: u32,
    pub last_exit: Option<i32>,
    /// Length that its log had when this `up` first started it.
    pub log_start: u64,
}

/// What others see of the runner.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overview {
    pub parts: Vec<View>,
    /// Everything was stopped.
    pub finished: bool,
}

impl Overview {
    /// The part of that name.
    pub fn part(&self, name: &str) -> Option<&View> {
        self.parts.iter().find(|p| p.name == name)
    }
}

/// The way to the runner.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    pub overview: watch::Receiver<Overview>,
}

impl Handle {
    /// Waits when the queue is full; nothing is lost while the runner lives.
    pub async fn send(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }

    /// Resolves when everything was stopped.
    pub async fn finished(&self) {
        let mut overview = self.overview.clone();
        let _ = overview.wait_for(|o| o.finished).await;
    }
}

struct Exit {
    name: String,
    pid: i32,
    code: Option<i32>,
}

struct Runner {
    supervisor: Supervisor,
    launches: BTreeMap<String, Launch>,
    /// Where in its log a part's first start under this `up` begins.
    log_starts: BTreeMap<String, u64>,
    logs: PathBuf,
    started: Instant,
    exits: mpsc::Sender<Exit>,
    overview: watch::Sender<Overview>,
    notes: mpsc::Sender<String>,
}

/// Starts the runner on this thread's runtime. `notes` gets a line for the operator now and then; it is dropped when nobody reads.
pub fn start(logs: PathBuf, notes: mpsc::Sender<String>) -> Handle {
    let (commands, mut inbox) = mpsc::channel(QUEUE);
    let (exits, mut gone) = mpsc::channel(QUEUE);
    let (overview, seen) = watch::channel(Overview::default());
    let mut runner = Runner {
        supervisor: Supervisor::default(),
        launches: BTreeMap::new(),
        log_starts: BTreeMap::new(),
        logs,
        started: Instant::now(),
        exits,
        overview,
        notes,
    };
    tokio::spawn(async move {
        let mut rotation = tokio::time::interval(ROTATE_EVERY);
        loop {
            let due = runner.until_wakeup();
            let event = tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => runner.accept(command),
                    None => Event::Shutdown,
                },
                Some(exit) = gone.recv() => runner.note_exit(exit),
                () = tokio::time::sleep(due) => Event::Tick,
                _ = rotation.tick() => {
                    process::rotate(&runner.logs);
                    Event::Tick
                }
            };
            runner.handle(event);
            if runner.supervisor.finished() {
                return;
            }
        }
    });
    Handle { commands, overview: seen }
}

impl Runner {
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn until_wakeup(&self) -> Duration {
        let due = self.supervisor.next_wakeup().map(|at| at.saturating_sub(self.now()));
        Duration::from_millis(due.unwrap_or(3_600_000))
    }

    fn accept(&mut self, command: Command) -> Event {
        match command {
            Command::Want { part, launch } => {
                let length = process::log_length(&self.logs, &part.name);
                self.log_starts.entry(part.name.clone()).or_insert(length);
                self.launches.insert(part.name.clone(), launch);
                Event::Want(part)
            }
            Command::Unwant(name) => Event::Unwant(name),
            Command::Shutdown => Event::Shutdown,
            Command::Force => Event::Force,
        }
    }

    fn note_exit(&self, exit: Exit) -> Event {
        process::sweep(exit.pid);
        Event::Exited { name: exit.name, pid: exit.pid, code: exit.code }
    }

    fn handle(&mut self, event: Event) {
        let mut actions = self.supervisor.apply(event, self.now());
        while !actions.is_empty() {
            let mut follow = Vec::new();
            for action in actions {
                follow.extend(self.perform(action));
            }
            actions = follow.into_iter().flat_map(|event| self.supervisor.apply(event, self.now())).collect();
        }
        let live: std::collections::BTreeSet<&str> = self.supervisor.parts().map(|p| p.part.name.as_str()).collect();
        self.launches.retain(|name, _| live.contains(name.as_str()));
        self.log_starts.retain(|name, _| live.contains(name.as_str()));
        self.publish();
    }

    fn perform(&self, action: Action) -> Option<Event> {
        match action {
            Action::Start(name) => Some(self.spawn(name)),
            Action::Tell { name, pid, what } => {
                if let Some(state) = self.supervisor.parts().find(|p| p.part.name == name) {
                    process::tell(pid, state.part.class, what);
                }
                None
            }
            Action::CrashLoop { name, failures } => {
                let lines = process::last_lines(&self.logs, &name, self.log_start(&name));
                let log = process::log_file(&self.logs, &name);
                self.say(format!(
                    "{name} failed {failures} times in a row (TG-1530); it is tried again every 5 s. {}\n{lines}",
                    log.display()
                ));
                None
            }
        }
    }

    fn spawn(&self, name: String) -> Event {
        let Some(launch) = self.launches.get(&name) else { return Event::SpawnFailed { name } };
        match process::spawn(launch, &name, &self.logs) {
            Ok(mut child) => {
                let pid = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0);
                tracing::debug!(part = name, pid, "started");
                let (exits, reported) = (self.exits.clone(), name.clone());
                tokio::spawn(async move {
                    let code = child.wait().await.ok().and_then(|s| s.code());
                    let _ = exits.send(Exit { name: reported, pid, code }).await;
                });
                Event::Started { name, pid }
            }
            Err(error) => {
                self.say(format!("{name} could not be started (TG-1529): {error}"));
                Event::SpawnFailed { name }
            }
        }
    }

    fn log_start(&self, name: &str) -> u64 {
        self.log_starts.get(name).copied().unwrap_or(0)
    }

    fn say(&self, line: String) {
        if let Err(mpsc::error::TrySendError::Full(line)) = self.notes.try_send(line) {
            tracing::warn!(line, "too many notes at once");
        }
    }

    fn publish(&self) {
        let view = |s: &super::plan::PartState| View {
            name: s.part.name.clone(),
            class: s.part.class,
            pid: s.pid(),
            state: s.state_name(),
            restarts: s.restarts,
            failures: s.failures,
            last_exit: s.last_exit,
            log_start: self.log_start(&s.part.name),
        };
        let next =
            Overview { parts: self.supervisor.parts().map(view).collect(), finished: self.supervisor.finished() };
        self.overview.send_if_modified(|current| {
            let changed = *current != next;
            *current = next;
            changed
        });
    }
}
