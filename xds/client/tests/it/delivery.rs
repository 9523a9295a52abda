//! What arrives, and what does not.
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use tidegate_xds_client::{AdsClient, ConnectionState, Update};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::harness::{CLUSTER, MODELS, Raw, Recorder, Server, eventually, wildcard};

const CHAT: &str = "worker/default/chat";

fn spawn(server: &Server, node: &str, pool: &str) -> (AdsClient, UnboundedReceiver<Update>) {
    let (updates, received) = mpsc::unbounded_channel();
    let config = server.client_config(node).metadata("tidegate.pool", pool).subscribe(MODELS, [pool]);
    (AdsClient::spawn(config, Recorder(updates)).unwrap(), received)
}

async fn next(received: &mut UnboundedReceiver<Update>) -> Update {
    tokio::time::timeout(Duration::from_secs(10), received.recv()).await.expect("an update in time").unwrap()
}

#[tokio::test]
async fn every_group_gets_its_own_resources_and_the_registry_knows_who_has_what() {
    let server = Server::start().await;
    server.publish(&[
        (CHAT, &[(MODELS, "default/chat", "chat-1")]),
        ("worker/default/embed", &[(MODELS, "default/embed", "embed-1")]),
        ("gateway", &[(CLUSTER, "a", "1")]),
    ]);
    let (_chat, mut chat) = spawn(&server, "w1", "default/chat");
    // A worker that asks for the resource of another pool is told that there is none: the group comes from its token.
    let (_other, mut other) = spawn(&server, "w3", "default/chat");
    let update = next(&mut chat).await;
    assert_eq!((&*update.changed[0].name, &*update.changed[0].body), ("default/chat", b"chat-1".as_slice()));
    let update = next(&mut other).await;
    assert_eq!((update.changed.len(), &*update.removed), (0, ["default/chat".to_owned()].as_slice()));
    let generation = server.hub.borrow().group(CHAT).seq();
    eventually("the ACK is known", || server.nodes.progress(CHAT, generation).acked == ["w1"]).await;
    let node = server.nodes.get("w1").unwrap();
    assert_eq!((node.connected, &*node.group, &*node.types[0].state), (true, CHAT, "SYNCED"));
    let json = serde_json_text(&node);
    assert!(json.contains("\"nodeId\":\"w1\"") && !json.contains("tgn_"), "{json}");
}

fn serde_json_text(node: &impl serde::Serialize) -> String {
    serde_json::to_string(node).unwrap()
}

#[tokio::test]
async fn a_node_that_comes_back_is_sent_nothing_that_it_has() {
    let server = Server::start().await;
    server.publish(&[(CHAT, &[(MODELS, "default/chat", "1")])]);
    let subscribe = DeltaDiscoveryRequest { resource_names_subscribe: vec!["default/chat".into()], ..wildcard(MODELS) };
    let mut raw = Raw::open(server.channel().await, "tgn_w1", "w1", subscribe.clone()).await.unwrap();
    let first = raw.next().await.unwrap();
    let initial_resource_versions = [(first.resources[0].name.clone(), first.resources[0].version.clone())].into();
    drop(raw);
    let hub = server.hub.borrow().clone();
    let address = server.stop().await;
    let server = Server::start_at(address, hub).await;
    let claim = DeltaDiscoveryRequest { initial_resource_versions, ..subscribe };
    let mut raw = Raw::open(server.channel().await, "tgn_w1", "w1", claim).await.unwrap();
    eventually("the claim is believed", || in_sync(&server)).await;
    server.publish(&[(CHAT, &[(MODELS, "default/chat", "2")])]);
    // Whatever had been sent before would come before.
    let pushed = raw.next().await.unwrap();
    let bodies: Vec<_> = pushed.resources.iter().map(|r| r.resource.as_ref().unwrap().value.as_slice()).collect();
    assert_eq!((bodies, pushed.nonce.as_str()), (vec![b"2".as_slice()], "1"), "not the first response of the stream");
}

fn in_sync(server: &Server) -> bool {
    let types = server.nodes.get("w1").filter(|node| node.connected).map(|node| node.types).unwrap_or_default();
    !types.is_empty() && types.iter().all(|t| t.state == "SYNCED")
}

#[tokio::test]
async fn the_client_comes_back_by_itself_and_hands_out_only_what_is_new() {
    let server = Server::start().await;
    server.publish(&[(CHAT, &[(MODELS, "default/chat", "1")])]);
    let (client, mut received) = spawn(&server, "w1", "default/chat");
    next(&mut received).await;
    let mut connection = client.connection();
    let hub = server.hub.borrow().clone();
    let address = server.stop().await;
    connection.wait_for(|state| matches!(state, ConnectionState::Disconnected { .. })).await.unwrap();
    let server = Server::start_at(address, hub).await;
    eventually("the node is in sync", || in_sync(&server)).await;
    server.publish(&[(CHAT, &[(MODELS, "default/chat", "2")])]);
    assert_eq!(&*next(&mut received).await.changed[0].body, b"2");
    client.stop().await;
}

#[tokio::test]
async fn what_a_node_refuses_is_not_sent_again_until_it_changes() {
    let server = Server::start().await;
    server.publish(&[(CHAT, &[(MODELS, "default/chat", "bad")])]);
    let (_client, mut received) = spawn(&server, "w1", "default/chat");
    next(&mut received).await;
    let generation = server.hub.borrow().group(CHAT).seq();
    eventually("the refusal is known", || !server.nodes.progress(CHAT, generation).refused.is_empty()).await;
    let progress = server.nodes.progress(CHAT, generation);
    let (node, refused) = &progress.refused[0];
    assert_eq!((node.as_str(), refused.name.as_str()), ("w1", "default/chat"));
    assert!(refused.error.contains("TG-2010"), "{}", refused.error);
    assert_eq!((progress.acked.len(), server.nodes.get("w1").unwrap().types[0].state.as_str()), (0, "NACKED"));
    // Other news of the group passes by; nothing is tried again.
    for n in 0..20 {
        server.publish(&[(CHAT, &[(MODELS, "default/chat", "bad"), (CLUSTER, "other", &n.to_string())])]);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(received.try_recv().is_err(), "the refused resource was sent again");
    server.publish(&[(CHAT, &[(MODELS, "default/chat", "good")])]);
    assert_eq!(&*next(&mut received).await.changed[0].body, b"good");
    let generation = server.hub.borrow().group(CHAT).seq();
    eventually("all is well", || server.nodes.progress(CHAT, generation).acked == ["w1"]).await;
}

#[tokio::test]
async fn the_registry_ticks_when_something_is_acked_and_when_a_node_leaves() {
    let server = Server::start().await;
    server.publish(&[(CHAT, &[(MODELS, "default/chat", "1")])]);
    let mut ticks = server.nodes.subscribe();
    let (client, mut received) = spawn(&server, "w1", "default/chat");
    next(&mut received).await;
    eventually("in sync", || server.nodes.get("w1").is_some_and(|node| node.types.iter().any(|t| t.state == "SYNCED")))
        .await;
    assert!(ticks.has_changed().unwrap());
    ticks.borrow_and_update();
    client.stop().await;
    tokio::time::timeout(Duration::from_secs(5), ticks.changed()).await.unwrap().unwrap();
    eventually("the node left", || server.nodes.get("w1").is_some_and(|node| !node.connected)).await;
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_ends_its_streams() {
    let server = Server::start().await;
    server.publish(&[("gateway", &[(CLUSTER, "a", "1")])]);
    let mut raw = Raw::open(server.channel().await, "tgn_gateway-0", "gateway-0", wildcard(CLUSTER)).await.unwrap();
    raw.next().await.unwrap();
    let stop = tokio::spawn(server.stop());
    let ended = raw.next().await.unwrap_err();
    assert_eq!((ended.code(), ended.message().starts_with("TG-1408")), (tonic::Code::Unavailable, true), "{ended}");
    drop(raw);
    stop.await.unwrap();
}
