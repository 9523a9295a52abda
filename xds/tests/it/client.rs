//! The client machine against the rules that it has to keep.
use bytes::Bytes;
use tidegate_xds::client::{Backoff, Client, DeltaResponse, Received, Rejection, Step};

const URL: &str = "type.googleapis.com/tidegate.worker.v1.ModelSet";

fn client(names: &[&str]) -> Client {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Client::new([(URL.to_owned(), names)], Backoff::default())
}

fn response(nonce: &str, resources: &[(&str, &str)], removed: &[&str]) -> DeltaResponse {
    let received = |(name, version): &(&str, &str)| Received {
        name: (*name).into(),
        version: (*version).into(),
        body: Bytes::from_static(b"x"),
    };
    DeltaResponse {
        type_url: URL.into(),
        nonce: nonce.into(),
        resources: resources.iter().map(received).collect(),
        removed: removed.iter().map(|name| (*name).into()).collect(),
    }
}

fn apply(client: &mut Client, response: DeltaResponse, result: Result<(), Vec<Rejection>>) -> Option<String> {
    let Some(Step::Apply(update)) = client.on_response(response) else { panic!("nothing to apply") };
    let answer = client.on_applied(&update, result);
    assert_eq!(answer.nonce, update.nonce);
    answer.error
}

#[test]
fn what_was_accepted_is_named_when_the_client_comes_back() {
    let mut client = client(&["a", "b"]);
    assert!(client.on_connected()[0].initial_versions.is_empty());
    assert_eq!(apply(&mut client, response("1", &[("a", "v1"), ("b", "v1")], &[]), Ok(())), None);
    assert_eq!(apply(&mut client, response("2", &[], &["b"]), Ok(())), None);
    let again = client.on_connected();
    assert_eq!(again[0].subscribe, ["a", "b"]);
    assert_eq!(again[0].initial_versions.iter().collect::<Vec<_>>(), [(&"a".to_owned(), &"v1".to_owned())]);
}

#[test]
fn a_refused_resource_keeps_its_old_version_and_the_error_names_it() {
    let mut client = client(&["*"]);
    apply(&mut client, response("1", &[("a", "v1"), ("b", "v1")], &[]), Ok(()));
    let rejection = Rejection { name: "b".into(), error: "TG-2010 no".into() };
    let error = apply(&mut client, response("2", &[("a", "v2"), ("b", "v2")], &[]), Err(vec![rejection]));
    assert_eq!(error.as_deref(), Some("b: TG-2010 no"));
    let versions = &client.on_connected()[0].initial_versions;
    assert_eq!((versions["a"].as_str(), versions["b"].as_str()), ("v2", "v1"));
}

#[test]
fn the_same_version_again_is_acked_without_asking_the_application() {
    let mut client = client(&["a"]);
    apply(&mut client, response("1", &[("a", "v1")], &[]), Ok(()));
    let Some(Step::Send(answer)) = client.on_response(response("2", &[("a", "v1")], &[])) else {
        panic!("asked again")
    };
    assert_eq!((answer.nonce.as_str(), answer.error), ("2", None));
}

#[test]
fn what_was_never_asked_for_is_ignored() {
    let mut client = client(&["a"]);
    let mut other = response("1", &[("a", "v1")], &[]);
    other.type_url = "type.googleapis.com/other".into();
    assert_eq!(client.on_response(other), None);
    assert!(matches!(client.on_response(response("2", &[("b", "v1")], &["c"])), Some(Step::Send(_))));
}

#[test]
fn the_wait_doubles_to_its_limit_and_starts_again_after_an_answer() {
    let mut client = client(&["a"]);
    let waits: Vec<_> = (0..7).map(|_| client.on_disconnected(0, 0)).collect();
    assert_eq!(waits, [200, 400, 800, 1000, 1000, 1000, 1000]);
    assert_eq!(client.on_disconnected(0, 1000), 500);
    client.on_response(response("1", &[], &[]));
    assert_eq!(client.on_disconnected(0, 500), 150);
}

#[test]
fn a_stream_that_stood_in_silence_was_healthy_and_one_that_fell_at_once_was_not() {
    let mut client = client(&["a"]);
    (0..7).for_each(|_| {
        client.on_disconnected(10, 0);
    });
    assert_eq!(client.on_disconnected(1_000, 0), 1_000);
    assert_eq!(client.on_disconnected(1_001, 0), 200);
    assert_eq!(client.on_disconnected(10, 0), 400);
}
