//! Which process is started, stopped or restarted when: events in, actions out. Pure: time is an argument, nothing is spawned here.
//! A part that dies is started again, later each time; at the end parts stop class by class.
use std::collections::BTreeMap;

/// Milliseconds on a clock that never goes back.
pub type Millis = u64;

/// First wait before a restart; doubled each time.
pub const BACKOFF_MIN: Millis = 200;
/// Longest wait before a restart.
pub const BACKOFF_MAX: Millis = 5_000;
/// A part that ran this long is healthy: the next failure counts as the first.
pub const HEALTHY_AFTER: Millis = 10_000;
/// So many failures in a row are worth a word to the operator.
pub const CRASH_LOOP: u32 = 5;

/// What a part is. At the end the classes stop in this order, each when the one before is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    Worker,
    Gateway,
    Serve,
    Database,
}

/// A process that is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    pub name: String,
    pub class: Class,
    /// What it is started with; when it changes, the part is restarted.
    pub recipe: String,
    /// From the first stop signal to SIGKILL.
    pub grace: Millis,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Want(Part),
    Unwant(String),
    Started {
        name: String,
        pid: i32,
    },
    SpawnFailed {
        name: String,
    },
    /// The process `pid` is gone.
    Exited {
        name: String,
        pid: i32,
        code: Option<i32>,
    },
    /// Stop everything, in order.
    Shutdown,
    /// Stop everything now.
    Force,
    /// Time passed.
    Tick,
}

/// What a process is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// Finish and go: SIGTERM, for a database SIGINT.
    Stop,
    /// A database that must go now: SIGQUIT.
    Abort,
    /// SIGKILL to the whole group.
    Kill,
}

/// What must be done now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    Start(String),
    Tell {
        name: String,
        pid: i32,
        what: Told,
    },
    /// `failures` in a row.
    CrashLoop {
        name: String,
        failures: u32,
    },
}

/// Where a part is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Starting,
    Running {
        pid: i32,
        since: Millis,
    },
    /// Down, to be started at `until`.
    BackingOff {
        until: Millis,
    },
    Stopping {
        pid: i32,
        kill_at: Millis,
    },
    Stopped,
}

/// A part as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartState {
    pub part: Part,
    pub phase: Phase,
    wanted: bool,
    /// Failures in a row.
    pub failures: u32,
    pub restarts: u64,
    pub last_exit: Option<i32>,
}

/// Every part.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Supervisor {
    parts: BTreeMap<String, PartState>,
    stopping: bool,
    forced: bool,
}

/// One event's answer in the making.
struct Turn {
    now: Millis,
    actions: Vec<Action>,
}

impl Supervisor {
    /// What to do about `event` at `now`.
    pub fn apply(&mut self, event: Event, now: Millis) -> Vec<Action> {
        let mut turn = Turn { now, actions: Vec::new() };
        match event {
            Event::Want(part) => self.want(part, &mut turn),
            Event::Unwant(name) => {
                if let Some(state) = self.parts.get_mut(&name) {
                    state.wanted = false;
                    state.stop(&mut turn);
                }
            }
            Event::Started { name, pid } => self.started(&name, pid, &mut turn),
            Event::SpawnFailed { name } => {
                if let Some(state) = self.parts.get_mut(&name).filter(|s| s.phase == Phase::Starting) {
                    state.failed(&mut turn);
                }
            }
            Event::Exited { name, pid, code } => self.exited(&name, (pid, code), &mut turn),
            Event::Shutdown => self.stopping = true,
            Event::Force => {
                self.stopping = true;
                self.forced = true;
                self.force(&mut turn);
            }
            Event::Tick => {}
        }
        if self.stopping {
            self.stop_next_class(&mut turn);
        }
        self.pass_time(&mut turn);
        self.parts.retain(|_, s| s.wanted || s.phase != Phase::Stopped);
        turn.actions
    }

    fn want(&mut self, part: Part, turn: &mut Turn) {
        if self.stopping {
            return;
        }
        match self.parts.get_mut(&part.name) {
            None => {
                turn.actions.push(Action::Start(part.name.clone()));
                let state =
                    PartState { phase: Phase::Starting, wanted: true, failures: 0, restarts: 0, last_exit: None, part };
                self.parts.insert(state.part.name.clone(), state);
            }
            Some(state) => {
                state.wanted = true;
                if state.part.recipe != part.recipe {
                    state.part = part;
                    // Comes back at once when the old process is gone.
                    state.stop(turn);
                    state.failures = 0;
                }
                if state.phase == Phase::Stopped {
                    state.start(turn);
                }
            }
        }
    }

    fn started(&mut self, name: &str, pid: i32, turn: &mut Turn) {
        if let Some(state) = self.parts.get_mut(name) {
            state.phase = Phase::Running { pid, since: turn.now };
            if !state.wanted {
                state.stop(turn);
            }
        }
    }

    fn exited(&mut self, name: &str, (pid, code): (i32, Option<i32>), turn: &mut Turn) {
        let stopping = self.stopping;
        let Some(state) = self.parts.get_mut(name) else { return };
        match state.phase {
            Phase::Running { pid: running, since } if running == pid => {
                state.last_exit = code;
                if stopping || !state.wanted {
                    state.phase = Phase::Stopped;
                    return;
                }
                if turn.now.saturating_sub(since) >= HEALTHY_AFTER {
                    state.failures = 0;
                }
                state.failed(turn);
            }
            Phase::Stopping { pid: running, .. } if running == pid => {
                state.last_exit = code;
                state.phase = Phase::Stopped;
                if state.wanted && !stopping {
                    state.start(turn);
                }
            }
            Phase::Running { .. }
            | Phase::Stopping { .. }
            | Phase::Starting
            | Phase::BackingOff { .. }
            | Phase::Stopped => {}
        }
    }

    fn force(&mut self, turn: &mut Turn) {
        for state in self.parts.values_mut() {
            if let Phase::Running { pid, .. } | Phase::Stopping { pid, .. } = state.phase {
                let (what, grace) = match state.part.class {
                    Class::Database => (Told::Abort, 3_000),
                    Class::Worker | Class::Gateway | Class::Serve => (Told::Kill, 0),
                };
                turn.actions.push(Action::Tell { name: state.part.name.clone(), pid, what });
                state.phase = Phase::Stopping { pid, kill_at: turn.now + grace.max(1) };
            }
        }
    }

    fn stop_next_class(&mut self, turn: &mut Turn) {
        let forced = self.forced;
        // What is down stays down.
        for state in self.parts.values_mut().filter(|s| matches!(s.phase, Phase::BackingOff { .. })) {
            state.phase = Phase::Stopped;
        }
        let next = self.parts.values().filter(|s| s.phase != Phase::Stopped).map(|s| s.part.class).min();
        for state in self.parts.values_mut().filter(|s| forced || Some(s.part.class) == next) {
            state.stop(turn);
        }
    }

    fn pass_time(&mut self, turn: &mut Turn) {
        for state in self.parts.values_mut() {
            match state.phase {
                Phase::BackingOff { until } if until <= turn.now => {
                    state.restarts += 1;
                    state.start(turn);
                }
                Phase::Stopping { pid, kill_at } if kill_at <= turn.now => {
                    turn.actions.push(Action::Tell { name: state.part.name.clone(), pid, what: Told::Kill });
                    state.phase = Phase::Stopping { pid, kill_at: turn.now + 1_000 };
                }
                Phase::BackingOff { .. }
                | Phase::Stopping { .. }
                | Phase::Starting
                | Phase::Running { .. }
                | Phase::Stopped => {}
            }
        }
    }

    /// When [`Event::Tick`] is due, if nothing else happens.
    pub fn next_wakeup(&self) -> Option<Millis> {
        let due = |s: &PartState| match s.phase {
            Phase::BackingOff { until } => Some(until),
            Phase::Stopping { kill_at, .. } => Some(kill_at),
            Phase::Starting | Phase::Running { .. } | Phase::Stopped => None,
        };
        self.parts.values().filter_map(due).min()
    }

    /// Whether everything was told to stop, and is gone.
    pub fn finished(&self) -> bool {
        self.stopping && self.parts.values().all(|s| s.phase == Phase::Stopped)
    }

    /// Every part, by name.
    pub fn parts(&self) -> impl Iterator<Item = &PartState> {
        self.parts.values()
    }
}

impl PartState {
    fn start(&mut self, turn: &mut Turn) {
        self.phase = Phase::Starting;
        turn.actions.push(Action::Start(self.part.name.clone()));
    }

    fn stop(&mut self, turn: &mut Turn) {
        match self.phase {
            Phase::Running { pid, .. } => {
                turn.actions.push(Action::Tell { name: self.part.name.clone(), pid, what: Told::Stop });
                self.phase = Phase::Stopping { pid, kill_at: turn.now + self.part.grace };
            }
            Phase::BackingOff { .. } => self.phase = Phase::Stopped,
            Phase::Starting | Phase::Stopping { .. } | Phase::Stopped => {}
        }
    }

    fn failed(&mut self, turn: &mut Turn) {
        let wait = BACKOFF_MIN.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX);
        self.phase = Phase::BackingOff { until: turn.now + wait };
        self.failures = self.failures.saturating_add(1);
        if self.failures == CRASH_LOOP {
            turn.actions.push(Action::CrashLoop { name: self.part.name.clone(), failures: self.failures });
        }
    }

    /// The process, while there is one.
    pub fn pid(&self) -> Option<i32> {
        match self.phase {
            Phase::Running { pid, .. } | Phase::Stopping { pid, .. } => Some(pid),
            Phase::Starting | Phase::BackingOff { .. } | Phase::Stopped => None,
        }
    }

    /// `Running`, `BackingOff`, …
    pub fn state_name(&self) -> &'static str {
        match self.phase {
            Phase::Starting => "Starting",
            Phase::Running { .. } => "Running",
            Phase::BackingOff { .. } => "BackingOff",
            Phase::Stopping { .. } => "Stopping",
            Phase::Stopped => "Stopped",
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
