//! Open streams in the registry. A ticket speaks for its own stream only: what an older stream of the same node says, or that it
//! ended at last, must not touch what a newer one said.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::Utc;
use tidegate_policy::ports::NodeIdentity;
use tidegate_xds::{SyncState, TypeStatus};

use super::{Door, NodeRegistry, WorkerView};

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

    /// Where the stream stands now.
    pub fn report(&mut self, standing: Standing) {
        if standing == self.last {
            return;
        }
        // The copy is made, and the one before dropped, outside the lock, which all streams share.
        let mut copy = standing.clone();
        self.write(|record| std::mem::swap(record, &mut copy));
        self.last = standing;
        self.tick();
    }

    /// The same while [`Standing::unfinished`] is what was reported last: the cost does not depend on its size.
    pub fn report_answers(&mut self, types: Vec<TypeStatus>, answered: BTreeMap<Arc<str>, Answered>) {
        if types == self.last.types && answered == self.last.answered {
            return;
        }
        self.write(|record| {
            record.types.clone_from(&types);
            record.answered.clone_from(&answered);
        });
        (self.last.types, self.last.answered) = (types, answered);
        self.tick();
    }

    /// Changes what the registry says of the node, if this is its newest stream.
    fn write(&self, change: impl FnOnce(&mut Standing)) {
        let mut inner = self.registry.lock();
        let record = inner.nodes.get_mut(&self.node_id).filter(|record| record.stream == Some(self.number));
        if let Some(record) = record {
            change(&mut record.standing);
            // A stream that is in sync is not one that is about to be refused.
            if record.standing.types.iter().any(|status| status.state == SyncState::Synced) {
                record.refused.remove(&Door::Ads);
            }
        }
    }

    fn tick(&self) {
        let sent_only = |t: &TypeStatus| t.state == SyncState::Stale;
        if !self.last.types.iter().all(sent_only) {
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

impl ReportTicket {
    /// The report was checked and kept: the worker is not refused any more.
    pub fn accepted(&self) {
        let mut inner = self.registry.lock();
        let record = inner.nodes.get_mut(&self.identity.node_id);
        let was_refused = record.is_some_and(|record| record.refused.remove(&Door::Fleet).is_some());
        drop(inner);
        if was_refused {
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

#[cfg(test)]
mod tests {
    use tidegate_policy::ports::NodeRole;
    use tidegate_xds::Variant;

    use super::{super::AdsPeer, *};

    #[test]
    fn answers_are_reported_without_a_word_on_what_is_unfinished_and_leave_it_as_it_is() {
        let registry = NodeRegistry::new();
        let open = || {
            let identity = NodeIdentity { node_id: "n".to_owned(), role: NodeRole::Gateway };
            let (group, build) = ("gateway".to_owned(), String::new());
            registry.connect(AdsPeer { identity, group, address: None, variant: Variant::Delta, build })
        };
        let types = |generation| {
            vec![TypeStatus {
                type_url: "clusters".into(),
                state: SyncState::Synced,
                version: String::new(),
                generation,
                resources: 1,
                error: None,
                refused: Arc::default(),
                since_ms: 0,
            }]
        };
        let mut ticks = registry.subscribe();
        let (mut stream, unfinished) = (open(), BTreeSet::from([Arc::from("warming")]));
        stream.report(Standing { types: types(1), unfinished: unfinished.clone(), ..Standing::default() });
        ticks.mark_unchanged();
        stream.report_answers(types(1), BTreeMap::new());
        assert!(!ticks.has_changed().unwrap(), "nothing is different");
        stream.report_answers(types(2), BTreeMap::new());
        assert!(ticks.has_changed().unwrap());
        assert_eq!(registry.progress("gateway", 2).acked, ["n"]);
        // A newer stream alone speaks for the node.
        let newer = open();
        assert_eq!(newer.inherited, unfinished);
        stream.report_answers(types(3), BTreeMap::new());
        assert!(registry.progress("gateway", 3).acked.is_empty());
    }
}
