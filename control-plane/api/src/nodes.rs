//! Which nodes are here and what each has: the truth behind `/api/v1/nodes`, `proxy-status` and `Programmed`.
//! In memory only and rebuilt from the streams; it never decides what a node is served.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tidegate_policy::ports::{NodeIdentity, NodeRole};
use tidegate_xds::{SyncState, Variant};
use tokio::sync::watch;

use crate::ads::group_of;

mod view;

pub use view::{NodeStatus, NodeTypeStatus, RefusedResource, WorkerLoad, WorkerVersion, WorkerView};

/// Nodes that are remembered; beyond it the one that left first is forgotten.
const MAX_NODES: usize = 16_384;

/// Who opened an ADS stream.
#[derive(Clone, Debug)]
pub(crate) struct AdsPeer {
    pub identity: NodeIdentity,
    pub group: String,
    pub address: Option<SocketAddr>,
    pub variant: Variant,
    pub build: String,
}

/// See the module. Shared by the ADS server, the fleet server, REST and the status writer.
#[derive(Debug)]
pub struct NodeRegistry {
    inner: Mutex<Inner>,
    tick: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: BTreeMap<String, Record>,
    streams: u64,
}

#[derive(Debug)]
struct Record {
    identity: NodeIdentity,
    group: String,
    /// Ticket number of the newest ADS stream, while it is open.
    stream: Option<u64>,
    since: DateTime<Utc>,
    address: Option<SocketAddr>,
    variant: Option<Variant>,
    build: String,
    types: Vec<tidegate_xds::TypeStatus>,
    /// What the last stream left unfinished, for the next: `tidegate_xds::Stream::unfinished`.
    unfinished: BTreeSet<Arc<str>>,
    worker: Option<WorkerView>,
}

/// How far the nodes of a group are with one publication.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Connected nodes that have ACKed everything up to it.
    pub acked: Vec<String>,
    /// Connected nodes that have not answered everything yet.
    pub pending: Vec<String>,
    /// What connected nodes refuse: node id and the resource (an empty name: not known which).
    pub refused: Vec<(String, RefusedResource)>,
}

impl Default for NodeRegistry {
    fn default() -> Self {
        Self { inner: Mutex::default(), tick: watch::channel(0).0 }
    }
}

impl NodeRegistry {
    /// An empty registry.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Every node that is connected or was, by node id.
    pub fn list(&self) -> Vec<NodeStatus> {
        self.lock().nodes.iter().map(|(id, record)| record.view(id)).collect()
    }

    /// One node.
    pub fn get(&self, node_id: &str) -> Option<NodeStatus> {
        self.lock().nodes.get(node_id).map(|record| record.view(node_id))
    }

    /// Ticks when a node comes, goes, ACKs, NACKs or reports a change. The number means nothing: read the registry again.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }

    /// How far the connected nodes of `group` are with publication `generation` (`GroupState::seq` of that group).
    pub fn progress(&self, group: &str, generation: u64) -> Progress {
        let mut progress = Progress::default();
        let inner = self.lock();
        for (id, record) in inner.nodes.iter().filter(|(_, r)| r.group == group && r.stream.is_some()) {
            let refusals = record.types.iter().flat_map(view::refusals);
            progress.refused.extend(refusals.map(|refused| (id.clone(), refused)));
            let acked = !record.types.is_empty() && record.types.iter().all(|t| t.generation >= generation);
            if acked { &mut progress.acked } else { &mut progress.pending }.push(id.clone());
        }
        progress
    }

    /// An ADS stream opened. A second stream of a node replaces the first in the registry.
    pub(crate) fn connect(self: &Arc<Self>, peer: AdsPeer) -> StreamTicket {
        let mut inner = self.lock();
        inner.streams += 1;
        let number = inner.streams;
        let node_id = peer.identity.node_id.clone();
        let record = inner.record(&peer.identity);
        if record.stream.is_none() {
            record.since = Utc::now();
        }
        record.identity = peer.identity;
        record.group = peer.group;
        record.stream = Some(number);
        record.address = peer.address;
        record.variant = Some(peer.variant);
        record.build = peer.build;
        record.types.clear();
        let unfinished = std::mem::take(&mut record.unfinished);
        drop(inner);
        self.changed();
        StreamTicket { registry: self.clone(), node_id, number, last: Vec::new(), unfinished }
    }

    /// A worker reported. Load figures alone do not tick.
    pub(crate) fn reported(&self, identity: &NodeIdentity, view: WorkerView) {
        let mut inner = self.lock();
        let record = inner.record(identity);
        let facts =
            |view: &WorkerView| (view.incarnation.clone(), view.state.clone(), view.versions.clone(), view.connected);
        let changed = record.worker.as_ref().map(facts) != Some(facts(&view));
        record.worker = Some(view);
        drop(inner);
        if changed {
            self.changed();
        }
    }

    /// The fleet stream of this incarnation ended.
    pub(crate) fn report_ended(&self, node_id: &str, incarnation: &str) {
        let mut inner = self.lock();
        let worker = inner.nodes.get_mut(node_id).and_then(|record| record.worker.as_mut());
        let Some(worker) = worker.filter(|worker| worker.incarnation == incarnation) else { return };
        worker.connected = false;
        drop(inner);
        self.changed();
    }

    fn changed(&self) {
        self.tick.send_modify(|tick| *tick += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is one assignment per field: what a panicking holder left is still good to read.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn record(&mut self, identity: &NodeIdentity) -> &mut Record {
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(&identity.node_id) {
            let gone =
                |record: &&Record| record.stream.is_none() && record.worker.as_ref().is_none_or(|w| !w.connected);
            let oldest = self.nodes.values().filter(gone).min_by_key(|record| record.since);
            if let Some(id) = oldest.map(|record| record.identity.node_id.clone()) {
                self.nodes.remove(&id);
            }
        }
        self.nodes.entry(identity.node_id.clone()).or_insert_with(|| Record {
            identity: identity.clone(),
            group: group_of(identity),
            stream: None,
            since: Utc::now(),
            address: None,
            variant: None,
            build: String::new(),
            types: Vec::new(),
            unfinished: BTreeSet::new(),
            worker: None,
        })
    }
}

/// An open ADS stream in the registry; dropping it says that the node left.
#[derive(Debug)]
pub(crate) struct StreamTicket {
    registry: Arc<NodeRegistry>,
    node_id: String,
    number: u64,
    last: Vec<tidegate_xds::TypeStatus>,
    /// Of the stream before at first, of this one at its end.
    pub unfinished: BTreeSet<Arc<str>>,
}

impl StreamTicket {
    /// Where the types of the stream stand now. Cheap when nothing changed.
    pub fn report(&mut self, types: Vec<tidegate_xds::TypeStatus>) {
        if types == self.last {
            return;
        }
        let mut inner = self.registry.lock();
        let record = inner.nodes.get_mut(&self.node_id).filter(|record| record.stream == Some(self.number));
        if let Some(record) = record {
            record.types.clone_from(&types);
        }
        drop(inner);
        let sent_only = |t: &tidegate_xds::TypeStatus| t.state == SyncState::Stale;
        let worth_a_tick = !types.iter().all(sent_only);
        self.last = types;
        if worth_a_tick {
            self.registry.changed();
        }
    }
}

impl Drop for StreamTicket {
    fn drop(&mut self) {
        let registry = self.registry.clone();
        let mut inner = registry.lock();
        let record = inner.nodes.get_mut(&self.node_id).filter(|record| record.stream == Some(self.number));
        if let Some(record) = record {
            record.stream = None;
            record.unfinished = std::mem::take(&mut self.unfinished);
            record.since = Utc::now();
        }
        drop(inner);
        registry.changed();
    }
}

/// "<namespace>/<pool>" of a worker.
fn pool(identity: &NodeIdentity) -> Option<String> {
    match &identity.role {
        NodeRole::Gateway => None,
        NodeRole::Worker { pool } => Some(pool.clone()),
    }
}
