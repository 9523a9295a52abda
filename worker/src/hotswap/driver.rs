//! Performs the plan: loads on a thread, publishes by `ArcSwap`, drains lanes. Decides nothing by itself and never blocks the
//! runtime. Woken by a new wish, by a load or a lane that ended, and by the plan's own clock.
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use http::HeaderValue;
use tidegate_engine::{EngineError, LoadCancel, VersionSpec};
use tokio::sync::{mpsc, watch};

use super::{
    loader::Loader,
    plan::{Action, Delays, Input, Instance, Plan, VersionKey},
    push::ValidModelSet,
    report::VersionStatus,
    table::{PoolSettings, Serving, Table},
};
use crate::{
    error::WorkerError,
    lane::{self, LaneHandle, job::LaneShared},
    queue::Queue,
};

/// Ends of loads and lanes that may wait for the task.
const MESSAGES: usize = 64;

/// What threads tell the task.
enum Message {
    Loaded(Instance, Result<LaneHandle, Failed>),
    Ended(Instance, Option<String>),
}

/// Why a load gave nothing.
enum Failed {
    /// It was told to end.
    Cancelled,
    /// Begins with its code.
    Because(String),
}

/// What the driver shares with the rest of the worker.
#[derive(Clone)]
pub struct Outlets {
    pub table: Arc<ArcSwap<Table>>,
    pub queue: Arc<Queue>,
    /// What the fleet is told.
    pub report: watch::Sender<Vec<VersionStatus>>,
    /// Template for each lane; every lane gets its own stats.
    pub lanes: LaneShared,
}

/// The task.
pub struct Driver {
    plan: Plan,
    loader: Arc<dyn Loader>,
    outlets: Outlets,
    specs: BTreeMap<VersionKey, VersionSpec>,
    pool: PoolSettings,
    serving: BTreeMap<Instance, Arc<Serving>>,
    cancel: Option<(Instance, LoadCancel)>,
    messages: (mpsc::Sender<Message>, mpsc::Receiver<Message>),
    epoch: Instant,
}

impl Driver {
    pub fn new(loader: Arc<dyn Loader>, outlets: Outlets, linger: Duration) -> Self {
        let delays = Delays { linger_ms: lane::job::millis(linger), first_retry_ms: 500, max_retry_ms: 60_000 };
        Self {
            plan: Plan::new(delays),
            loader,
            outlets,
            specs: BTreeMap::new(),
            pool: PoolSettings::default(),
            serving: BTreeMap::new(),
            cancel: None,
            messages: mpsc::channel(MESSAGES),
            epoch: Instant::now(),
        }
    }

    /// Follows the newest wish until its sender is gone.
    pub async fn run(mut self, mut wishes: watch::Receiver<Option<Arc<ValidModelSet>>>) {
        loop {
            let sleep = self.plan.next_wake().map(|at| Duration::from_millis(at.saturating_sub(self.now_ms()).max(1)));
            let tick = async {
                match sleep {
                    Some(duration) => tokio::time::sleep(duration).await,
                    None => std::future::pending().await,
                }
            };
            let input = tokio::select! {
                changed = wishes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wish = wishes.borrow_and_update().clone();
                    wish.map_or(Input::Tick, |set| self.wish(&set))
                }
                Some(message) = self.messages.1.recv() => self.message(message),
                () = tick => Input::Tick,
            };
            self.apply(input);
        }
    }

    fn now_ms(&self) -> u64 {
        lane::job::millis(self.epoch.elapsed())
    }

    fn wish(&mut self, set: &ValidModelSet) -> Input {
        self.pool = set.pool;
        self.outlets.queue.set_max(set.pool.max_requests);
        let tuning = &self.outlets.lanes.tuning;
        tuning.max_batch.store(set.pool.max_batch, Ordering::Relaxed);
        tuning.max_delay_ms.store(lane::job::millis(set.pool.max_delay), Ordering::Relaxed);
        self.outlets.lanes.metrics.generation(set.generation);
        self.specs = set.versions.iter().cloned().collect();
        // Settings count at once, whatever becomes of the versions.
        let old = self.outlets.table.load();
        let table = Table { versions: old.versions.clone(), default: old.default.clone(), pool: set.pool };
        self.outlets.table.store(Arc::new(table));
        Input::Desired(set.versions.iter().map(|(key, _)| key.clone()).collect())
    }

    fn message(&mut self, message: Message) -> Input {
        match message {
            Message::Loaded(instance, result) => {
                self.cancel = self.cancel.take().filter(|(loading, _)| *loading != instance);
                match (result, self.plan.key(instance).cloned()) {
                    (Ok(lane), Some(key)) => {
                        tracing::info!(model_id = key.model_id, version = key.name, "model version loaded");
                        self.serving.insert(instance, Arc::new(serving(instance, key, lane)));
                        Input::Loaded(instance)
                    }
                    (Ok(_), None) => Input::Loaded(instance),
                    (Err(Failed::Cancelled), _) => Input::LoadCancelled(instance),
                    (Err(Failed::Because(error)), key) => {
                        let version = key.map(|key| key.name).unwrap_or_default();
                        tracing::warn!(version, error, "a model version did not load; what served goes on");
                        Input::LoadFailed(instance, error)
                    }
                }
            }
            Message::Ended(instance, error) => {
                if let (Some(reason), Some(key)) = (&error, self.plan.key(instance)) {
                    let (model_id, version) = (key.model_id.clone(), key.name.clone());
                    let ended = WorkerError::LaneEnded { model_id, version, reason: reason.clone() };
                    tracing::error!(error = ended.report(), "a lane ended by itself; it is loaded again");
                }
                self.serving.remove(&instance);
                Input::Ended(instance, error.map(|reason| format!("TG-2113: {reason}")))
            }
        }
    }

    fn apply(&mut self, input: Input) {
        if self.outlets.lanes.stop_at.get().is_some() {
            self.plan.stop();
        }
        let actions = self.plan.apply(input, self.now_ms());
        for action in actions {
            match action {
                Action::Load(instance, key) => self.load(instance, &key),
                Action::Publish { serving, default } => self.publish(&serving, default),
                Action::Drain(instance) => {
                    // The last handle but those of requests: the lane ends when they are done.
                    if let Some(serving) = self.serving.remove(&instance) {
                        serving.lane.drain(Instant::now() + self.pool.drain);
                    }
                }
                Action::Discard(instance) => drop(self.serving.remove(&instance)),
            }
        }
        self.cancel_unwanted();
        let report = self.plan.report();
        self.outlets.report.send_if_modified(|old| {
            let changed = *old != report;
            *old = report;
            changed
        });
    }

    /// A load that nobody wants any more need not run to its end.
    fn cancel_unwanted(&mut self) {
        if let Some((instance, cancel)) = &self.cancel {
            let wanted = self.plan.key(*instance).is_some_and(|key| self.specs.contains_key(key));
            if !wanted {
                cancel.cancel();
            }
        }
    }

    fn publish(&mut self, serving: &[Instance], default: Option<Instance>) {
        let versions: Vec<Arc<Serving>> = serving.iter().filter_map(|i| self.serving.get(i).cloned()).collect();
        let default = default.and_then(|i| self.serving.get(&i).cloned());
        let old = self.outlets.table.swap(Arc::new(Table { versions: versions.clone(), default, pool: self.pool }));
        let metrics = &self.outlets.lanes.metrics;
        for gone in old.versions.iter().filter(|old| !versions.iter().any(|new| new.key == old.key)) {
            metrics.version_answers(&gone.key, false);
        }
        for serving in &versions {
            metrics.version_answers(&serving.key, true);
        }
    }

    fn load(&mut self, instance: Instance, key: &VersionKey) {
        let Some(spec) = self.specs.get(key).cloned() else { return };
        let cancel = LoadCancel::default();
        self.cancel = Some((instance, cancel.clone()));
        let shared = LaneShared { stats: Arc::default(), ..self.outlets.lanes.clone() };
        let messages = self.messages.0.clone();
        let load = Load { loader: self.loader.clone(), spec, cancel, instance, shared, messages };
        if let Err(error) = std::thread::Builder::new().name("loader".to_owned()).spawn(move || load.run()) {
            let error = Failed::Because(WorkerError::Thread(error).report());
            let _ = self.messages.0.try_send(Message::Loaded(instance, Err(error)));
        }
    }
}

/// One load, on its own thread.
struct Load {
    loader: Arc<dyn Loader>,
    spec: VersionSpec,
    cancel: LoadCancel,
    instance: Instance,
    shared: LaneShared,
    messages: mpsc::Sender<Message>,
}

impl Load {
    fn run(self) {
        let begun = Instant::now();
        let result = self.load_and_start();
        let code = match &result {
            Ok(_) => "",
            Err(Failed::Cancelled) => EngineError::LoadCancelled.code(),
            Err(Failed::Because(error)) => error.get(..7).unwrap_or("TG-2104"),
        };
        self.shared.metrics.loaded(code, begun.elapsed());
        // A worker that is ending does not listen any more.
        let _ = self.messages.blocking_send(Message::Loaded(self.instance, result));
    }

    fn load_and_start(&self) -> Result<LaneHandle, Failed> {
        let load = std::panic::AssertUnwindSafe(|| self.loader.load(&self.spec, &self.cancel));
        let model = match std::panic::catch_unwind(load) {
            Ok(Ok(model)) => model,
            Ok(Err(error)) if error.code() == EngineError::LoadCancelled.code() => return Err(Failed::Cancelled),
            Ok(Err(error)) => return Err(Failed::Because(format!("{}: {}", error.code(), error.report()))),
            Err(_) => return Err(Failed::Because("TG-2104: the loader panicked".to_owned())),
        };
        let (messages, instance) = (self.messages.clone(), self.instance);
        let on_end = move |error| {
            let _ = messages.blocking_send(Message::Ended(instance, error));
        };
        lane::start(model, self.shared.clone(), on_end).map_err(|error| Failed::Because(error.report()))
    }
}

fn serving(instance: Instance, key: VersionKey, lane: LaneHandle) -> Serving {
    let fingerprint = format!("fp_{}", key.digest.get(..12).unwrap_or(&key.digest));
    let loaded_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Names were checked to be header-safe when they were pushed.
    let header = HeaderValue::from_str(&key.name).unwrap_or(HeaderValue::from_static("unknown"));
    Serving { instance, model_id: key.model_id.as_str().into(), key, header, fingerprint, lane, loaded_at }
}
