//! Open streams in the registry. A ticket speaks for its own stream only: what an older stream of the same node says, or that it
//! ended at last, must not touch what a newer one said.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::Utc;
use tidegate_policy::ports::NodeIdentity;
use tidegate_xds::{SyncState, TypeStatus};

use super::{NodeRegistry, WorkerView};

/// Where an ADS stream stands.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Standing {
    pub types: Vec<TypeStatus>,
    /// By type URL.
    pub answered: BTreeMap<Arc<str>, Answered>,
    /// What the node's next stream has to know: `tidegate_xds::Stream::unfinished`.
    pub unfinished: BTreeSet<Arc<str>>,
}

/// How far a node has answered one type, for better or worse.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Answered {
    /// Everything up to this publication was ACKed or refused.
    pub up_to: u64,
    /// A response is on its way now.
    pub waiting: bool,
}

/// An open ADS stream in the registry; dropping it says that the node left.
#[derive(Debug)]
pub(crate) struct StreamTicket {
    registry: Arc<NodeRegistry>,
    node_id: String,
    number: u64,
    last: Standing,
    /// What the stream before left unfinished.
    pub inherited: BTreeSet<Arc<str>>,
}

impl StreamTicket {
    pub(super) fn new(
        registry: Arc<NodeRegistry>,
        (node_id, number): (String, u64),
        inherited: BTreeSet<Arc<str>>,
    ) -> Self {
        Self { registry, node_id, number, last: Standing::default(), inherited }
    }

    /// Where the stream stands now. Cheap when nothing changed.
    pub fn report(&mut self, standing: Standing) {
        if standing == self.last {
            return;
        }
        let mut inner = self.registry.lock();
        let record = inner.nodes.get_mut(&self.node_id).filter(|record| record.stream == Some(self.number));
        if let Some(record) = record {
            record.standing.clone_from(&standing);
        }
        drop(inner);
        let sent_only = |t: &TypeStatus| t.state == SyncState::Stale;
        let worth_a_tick = !standing.types.iter().all(sent_only);
        self.last = standing;
        if worth_a_tick {
            self.registry.changed();
        }
    }
}

impl Drop for StreamTicket {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        let record = inner.nodes.get_mut(&self.node_id).filter(|record| record.stream == Some(self.number));
        if let Some(record) = record {
            record.stream = None;
            record.since = Utc::now();
        }
        drop(inner);
        self.registry.changed();
    }
}

/// An open fleet stream in the registry; dropping it says that the worker is not connected any more.
#[derive(Debug)]
pub(crate) struct ReportTicket {
    pub(super) registry: Arc<NodeRegistry>,
    pub(super) identity: NodeIdentity,
    pub(super) number: u64,
}

impl ReportTicket {
    /// The worker reported. Load figures alone do not tick.
    pub fn reported(&self, view: WorkerView) {
        let mut inner = self.registry.lock();
        let record = inner.record(&self.identity);
        if record.reports.is_some_and(|newest| newest > self.number) {
            return;
        }
        record.reports = Some(self.number);
        let facts =
            |view: &WorkerView| (view.incarnation.clone(), view.state.clone(), view.versions.clone(), view.connected);
        let changed = record.worker.as_ref().map(facts) != Some(facts(&view));
        record.worker = Some(view);
        drop(inner);
        if changed {
            self.registry.changed();
        }
    }
}

impl Drop for ReportTicket {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        let record = inner.nodes.get_mut(&self.identity.node_id);
        let Some(record) = record.filter(|record| record.reports == Some(self.number)) else { return };
        record.reports = None;
        if let Some(worker) = record.worker.as_mut() {
            worker.connected = false;
        }
        drop(inner);
        self.registry.changed();
    }
}
