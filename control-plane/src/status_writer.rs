//! Writes what the system says about each object into its `status`: compile's conditions, and what the nodes' answers add to
//! them. Only differences are written, many at a time; it never touches a spec and decides nothing.
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use chrono::Utc;
use tidegate_api::nodes::{Answers, NodeRegistry, Progress, RefusedResource};
use tidegate_policy::ports::{NodeRole, ObjectStore as _, StatusWrite, StoreError, Uuid};
use tidegate_store::PgStore;
use tidegate_xds::Hub;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

mod ledger;
mod needs;
mod programmed;
mod ready;
#[cfg(test)]
mod tests;
mod troubles;

use crate::{
    compile_loop::{Published, causes},
    fleet_driver::Processes,
};
use ledger::{Change, Ledger};
use troubles::Troubles;

/// ACKs come in bursts: they are taken together.
const GATHER: Duration = Duration::from_millis(50);
/// After a failed or incomplete write everything is compared again this much later.
const RETRY: Duration = Duration::from_secs(1);
/// Statuses of one write.
const BATCH_OBJECTS: usize = 256;
/// Bytes of one write, about: a single status may be larger.
const BATCH_BYTES: usize = 1 << 20;

/// Where statuses are kept.
pub trait Statuses: Send + Sync + 'static {
    /// Replaces the statuses of these objects in one transaction; answers which objects have theirs now.
    ///
    /// # Errors
    /// [`StoreError`]; what is stored then is not known.
    fn put(&self, batch: &[StatusWrite]) -> impl Future<Output = Result<Vec<Uuid>, StoreError>> + Send;
}

impl Statuses for PgStore {
    async fn put(&self, batch: &[StatusWrite]) -> Result<Vec<Uuid>, StoreError> {
        self.put_statuses(batch).await
    }
}

/// How a pass ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    /// Everything is written; look again then although nothing changed.
    Complete(Option<Duration>),
    /// Something failed or was left out.
    Incomplete,
    /// Something newer is there: the rest of the plan is old.
    Overtaken,
}

/// What the writer hears beside compile.
pub struct Heard {
    pub nodes: Arc<NodeRegistry>,
    pub hub: watch::Receiver<Arc<Hub>>,
    /// Stays as it is where nobody runs workers.
    pub processes: watch::Receiver<Arc<Processes>>,
}

/// See the module.
pub struct StatusWriter<S> {
    store: S,
    heard: Heard,
    ledger: Ledger,
    failing: bool,
}

impl<S: Statuses> StatusWriter<S> {
    pub fn new(store: S, heard: Heard) -> Self {
        Self { store, heard, ledger: Ledger::default(), failing: false }
    }

    /// Runs until cancelled, in the middle of a write as well.
    pub async fn run(mut self, mut published: watch::Receiver<Option<Published>>, stop: CancellationToken) {
        let mut answers = self.heard.nodes.subscribe();
        let mut processes = self.heard.processes.clone();
        let mut again = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = published.changed() => if changed.is_err() { return },
                changed = answers.changed() => if changed.is_err() { return },
                Ok(()) = processes.changed() => {}
                () = tokio::time::sleep(again.unwrap_or_default()), if again.is_some() => {}
            }
            if tokio::time::timeout(GATHER, stop.cancelled()).await.is_ok() {
                return;
            }
            let now = published.borrow_and_update().clone();
            answers.borrow_and_update();
            processes.borrow_and_update();
            let Some(now) = now else { continue };
            let overtaken = || published.has_changed().unwrap_or(true);
            again = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.write(&now, &overtaken) => match ended {
                    Ended::Complete(again) => again,
                    Ended::Incomplete => Some(RETRY),
                    Ended::Overtaken => Some(Duration::ZERO),
                },
            };
        }
    }

    /// Writes what is due, a batch after the other. The rest is not tried while the store is away, nor when something newer was
    /// published meanwhile.
    async fn write(&mut self, published: &Published, overtaken: &(dyn Fn() -> bool + Sync)) -> Ended {
        let (hub, nodes) = (self.heard.hub.borrow().clone(), &self.heard.nodes);
        let now = Utc::now();
        let troubles = Troubles::new(nodes.refusals(), &nodes.list(), &self.heard.processes.borrow());
        let due = {
            let pass = Pass { hub: &hub, nodes, tokens: &published.nodes, answers: RefCell::default() };
            self.ledger.due((published, &troubles), &pass, now)
        };
        let mut complete = true;
        let mut changes = due.changes.into_iter().peekable();
        while changes.peek().is_some() {
            let (batch, writes) = batch(&mut changes);
            batch.iter().for_each(|change| self.ledger.begun(&change.object.key));
            match self.store.put(&writes).await {
                Ok(written) => {
                    let written: BTreeSet<Uuid> = written.into_iter().collect();
                    for change in batch {
                        if written.contains(&change.object.uid) {
                            self.ledger.stored(change);
                        } else {
                            complete = false;
                        }
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    if error.is_outage() {
                        return Ended::Incomplete;
                    }
                    complete = false;
                }
            }
            if changes.peek().is_some() && overtaken() {
                return Ended::Overtaken;
            }
        }
        self.failing &= !complete;
        match complete {
            true => Ended::Complete(due.again.map(|at| (at - now).to_std().unwrap_or_default())),
            false => Ended::Incomplete,
        }
    }

    fn failed(&mut self, error: &StoreError) {
        // Said once, not once a second.
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(error = causes(error), "a status could not be written; trying again");
        }
    }
}

/// The next batch: at least one change, within the bounds.
fn batch<'a>(
    changes: &mut std::iter::Peekable<impl Iterator<Item = Change<'a>>>,
) -> (Vec<Change<'a>>, Vec<StatusWrite>) {
    let (mut batch, mut writes, mut bytes) = (Vec::new(), Vec::new(), 0);
    while batch.len() < BATCH_OBJECTS && bytes < BATCH_BYTES {
        let Some(change) = changes.next() else { break };
        let Ok(status) = serde_json::to_value(&change.status) else { continue };
        bytes += size(&status);
        writes.push(StatusWrite { uid: change.object.uid, status });
        batch.push(change);
    }
    (batch, writes)
}

/// Bytes of a value, about.
fn size(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 2,
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + 4 + size(value)).sum::<usize>() + 2,
    }
}

/// What the nodes say, as one pass reads it: each group is asked once.
struct Pass<'a> {
    hub: &'a Hub,
    nodes: &'a NodeRegistry,
    /// Nodes that have a token: others are gone for good.
    tokens: &'a BTreeMap<String, NodeRole>,
    answers: RefCell<BTreeMap<String, Answers>>,
}

impl programmed::Nodes for Pass<'_> {
    fn published(&self, group: &str) -> u64 {
        self.hub.group(group).seq()
    }

    fn progress(&self, group: &str, from: u64, concerns: &dyn Fn(&RefusedResource) -> bool) -> Progress {
        let mut answers = self.answers.borrow_mut();
        let known = answers.entry(group.to_owned()).or_insert_with(|| self.nodes.answers(group));
        let mut progress = known.progress(from, concerns);
        progress.absent.retain(|node| self.tokens.contains_key(node));
        progress
    }
}
