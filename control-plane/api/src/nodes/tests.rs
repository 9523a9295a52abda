//! Two streams of one node at once, and what a refusal means for whom.
use std::{collections::BTreeSet, sync::Arc};

use tidegate_policy::ports::{NodeIdentity, NodeRole};
use tidegate_xds::{Refused, SyncState, TypeStatus, Variant};

use super::{AdsPeer, Answered, NodeRegistry, RefusedResource, Standing, StreamTicket, WorkerLoad, WorkerView};

const CLUSTERS: &str = "clusters";

fn identity() -> NodeIdentity {
    NodeIdentity { node_id: "n".to_owned(), role: NodeRole::Gateway }
}

fn open(registry: &Arc<NodeRegistry>) -> StreamTicket {
    let (group, build) = ("gateway".to_owned(), String::new());
    registry.connect(AdsPeer { identity: identity(), group, address: None, variant: Variant::Delta, build })
}

fn unfinished(names: &[&str]) -> BTreeSet<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

#[test]
fn a_stream_inherits_from_one_that_was_not_seen_to_end() {
    let registry = NodeRegistry::new();
    let mut old = open(&registry);
    old.report(Standing { unfinished: unfinished(&["warming"]), ..Standing::default() });
    let mut new = open(&registry);
    assert_eq!(new.inherited, unfinished(&["warming"]));
    // Nothing that the old one says or does from here on counts.
    old.report(Standing { unfinished: unfinished(&["of the old"]), ..Standing::default() });
    drop(old);
    assert!(registry.list()[0].connected);
    new.report(Standing { unfinished: unfinished(&["of the new"]), ..Standing::default() });
    drop(new);
    assert!(!registry.list()[0].connected);
    assert_eq!(open(&registry).inherited, unfinished(&["of the new"]));
}

#[test]
fn an_older_fleet_stream_neither_speaks_nor_leaves_for_a_newer_one() {
    let registry = NodeRegistry::new();
    let view = |state: &str| WorkerView {
        connected: true,
        incarnation: "same".to_owned(),
        address: String::new(),
        state: state.to_owned(),
        versions: Vec::new(),
        load: WorkerLoad::default(),
        labels: Default::default(),
        build: String::new(),
        reported_at: chrono::Utc::now(),
    };
    let seen = || {
        let worker = registry.list()[0].worker.clone().unwrap();
        (worker.connected, worker.state)
    };
    let old = registry.connect_worker(identity());
    old.reported(view("Starting"));
    let new = registry.connect_worker(identity());
    new.reported(view("Ready"));
    old.reported(view("Starting"));
    assert_eq!(seen(), (true, "Ready".to_owned()));
    drop(old);
    assert_eq!(seen(), (true, "Ready".to_owned()));
    drop(new);
    assert_eq!(seen(), (false, "Ready".to_owned()));
    // One that outlives the newer one is the newest again.
    let first = registry.connect_worker(identity());
    let second = registry.connect_worker(identity());
    second.reported(view("Ready"));
    drop(second);
    first.reported(view("Draining"));
    assert_eq!(seen(), (true, "Draining".to_owned()));
}

fn standing(refused: &[&str], acked: u64, answered: Answered) -> Standing {
    let row = |name: &&str| Refused { name: Arc::from(*name), version: "1".into(), error: "bad".to_owned() };
    let status = TypeStatus {
        type_url: CLUSTERS.into(),
        state: SyncState::Nacked,
        version: String::new(),
        generation: acked,
        resources: 1,
        error: Some("bad".to_owned()),
        refused: Arc::new(refused.iter().map(row).collect()),
        since_ms: 0,
    };
    Standing { types: vec![status], answered: [(CLUSTERS.into(), answered)].into(), ..Standing::default() }
}

#[test]
fn a_named_refusal_concerns_only_those_that_the_resource_is_about() {
    let registry = NodeRegistry::new();
    let mut stream = open(&registry);
    let mine = |row: &RefusedResource| row.name == "mine";
    let counts = |generation| {
        let progress = registry.answers("gateway").progress(generation, mine);
        (progress.acked.len(), progress.pending.len(), progress.refused.len())
    };
    stream.report(standing(&["other"], 3, Answered { up_to: 7, waiting: false }));
    assert_eq!(counts(3), (1, 0, 0));
    assert_eq!(counts(7), (1, 0, 0), "everything but what others own is there");
    assert_eq!(counts(8), (0, 1, 0), "not answered yet");
    stream.report(standing(&["other", "mine"], 3, Answered { up_to: 7, waiting: false }));
    assert_eq!(counts(7), (0, 1, 1));
    // The culprit is still looked for, then it is known that it will not be found.
    stream.report(standing(&[], 3, Answered { up_to: 7, waiting: true }));
    assert_eq!(counts(7), (0, 1, 0));
    stream.report(standing(&[], 3, Answered { up_to: 7, waiting: false }));
    assert_eq!(counts(7), (0, 1, 1), "a refusal without a name concerns everybody");
    drop(stream);
    assert_eq!(counts(3), (0, 0, 0), "a node that left is not asked");
}
