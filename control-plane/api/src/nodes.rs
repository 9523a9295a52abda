//! Which nodes are here and what each has: the truth behind `/api/v1/nodes`, `proxy-status` and `Programmed`.
//! In memory only and rebuilt from the streams; it never decides what a node is served.
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use tidegate_policy::ports::{NodeIdentity, NodeRole};
use tidegate_xds::Variant;
use tokio::sync::watch;

use crate::ads::group_of;

mod answers;
mod overview;
mod refused;
#[cfg(test)]
mod tests;
mod tickets;
mod view;

pub use answers::{Answers, Progress};
pub use overview::{Known, NodesAnswer, Tokens};
pub use refused::{Door, NodeRefusal, RefusedCaller};
pub(crate) use tickets::{Answered, ReportTicket, Standing, StreamTicket};
pub use view::{NodeState, NodeStatus, NodeTypeStatus, RefusedResource, WorkerLoad, WorkerVersion, WorkerView};

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
    callers: refused::Callers,
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
    standing: Standing,
    /// Ticket number of the newest fleet stream that reported, while it is open.
    reports: Option<u64>,
    worker: Option<WorkerView>,
    /// Streams that are turned away, until one is not.
    refused: BTreeMap<Door, NodeRefusal>,
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

    /// What the connected nodes of `group` have answered, at this moment. One pass over the group under the lock: take it
    /// once and ask it about as many publications as you like.
    pub fn answers(&self, group: &str) -> Answers {
        let inner = self.lock();
        let of_group = || inner.nodes.iter().filter(|(_, record)| record.group == group);
        let connected = of_group().filter(|(_, record)| record.stream.is_some());
        let mut answers: Answers = connected.map(|(id, record)| (id.clone(), &record.standing)).collect();
        let absent = of_group().filter(|(_, record)| record.is_absent());
        answers.absent = absent.map(|(id, _)| id.clone()).collect();
        answers
    }

    /// How far the connected nodes of `group` are with publication `generation` (`GroupState::seq` of that group), whatever
    /// they refuse.
    pub fn progress(&self, group: &str, generation: u64) -> Progress {
        self.answers(group).progress(generation, |_| true)
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
        // What the stream before left unfinished stays: it may not even have been seen to end.
        let unfinished = std::mem::take(&mut record.standing).unfinished;
        record.standing.unfinished.clone_from(&unfinished);
        drop(inner);
        self.changed();
        StreamTicket::new(self.clone(), (node_id, number), unfinished)
    }

    /// A fleet stream opened. Nothing is known of the worker before it reports.
    pub(crate) fn connect_worker(self: &Arc<Self>, identity: NodeIdentity) -> ReportTicket {
        let mut inner = self.lock();
        inner.streams += 1;
        ReportTicket { registry: self.clone(), identity, number: inner.streams }
    }

    fn changed(&self) {
        self.tick.send_modify(|tick| *tick += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is one assignment per field: what a panicking holder left is still good to read.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    /// It may serve requests by what it has, and is not told anything: it has no ADS stream.
    fn is_absent(&self) -> bool {
        let serves = match self.identity.role {
            NodeRole::Gateway => true,
            NodeRole::Worker { .. } => self.worker.as_ref().is_some_and(|worker| worker.connected),
        };
        self.stream.is_none() && serves
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
            standing: Standing::default(),
            reports: None,
            worker: None,
            refused: BTreeMap::new(),
        })
    }
}

/// "<namespace>/<pool>" of a worker.
fn pool(identity: &NodeIdentity) -> Option<String> {
    match &identity.role {
        NodeRole::Gateway => None,
        NodeRole::Worker { pool } => Some(pool.clone()),
    }
}
