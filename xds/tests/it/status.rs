//! What is said of a node, and what a stream remembers while it waits.
use std::{collections::BTreeMap, sync::Arc};

use tidegate_xds::{
    Action, Bounds, DeltaRequest, GroupState, Hub, Resource, ResourceSet, SotwRequest, Stream, SyncState, Variant,
    types::{CLUSTER, ENDPOINT, LISTENER, ROUTE},
};

/// Type URL, name, content.
type Row<'a> = (&'static str, &'a str, &'a str);

fn publish(hub: &Hub, rows: &[Row<'_>]) -> (Hub, Arc<GroupState>) {
    let mut set = ResourceSet::default();
    for (url, name, content) in rows {
        set.insert(url, *name, (*content).to_owned());
    }
    let hub = hub.publish(BTreeMap::from([("g".to_owned(), set)]), 0).unwrap();
    let state = hub.group("g");
    (hub, state)
}

fn open(variant: Variant, state: &Arc<GroupState>) -> Stream {
    Stream::new(variant, Bounds::default(), state.clone(), 0)
}

/// Type URL, nonce and names of what was sent.
fn sent(actions: &[Action]) -> Vec<(String, String, Vec<String>)> {
    let names = |response: &tidegate_xds::Response| response.resources.iter().map(|e| e.name().to_string()).collect();
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Send(response) => Some((response.type_url.to_string(), response.nonce.clone(), names(response))),
            Action::Close { .. } | Action::Observe(_) => None,
        })
        .collect()
}

fn ask(type_url: &str) -> DeltaRequest {
    DeltaRequest { type_url: type_url.into(), ..Default::default() }
}

fn ack(stream: &mut Stream, actions: &[Action]) {
    for (type_url, nonce, _) in sent(actions) {
        stream.on_delta(&DeltaRequest { nonce, ..ask(&type_url) }, 0);
    }
}

fn version(stream: &mut Stream, resources: usize) -> String {
    let row = stream.status(0).remove(0);
    assert_eq!((row.state, row.resources), (SyncState::Synced, resources));
    row.version
}

#[test]
fn the_version_of_two_nodes_is_equal_when_they_have_the_same_however_they_got_it() {
    let (hub, old) = publish(&Hub::default(), &[(CLUSTER, "a", "1"), (CLUSTER, "b", "1")]);
    let mut followed = open(Variant::Delta, &old);
    let actions = followed.on_delta(&ask(CLUSTER), 0);
    ack(&mut followed, &actions);
    let before = version(&mut followed, 2);
    let (_, new) = publish(&hub, &[(CLUSTER, "a", "2"), (CLUSTER, "c", "1")]);
    let actions = followed.on_update(&new, 0);
    ack(&mut followed, &actions);
    // The removal follows at once, because no routes are subscribed and the stream is old enough.
    let actions = followed.on_tick(5_000);
    ack(&mut followed, &actions);
    let after = version(&mut followed, 2);

    let mut sotw = open(Variant::Sotw, &new);
    let request = SotwRequest { type_url: CLUSTER.into(), ..Default::default() };
    let (_, nonce, _) = sent(&sotw.on_sotw(&request, 0)).remove(0);
    sotw.on_sotw(&SotwRequest { nonce, ..request }, 0);
    assert_eq!(version(&mut sotw, 2), after);

    let claim = |content: &str| Resource::new(content.to_owned()).version;
    let initial_versions = BTreeMap::from([("a".to_owned(), claim("2")), ("c".to_owned(), claim("1"))]);
    let mut returned = open(Variant::Delta, &new);
    assert!(sent(&returned.on_delta(&DeltaRequest { initial_versions, ..ask(CLUSTER) }, 0)).is_empty());
    assert_eq!(version(&mut returned, 2), after);
    assert_ne!(before, after);
}

#[test]
fn what_is_refused_is_written_down_once_and_not_for_every_event() {
    let (hub, state) = publish(&Hub::default(), &[(CLUSTER, "a", "1")]);
    let mut stream = open(Variant::Delta, &state);
    let (_, nonce, _) = sent(&stream.on_delta(&ask(CLUSTER), 0)).remove(0);
    stream.on_delta(&DeltaRequest { nonce, error: Some("no".into()), ..ask(CLUSTER) }, 0);
    let first = stream.status(0).remove(0).refused;
    let (_, state) = publish(&hub, &[(CLUSTER, "a", "1"), (CLUSTER, "b", "1")]);
    let actions = stream.on_update(&state, 0);
    ack(&mut stream, &actions);
    assert_eq!(first.len(), 1);
    assert!(Arc::ptr_eq(&first, &stream.status(0)[0].refused));
}

#[test]
fn nothing_waits_for_endpoints_that_are_never_asked_for_and_a_client_that_asks_late_gets_them() {
    let (hub, state) = publish(&Hub::default(), &[(CLUSTER, "a", "1"), (ENDPOINT, "a", "1")]);
    let mut stream = open(Variant::Delta, &state);
    let actions = stream.on_delta(&ask(CLUSTER), 0);
    ack(&mut stream, &actions);
    assert_eq!(stream.deadline_ms(), Some(5_000), "it may still ask");
    stream.on_tick(5_000);
    assert_eq!(stream.deadline_ms(), None);
    let (_, state) =
        publish(&hub, &[(CLUSTER, "a", "2"), (CLUSTER, "b", "1"), (ENDPOINT, "a", "1"), (ENDPOINT, "b", "1")]);
    let actions = stream.on_update(&state, 5_001);
    ack(&mut stream, &actions);
    assert_eq!(stream.deadline_ms(), None);
    let before = stream.unfinished();
    stream.on_tick(5_001);
    assert_eq!(before.len(), 2);
    assert!(Arc::ptr_eq(&before, &stream.unfinished()), "the same while nothing changes");
    // It has these endpoints, but warms a cluster that was sent since.
    let initial_versions = BTreeMap::from([("a".to_owned(), Resource::new("1".to_owned()).version)]);
    let subscribe = vec!["a".to_owned()];
    let actions = stream.on_delta(&DeltaRequest { initial_versions, subscribe, ..ask(ENDPOINT) }, 5_002);
    assert_eq!(sent(&actions)[0].2, ["a"]);
}

#[test]
fn a_cluster_that_is_given_up_by_name_holds_up_no_routes() {
    let rows = [(CLUSTER, "a", "1"), (ENDPOINT, "a", "1"), (LISTENER, "l", "1"), (ROUTE, "r", "1")];
    let (_, state) = publish(&Hub::default(), &rows);
    let mut stream = open(Variant::Delta, &state);
    let name = |name: &str| vec![name.to_owned()];
    let clusters = DeltaRequest { subscribe: name("a"), ..ask(CLUSTER) };
    let actions = stream.on_delta(&clusters, 0);
    ack(&mut stream, &actions);
    assert!(sent(&stream.on_delta(&DeltaRequest { subscribe: name("r"), ..ask(ROUTE) }, 0)).is_empty(), "cold");
    let actions = stream.on_delta(&DeltaRequest { unsubscribe: name("a"), ..ask(CLUSTER) }, 0);
    assert_eq!(sent(&actions).iter().map(|(url, ..)| url.as_str()).collect::<Vec<_>>(), [ROUTE]);
    assert!(stream.unfinished().is_empty());
}

#[test]
fn the_time_for_an_answer_begins_when_the_response_is_written() {
    let (_, state) = publish(&Hub::default(), &[(CLUSTER, "a", "1")]);
    let mut stream = open(Variant::Delta, &state);
    stream.on_delta(&ask(CLUSTER), 0);
    assert_eq!(stream.deadline_ms(), Some(5_000));
    stream.on_written(CLUSTER, 6_000);
    assert_eq!(stream.deadline_ms(), Some(11_000));
    assert!(stream.on_tick(10_999).is_empty());
    assert_eq!(stream.on_tick(11_000).len(), 1);
}

#[test]
fn a_cluster_that_waits_to_be_written_holds_up_routes_as_long_as_any_other() {
    let rows = [(CLUSTER, "a", "1"), (ENDPOINT, "a", "1"), (ROUTE, "r", "1")];
    let (hub, state) = publish(&Hub::default(), &rows);
    let mut stream = open(Variant::Delta, &state);
    let name = |name: &str| vec![name.to_owned()];
    let clusters = stream.on_delta(&ask(CLUSTER), 0);
    assert!(sent(&stream.on_delta(&DeltaRequest { subscribe: name("r"), ..ask(ROUTE) }, 0)).is_empty());
    stream.on_written(CLUSTER, 6_000);
    assert_eq!(stream.deadline_ms(), Some(11_000));
    assert!(stream.on_tick(6_000).is_empty());
    let (_, nonce, _) = sent(&clusters).remove(0);
    let actions = stream.on_delta(&DeltaRequest { nonce, ..ask(CLUSTER) }, 6_001);
    assert!(sent(&actions).is_empty(), "its endpoints were not asked for: {actions:?}");
    let endpoints = stream.on_delta(&DeltaRequest { subscribe: name("a"), ..ask(ENDPOINT) }, 6_002);
    let (url, nonce, _) = sent(&endpoints).remove(0);
    assert_eq!(url, ENDPOINT);
    // What holds up nothing does not lengthen the wait.
    let (_, state) = publish(&hub, &[&rows[..], &[(CLUSTER, "b", "1")]].concat());
    assert_eq!(sent(&stream.on_update(&state, 6_003))[0].2, ["b"]);
    stream.on_written(ENDPOINT, 7_000);
    stream.on_written(CLUSTER, 7_000);
    assert_eq!(stream.deadline_ms(), Some(11_000));
    let actions = stream.on_delta(&DeltaRequest { nonce, ..ask(ENDPOINT) }, 7_001);
    assert_eq!(sent(&actions)[0].0, ROUTE);
}

#[test]
fn endpoints_that_went_out_before_their_cluster_do_not_count_as_sent_after_it_however_long_the_silence() {
    let others = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let (hub, state) = publish(&Hub::default(), &[(ENDPOINT, "z", "1")]);
    // Every response is of one resource.
    let bounds = Bounds { max_response_bytes: 1, ..Bounds::default() };
    let mut stream = Stream::new(Variant::Delta, bounds, state, 0);
    let subscribe = others.iter().chain(&["z"]).map(|name| (*name).to_owned()).collect();
    let before = sent(&stream.on_delta(&DeltaRequest { subscribe, ..ask(ENDPOINT) }, 0));
    stream.on_delta(&ask(CLUSTER), 0);
    stream.on_tick(5_000);
    let rows: Vec<Row<'_>> = others.iter().map(|name| (ENDPOINT, *name, "1")).collect();
    let (_, state) = publish(&hub, &[&rows[..], &[(ENDPOINT, "z", "1"), (CLUSTER, "z", "1")]].concat());
    let mut pushed = sent(&stream.on_update(&state, 5_000));
    for tick in 2..=9 {
        pushed.extend(sent(&stream.on_tick(tick * 5_000)));
    }
    let endpoints: Vec<_> = pushed.iter().filter(|(url, ..)| url == ENDPOINT).collect();
    let names: Vec<_> = before.iter().chain(endpoints.iter().copied()).flat_map(|(.., names)| names).collect();
    assert_eq!(names, ["z", "a", "b", "c", "d", "e", "f", "g", "h", "i"], "the second of `z` waits");
    let mut next = stream.on_delta(&DeltaRequest { nonce: endpoints[0].1.clone(), ..ask(ENDPOINT) }, 45_000);
    assert_eq!(stream.unfinished().len(), 1, "`a` was answered, and with it only what came before the cluster");
    let mut nonce = endpoints[8].1.clone();
    for name in ["j", "z"] {
        next.extend(stream.on_delta(&DeltaRequest { nonce, ..ask(ENDPOINT) }, 45_000));
        assert_eq!(stream.unfinished().len(), 1);
        let (_, newest, names) = sent(&next).pop().unwrap();
        assert_eq!(names, [name]);
        nonce = newest;
    }
    stream.on_delta(&DeltaRequest { nonce, ..ask(ENDPOINT) }, 45_000);
    assert!(stream.unfinished().is_empty());
}

#[test]
fn a_client_that_is_silent_for_long_costs_little_and_its_late_refusal_still_counts() {
    let rows = |n: usize| -> Vec<(String, String)> { (0..n).map(|i| (format!("c{i:02}"), "1".to_owned())).collect() };
    let set = |rows: &[(String, String)]| {
        let mut set = ResourceSet::default();
        rows.iter().for_each(|(name, content)| set.insert(CLUSTER, name.clone(), content.clone()));
        BTreeMap::from([("g".to_owned(), set)])
    };
    for variant in [Variant::Delta, Variant::Sotw] {
        let mut hub = Hub::default().publish(set(&rows(0)), 0).unwrap();
        let mut stream = open(variant, &hub.group("g"));
        let mut now = 0;
        let request = |stream: &mut Stream, nonce: &str, error: Option<&str>, now| {
            let (nonce, error) = (nonce.to_owned(), error.map(str::to_owned));
            sent(&match variant {
                Variant::Delta => stream.on_delta(&DeltaRequest { nonce, error, ..ask(CLUSTER) }, now),
                Variant::Sotw => {
                    let type_url = CLUSTER.to_owned();
                    stream.on_sotw(&SotwRequest { type_url, nonce, error, ..Default::default() }, now)
                }
            })
        };
        request(&mut stream, "", None, now);
        request(&mut stream, "1", None, now);
        let mut nonces = Vec::new();
        for n in 1..=30 {
            hub = hub.publish(set(&rows(n)), now).unwrap();
            let pushed = sent(&stream.on_update(&hub.group("g"), now));
            nonces.push(pushed[0].1.clone());
            now += 5_000;
            stream.on_tick(now);
        }
        // The answers come all at once: the first is a refusal of `c00`, and every response that carried it is refused.
        let mut waiting: Vec<_> = nonces.into_iter().map(|nonce| (nonce, variant == Variant::Sotw)).collect();
        waiting[0].1 = true;
        let mut rounds = 0;
        while let Some((nonce, refused)) = (!waiting.is_empty()).then(|| waiting.remove(0)) {
            rounds += 1;
            assert!(rounds < 200, "the search never ends");
            for (_, nonce, names) in request(&mut stream, &nonce, refused.then_some("no"), now) {
                waiting.push((nonce, names.contains(&"c00".to_owned())));
            }
        }
        let row = stream.status(now).remove(0);
        let refused: Vec<_> = row.refused.iter().map(|refused| &*refused.name).collect();
        assert_eq!((row.state, refused), (SyncState::Nacked, vec!["c00"]), "{variant:?}");
    }
}
