//! Writes what the system says about each object into its `status`: compile's conditions, and `Programmed` from the nodes'
//! answers. Only differences are written; it never touches a spec and decides nothing.
use std::{cell::RefCell, collections::BTreeMap, sync::Arc, time::Duration};

use chrono::Utc;
use serde_json::Value;
use tidegate_api::nodes::{Answers, NodeRegistry, Progress, RefusedResource};
use tidegate_policy::ports::{ObjectStore as _, StoreError, StoredObject};
use tidegate_store::PgStore;
use tidegate_xds::Hub;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

mod ledger;
mod programmed;
#[cfg(test)]
mod tests;

use crate::compile_loop::{Published, causes};
use ledger::Ledger;

/// ACKs come in bursts: they are taken together.
const GATHER: Duration = Duration::from_millis(50);
/// After a failed write everything is compared again this much later.
const RETRY: Duration = Duration::from_secs(1);

/// Where a status is kept.
pub trait Statuses: Send + Sync + 'static {
    /// Replaces the status of this object, if it is still there.
    ///
    /// # Errors
    /// [`StoreError`]; what is stored then is not known.
    fn put(&self, object: &StoredObject, status: Value) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Statuses for PgStore {
    async fn put(&self, object: &StoredObject, status: Value) -> Result<(), StoreError> {
        self.put_status(&object.key, object.uid, status).await.map(|_differed| ())
    }
}

/// See the module.
pub struct StatusWriter<S> {
    store: S,
    nodes: Arc<NodeRegistry>,
    hub: watch::Receiver<Arc<Hub>>,
    ledger: Ledger,
    failing: bool,
}

impl<S: Statuses> StatusWriter<S> {
    pub fn new(store: S, nodes: Arc<NodeRegistry>, hub: watch::Receiver<Arc<Hub>>) -> Self {
        Self { store, nodes, hub, ledger: Ledger::default(), failing: false }
    }

    /// Runs until cancelled, in the middle of a write as well.
    pub async fn run(mut self, mut published: watch::Receiver<Option<Published>>, stop: CancellationToken) {
        let mut answers = self.nodes.subscribe();
        let mut retry = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = published.changed() => if changed.is_err() { return },
                changed = answers.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY), if retry => {}
            }
            if tokio::time::timeout(GATHER, stop.cancelled()).await.is_ok() {
                return;
            }
            let now = published.borrow_and_update().clone();
            answers.borrow_and_update();
            if let Some(now) = now {
                tokio::select! {
                    () = stop.cancelled() => return,
                    complete = self.write(&now) => retry = !complete,
                }
            }
        }
    }

    /// False when a write failed. The rest is not tried while the store is away: something newer may be published meanwhile.
    async fn write(&mut self, published: &Published) -> bool {
        let hub = self.hub.borrow().clone();
        let due = {
            let pass = Pass { hub: &hub, nodes: &self.nodes, answers: RefCell::default() };
            self.ledger.due(published, &pass, Utc::now())
        };
        let mut complete = true;
        for change in due {
            self.ledger.begun(&change.object.key);
            match self.store.put(change.object, change.status.clone()).await {
                Ok(()) => self.ledger.stored(change),
                Err(error) => {
                    self.failed(&error);
                    if matches!(error, StoreError::Unavailable(_)) {
                        return false;
                    }
                    complete = false;
                }
            }
        }
        self.failing &= !complete;
        complete
    }

    fn failed(&mut self, error: &StoreError) {
        // Said once, not once a second.
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(error = causes(error), "a status could not be written; trying again");
        }
    }
}

/// What the nodes say, as one pass reads it: each group is asked once.
struct Pass<'a> {
    hub: &'a Hub,
    nodes: &'a NodeRegistry,
    answers: RefCell<BTreeMap<String, Answers>>,
}

impl programmed::Nodes for Pass<'_> {
    fn published(&self, group: &str) -> u64 {
        self.hub.group(group).seq()
    }

    fn progress(&self, group: &str, from: u64, concerns: &dyn Fn(&RefusedResource) -> bool) -> Progress {
        let mut answers = self.answers.borrow_mut();
        if let Some(known) = answers.get(group) {
            return known.progress(from, concerns);
        }
        answers.entry(group.to_owned()).or_insert(self.nodes.answers(group)).progress(from, concerns)
    }
}
