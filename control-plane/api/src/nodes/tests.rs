//! Two streams of one node at once, and what a refusal means for whom.
use std::{collections::BTreeSet, sync::Arc};

use tidegate_policy::ports::{NodeIdentity, NodeRole};
use tidegate_xds::{Refused, SyncState, TypeStatus, Variant};

use super::{
    AdsPeer, Answered, Door, Known, NodeRegistry, NodeState, RefusedResource, Standing, StreamTicket, Tokens,
    WorkerLoad, WorkerView,
};
use crate::ads::Refusal;

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

fn worker(node_id: &str) -> NodeIdentity {
    NodeIdentity { node_id: node_id.to_owned(), role: NodeRole::Worker { pool: "a/b".to_owned() } }
}

#[test]
fn a_refused_node_is_one_line_until_it_is_taken() {
    let registry = NodeRegistry::new();
    let foreign = |said: &str| Refusal::ForeignAddress { said: said.to_owned(), peer: "::1".to_owned() };
    assert!(registry.refused(&worker("w"), Door::Fleet, &foreign("x")));
    for _ in 0..9 {
        assert!(!registry.refused(&worker("w"), Door::Fleet, &foreign("x")), "the same again is no news");
    }
    assert!(!registry.refused(&worker("w"), Door::Fleet, &Refusal::Draining), "that says nothing of the worker");
    let (identity, refusal) = registry.refusals().remove(0);
    assert_eq!((identity.node_id.as_str(), refusal.code.as_str(), refusal.count), ("w", "TG-1413", 10));
    assert!(registry.refused(&worker("w"), Door::Fleet, &foreign("y")), "another reason is");
    assert_eq!(registry.refusals()[0].1.count, 1);
    let ticket = registry.connect_worker(worker("w"));
    ticket.accepted();
    assert!(registry.refusals().is_empty());
}

#[test]
fn callers_that_nobody_knows_are_counted_and_bounded() {
    let registry = NodeRegistry::new();
    for n in 0..10_000_u32 {
        let from = std::net::Ipv4Addr::from(n % 200);
        registry.turned_away(Some((from, 1).into()), Door::Ads, &Refusal::Unauthenticated);
    }
    let callers = registry.overview(None, chrono::Utc::now()).refused_callers;
    assert_eq!(callers.len(), 64);
    assert!(!registry.turned_away(Some(([0, 0, 0, 199], 2).into()), Door::Ads, &Refusal::Unauthenticated));
}

#[test]
fn a_node_is_shown_as_it_stands() {
    let registry = NodeRegistry::new();
    let mut stream = open(&registry);
    stream.report(standing(&[], 3, Answered { up_to: 3, waiting: false }));
    drop(stream);
    registry.refused(&worker("turned-away"), Door::Ads, &Refusal::Revoked);
    let role = |node: &str| (node.to_owned(), worker(node).role);
    let tokens: Tokens = [("n".to_owned(), NodeRole::Gateway), role("never")].into();
    let now = chrono::Utc::now();
    let shown = |tokens: &Tokens, now| {
        let known = Known { tokens, has_pool: &|pool: &str| pool == "a/c" };
        let nodes = registry.overview(Some(known), now).items;
        nodes.into_iter().map(|node| (node.node_id, node.state, node.notes.len())).collect::<Vec<_>>()
    };
    let here = |node: &str, state, notes| (node.to_owned(), state, notes);
    assert_eq!(
        shown(&tokens, now),
        [
            here("n", NodeState::Disconnected, 0),
            here("never", NodeState::NeverConnected, 1),
            here("turned-away", NodeState::NeverConnected, 2),
        ]
    );
    let gone = registry.get("n").unwrap();
    assert!(gone.types.iter().all(|t| t.state == "DISCONNECTED") && !gone.types.is_empty(), "{gone:?}");
    let later = now + chrono::TimeDelta::hours(1);
    assert_eq!(shown(&Tokens::new(), later), [], "without a token and away, it is nobody any more");
    // It may serve by what it has: that is not what is published.
    assert_eq!(registry.answers("gateway").progress(3, |_| true).absent, ["n"]);
    assert!(
        registry.answers("worker/a/b").progress(3, |_| true).absent.is_empty(),
        "a worker that does not report serves nothing"
    );
}
