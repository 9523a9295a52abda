//! Which versions to load, publish and retire: a pure state machine. `apply(input, now) -> actions`; nobody else decides, and it
//! performs nothing itself. Time is an argument in milliseconds.
//!
//! | slot      | wanted                                       | no longer wanted                                          |
//! |-----------|----------------------------------------------|-----------------------------------------------------------|
//! | Waiting   | load, one at a time, after its back-off      | forgotten                                                 |
//! | Loading   | loaded → Serving; failed → Waiting, later;   | loaded → discarded; failed or cancelled → forgotten       |
//! |           | cancelled → Waiting                          |                                                           |
//! | Serving   | stays; lane ended → Waiting, later           | stays until a wanted one serves, then Lingering           |
//! | Lingering | Serving again                                | still answers who names it; when its time is up, Draining; |
//! |           |                                              | Serving again when no wanted one serves any more          |
//! | Draining  | loaded anew beside it                        | ends by itself or by its deadline                         |
//!
//! A name that is still wanted, but with other files, is never taken away: its old copy stays Serving until the new one serves,
//! whatever becomes of other names, and drains at once then. The default is the first wanted name that answers.
use super::report::{VersionStatus, statuses};

/// A version by everything that makes it different from another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VersionKey {
    pub model_id: String,
    pub name: String,
    /// Digest over its files.
    pub digest: String,
    /// How the files are used: task, tokenizer and chat template.
    pub usage: String,
}

impl VersionKey {
    /// Answers the same requests: only one of the two can be published.
    pub fn same_name(&self, other: &Self) -> bool {
        self.name == other.name && self.model_id == other.model_id
    }
}

/// One loading or loaded copy of a version; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instance(pub u64);

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The newest wish, whole; the first is the default.
    Desired(Vec<VersionKey>),
    Loaded(Instance),
    LoadFailed(Instance, String),
    /// The load was ended because nobody wanted it; somebody may want it again by now.
    LoadCancelled(Instance),
    /// The lane is gone: after a drain (None) or by itself (why).
    Ended(Instance, Option<String>),
    Tick,
}

/// What to do now, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    Load(Instance, VersionKey),
    /// From now on exactly these answer; the default is for requests that name no version.
    Publish {
        serving: Vec<Instance>,
        default: Option<Instance>,
    },
    /// Not published any more: finish what runs, then end.
    Drain(Instance),
    /// Loaded for nothing: drop it.
    Discard(Instance),
}

/// Delays of the plan, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    pub linger_ms: u64,
    pub first_retry_ms: u64,
    pub max_retry_ms: u64,
}

/// Replaced versions that may still be draining when the next load begins.
pub const MAX_DRAINING: usize = 4;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    Waiting { retry_at: u64 },
    Loading,
    Serving,
    Lingering { until: u64 },
    Draining,
}

#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) instance: Instance,
    pub(super) key: VersionKey,
    pub(super) state: State,
    /// Loads that failed in a row, and why the last one did.
    failures: u32,
    pub(super) error: Option<String>,
}

/// The state machine.
#[derive(Debug)]
pub struct Plan {
    delays: Delays,
    wanted: Vec<VersionKey>,
    slots: Vec<Slot>,
    next: u64,
    published: (Vec<Instance>, Option<Instance>),
    stopping: bool,
}

impl Plan {
    pub fn new(delays: Delays) -> Self {
        Self { delays, wanted: Vec::new(), slots: Vec::new(), next: 1, published: (Vec::new(), None), stopping: false }
    }

    /// The process is on its way out: nothing is loaded from now on.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Takes one input and says what follows.
    pub fn apply(&mut self, input: Input, now: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Desired(wanted) => self.wanted = wanted,
            Input::Loaded(instance) => self.loaded(instance, &mut actions),
            Input::LoadFailed(instance, error) => self.failed(instance, error, now),
            Input::LoadCancelled(instance) => self.cancelled(instance, now),
            Input::Ended(instance, error) => self.ended(instance, error, now),
            Input::Tick => {}
        }
        self.want(now);
        self.retire(now);
        self.publish(&mut actions);
        self.drain(now, &mut actions);
        self.load(now, &mut actions);
        actions
    }

    /// When [`Input::Tick`] is due at the latest.
    pub fn next_wake(&self) -> Option<u64> {
        let may_load = self.may_load();
        let due = self.slots.iter().filter_map(|slot| match slot.state {
            // What waits behind a load or a drain is woken by its end.
            State::Waiting { retry_at } => may_load.then_some(retry_at),
            State::Lingering { until } => Some(until),
            State::Loading | State::Serving | State::Draining => None,
        });
        due.min()
    }

    /// What the fleet is told, one line per version name.
    pub fn report(&self) -> Vec<VersionStatus> {
        statuses(&self.slots, &self.wanted)
    }

    /// Key of an instance that is not gone.
    pub fn key(&self, instance: Instance) -> Option<&VersionKey> {
        self.slots.iter().find(|slot| slot.instance == instance).map(|slot| &slot.key)
    }

    fn is_wanted(&self, key: &VersionKey) -> bool {
        self.wanted.contains(key)
    }

    fn slot(&mut self, instance: Instance) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.instance == instance)
    }

    fn loaded(&mut self, instance: Instance, actions: &mut Vec<Action>) {
        let wanted = self.key(instance).is_some_and(|key| self.is_wanted(key));
        if wanted {
            if let Some(slot) = self.slot(instance) {
                slot.state = State::Serving;
                slot.failures = 0;
                slot.error = None;
            }
        } else {
            self.slots.retain(|slot| slot.instance != instance);
            actions.push(Action::Discard(instance));
        }
    }

    fn failed(&mut self, instance: Instance, error: String, now: u64) {
        let delays = self.delays;
        if let Some(slot) = self.afresh(instance) {
            slot.failures = slot.failures.saturating_add(1);
            let doubled = delays.first_retry_ms.saturating_mul(1 << (slot.failures - 1).min(20));
            slot.state = State::Waiting { retry_at: now.saturating_add(doubled.min(delays.max_retry_ms)) };
            slot.error = Some(error);
        }
    }

    fn cancelled(&mut self, instance: Instance, now: u64) {
        if let Some(slot) = self.afresh(instance) {
            slot.state = State::Waiting { retry_at: now };
        }
    }

    /// The slot of a copy that came to nothing, under a new number; forgotten when nobody wants it.
    fn afresh(&mut self, instance: Instance) -> Option<&mut Slot> {
        if !self.key(instance).is_some_and(|key| self.is_wanted(key)) {
            self.slots.retain(|slot| slot.instance != instance);
            return None;
        }
        let fresh = Instance(self.next);
        self.next += 1;
        let slot = self.slot(instance)?;
        slot.instance = fresh;
        Some(slot)
    }

    fn ended(&mut self, instance: Instance, error: Option<String>, now: u64) {
        let serving = self.slot(instance).is_some_and(|slot| slot.state == State::Serving);
        match error {
            Some(error) if serving => self.failed(instance, error, now),
            Some(_) | None => self.slots.retain(|slot| slot.instance != instance),
        }
    }

    /// Every wanted version has a slot; one that lingers is taken back.
    fn want(&mut self, now: u64) {
        for key in self.wanted.clone() {
            let mut of_key = self.slots.iter_mut().filter(|slot| slot.key == key && slot.state != State::Draining);
            match of_key.next() {
                Some(slot) => {
                    if matches!(slot.state, State::Lingering { .. }) {
                        slot.state = State::Serving;
                    }
                }
                None => {
                    let instance = Instance(self.next);
                    self.next += 1;
                    let state = State::Waiting { retry_at: now };
                    self.slots.push(Slot { instance, key, state, failures: 0, error: None });
                }
            }
        }
    }

    /// The old goes on until a wanted one serves; then it lingers, or drains at once when its name is taken. A name that is wanted goes
    /// on until its own replacement serves.
    fn retire(&mut self, now: u64) {
        let wanted = &self.wanted;
        self.slots.retain(|slot| wanted.contains(&slot.key) || !matches!(slot.state, State::Waiting { .. }));
        let live: Vec<VersionKey> = self
            .slots
            .iter()
            .filter(|slot| slot.state == State::Serving && wanted.contains(&slot.key))
            .map(|slot| slot.key.clone())
            .collect();
        let nothing_answers = live.is_empty() && !wanted.is_empty();
        let until = now.saturating_add(self.delays.linger_ms);
        for slot in self.slots.iter_mut().filter(|slot| !wanted.contains(&slot.key)) {
            let replaced = live.iter().any(|key| key.same_name(&slot.key));
            let needed = nothing_answers || wanted.iter().any(|key| key.same_name(&slot.key));
            match slot.state {
                State::Serving | State::Lingering { .. } if replaced => slot.state = State::Lingering { until: now },
                State::Lingering { .. } if needed => slot.state = State::Serving,
                State::Serving if !needed => slot.state = State::Lingering { until },
                State::Serving | State::Lingering { .. } | State::Waiting { .. } | State::Loading | State::Draining => {
                }
            }
        }
    }

    fn publish(&mut self, actions: &mut Vec<Action>) {
        let answers = |slot: &Slot| matches!(slot.state, State::Serving | State::Lingering { .. });
        // Of two copies with one name, the wanted one answers, then the one that is not on its way out, then the newer.
        let rank = |slot: &Slot| (self.is_wanted(&slot.key), slot.state == State::Serving, slot.instance);
        let beaten = |a: &Slot, b: &Slot| answers(b) && a.key.same_name(&b.key) && rank(b) > rank(a);
        let published: Vec<&Slot> = self
            .slots
            .iter()
            .filter(|slot| answers(slot) && !self.slots.iter().any(|other| beaten(slot, other)))
            .collect();
        let first_wanted = self
            .wanted
            .iter()
            .find_map(|key| published.iter().find(|slot| slot.key.same_name(key)))
            .map(|s| s.instance);
        let serving: Vec<Instance> = published.iter().map(|slot| slot.instance).collect();
        let old = self.published.1.filter(|instance| serving.contains(instance));
        let next = (serving.clone(), first_wanted.or(old).or_else(|| serving.first().copied()));
        if next != self.published {
            self.published = next;
            actions.push(Action::Publish { serving, default: self.published.1 });
        }
    }

    fn drain(&mut self, now: u64, actions: &mut Vec<Action>) {
        let before = actions.len();
        for slot in &mut self.slots {
            if matches!(slot.state, State::Lingering { until } if until <= now) {
                slot.state = State::Draining;
                actions.push(Action::Drain(slot.instance));
            }
        }
        if actions.len() > before {
            // What drains must not be found any more, so the table goes first.
            let drains: Vec<Action> = actions.drain(before..).collect();
            self.publish(actions);
            actions.extend(drains);
        }
    }

    /// One load at a time, and not while too many replaced versions are still held.
    fn may_load(&self) -> bool {
        let loading = self.slots.iter().any(|slot| slot.state == State::Loading);
        let draining = self.slots.iter().filter(|slot| slot.state == State::Draining).count();
        !self.stopping && !loading && draining < MAX_DRAINING
    }

    fn load(&mut self, now: u64, actions: &mut Vec<Action>) {
        if !self.may_load() {
            return;
        }
        let due = self.wanted.iter().find_map(|key| {
            self.slots.iter().position(|slot| {
                slot.key == *key && matches!(slot.state, State::Waiting { retry_at } if retry_at <= now)
            })
        });
        if let Some(slot) = due.and_then(|at| self.slots.get_mut(at)) {
            slot.state = State::Loading;
            actions.push(Action::Load(slot.instance, slot.key.clone()));
        }
    }
}
