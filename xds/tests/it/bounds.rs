//! What one stream may cost.
use std::{collections::BTreeMap, sync::Arc};

use tidegate_xds::{
    Action, Bounds, CloseCode, DeltaRequest, GroupState, Hub, ResourceSet, Response, SotwRequest, Stream, Variant,
    types::CLUSTER,
};

fn state(resources: usize, bytes: usize) -> Arc<GroupState> {
    let mut set = ResourceSet::default();
    for n in 0..resources {
        set.insert(CLUSTER, format!("c{n:03}"), vec![b'x'; bytes]);
    }
    Hub::default().publish(BTreeMap::from([("g".to_owned(), set)]), 0).unwrap().group("g")
}

fn stream(bounds: Bounds) -> Stream {
    Stream::new(Variant::Delta, bounds, state(1, 1), 0)
}

fn subscribe(type_url: &str, names: &[&str]) -> DeltaRequest {
    let subscribe = names.iter().map(|name| (*name).to_owned()).collect();
    DeltaRequest { type_url: type_url.into(), subscribe, ..Default::default() }
}

fn closed(actions: &[Action], expected: CloseCode) {
    let [Action::Close { code, message }] = actions else { panic!("not closed: {actions:?}") };
    assert_eq!(*code, expected, "{message}");
    assert!(!message.is_empty());
}

fn open(actions: &[Action]) {
    assert!(!actions.iter().any(|action| matches!(action, Action::Close { .. })), "{actions:?}");
}

fn sent(actions: Vec<Action>) -> Vec<Response> {
    actions
        .into_iter()
        .filter_map(|action| if let Action::Send(response) = action { Some(response) } else { None })
        .collect()
}

#[test]
fn a_request_without_a_type_or_of_the_other_variant_ends_the_stream() {
    closed(&stream(Bounds::default()).on_delta(&subscribe("", &[]), 0), CloseCode::InvalidArgument);
    closed(&stream(Bounds::default()).on_sotw(&SotwRequest::default(), 0), CloseCode::InvalidArgument);
    let mut sotw = Stream::new(Variant::Sotw, Bounds::default(), state(1, 1), 0);
    closed(&sotw.on_delta(&subscribe(CLUSTER, &[]), 0), CloseCode::InvalidArgument);
}

#[test]
fn names_and_types_are_bounded() {
    let bounds = Bounds { max_names: 4, max_types: 2, max_name_bytes: 60, ..Bounds::default() };
    let long = "n".repeat(61);
    closed(&stream(bounds).on_delta(&subscribe(CLUSTER, &[&long]), 0), CloseCode::InvalidArgument);
    closed(&stream(bounds).on_delta(&subscribe(&long, &["a"]), 0), CloseCode::InvalidArgument);
    let mut names = stream(bounds);
    assert_eq!(sent(names.on_delta(&subscribe(CLUSTER, &["a", "b"]), 0)).len(), 1);
    open(&names.on_delta(&subscribe(CLUSTER, &["c", "d"]), 0));
    // What is asked for again, and what is given up in the same request, is not counted.
    open(&names.on_delta(&subscribe(CLUSTER, &["a", "d"]), 0));
    let swap = DeltaRequest { unsubscribe: vec!["a".into()], ..subscribe(CLUSTER, &["e"]) };
    open(&names.on_delta(&swap, 0));
    closed(&names.on_delta(&subscribe(CLUSTER, &["f"]), 0), CloseCode::ResourceExhausted);
    let mut types = stream(bounds);
    types.on_delta(&subscribe("one", &["a"]), 0);
    types.on_delta(&subscribe("two", &["a"]), 0);
    closed(&types.on_delta(&subscribe("three", &["a"]), 0), CloseCode::ResourceExhausted);
}

#[test]
fn what_a_client_claims_is_not_counted_on_top_of_what_it_asks_for() {
    let bounds = Bounds { max_names: 2, ..Bounds::default() };
    let claim = |names: &[&str]| {
        let initial_versions = names.iter().map(|name| ((*name).to_owned(), "v".to_owned())).collect();
        DeltaRequest { initial_versions, ..subscribe(CLUSTER, &["a", "b"]) }
    };
    open(&stream(bounds).on_delta(&claim(&["a", "b"]), 0));
    closed(&stream(bounds).on_delta(&claim(&["a", "c"]), 0), CloseCode::ResourceExhausted);
}

#[test]
fn a_state_of_the_world_list_replaces_the_one_before() {
    let bounds = Bounds { max_names: 2, ..Bounds::default() };
    let mut stream = Stream::new(Variant::Sotw, bounds, state(1, 1), 0);
    let mut ask = |names: &[&str], nonce: &str| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        stream.on_sotw(&SotwRequest { type_url: CLUSTER.into(), names, nonce: nonce.into(), ..Default::default() }, 0)
    };
    assert_eq!(sent(ask(&["a", "b"], "")).len(), 1);
    assert_eq!(sent(ask(&["c", "d"], "1")).len(), 1);
    closed(&ask(&["c", "d", "e"], "2"), CloseCode::ResourceExhausted);
}

#[test]
fn a_large_push_is_cut_into_parts_that_follow_each_other() {
    let bounds = Bounds { max_response_bytes: 10_000, ..Bounds::default() };
    let mut stream = Stream::new(Variant::Delta, bounds, state(100, 1000), 0);
    let mut next = sent(stream.on_delta(&subscribe(CLUSTER, &["*"]), 0));
    let (mut parts, mut resources) = (0, 0);
    while let [response] = next.as_slice() {
        assert!(response.encoded_len() < 11_000, "{} bytes", response.encoded_len());
        parts += 1;
        resources += response.resources.len();
        let ack = DeltaRequest { type_url: CLUSTER.into(), nonce: response.nonce.clone(), ..Default::default() };
        next = sent(stream.on_delta(&ack, 0));
    }
    assert_eq!((parts, resources), (12, 100));
}

#[test]
fn an_error_text_of_any_length_is_kept_short_and_printable() {
    let mut stream = stream(Bounds::default());
    let nonce = sent(stream.on_delta(&subscribe(CLUSTER, &["*"]), 0))[0].nonce.clone();
    let error = Some(format!("bad\u{1b}[31m\n{}", "x".repeat(1 << 20)));
    stream.on_delta(&DeltaRequest { type_url: CLUSTER.into(), nonce, error, ..Default::default() }, 0);
    let kept = stream.status(0)[0].refused[0].error.clone();
    assert!(kept.len() <= 1024 && !kept.chars().any(char::is_control), "{} bytes", kept.len());
}
