//! Slow readers and many streams: what one stream costs the others.
use std::{collections::BTreeMap, time::Duration};

use tidegate_xds::ResourceSet;

use crate::harness::{CLUSTER, Raw, Server, wildcard};

fn big(n: u32) -> BTreeMap<String, ResourceSet> {
    let mut set = ResourceSet::default();
    for name in 0..4 {
        let mut body = vec![b'x'; 200_000];
        body.extend(n.to_be_bytes());
        set.insert(CLUSTER, format!("c{name}"), body);
    }
    BTreeMap::from([("gateway".to_owned(), set)])
}

fn newest(body: &[u8]) -> u32 {
    u32::from_be_bytes(body[body.len() - 4..].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stands_still_delays_nobody_and_is_served_the_merged_rest_later() {
    const PUBLICATIONS: u32 = 60;
    let server = Server::start().await;
    server.publish_sets(big(0));
    let mut slow = Raw::open(server.channel().await, "tgn_gateway-0", "gateway-0", wildcard(CLUSTER)).await.unwrap();
    let mut fast = Raw::open(server.channel().await, "tgn_gateway-1", "gateway-1", wildcard(CLUSTER)).await.unwrap();
    for n in 1..=PUBLICATIONS {
        server.publish_sets(big(n));
        loop {
            let response = fast.next().await.unwrap();
            fast.ack(&response).await;
            if response.resources.iter().any(|r| newest(&r.resource.as_ref().unwrap().value) == n) {
                break;
            }
        }
    }
    // The slow one reads now: what it missed was merged into little more than the newest.
    let (mut responses, mut seen) = (0, BTreeMap::new());
    while seen.len() < 4 || seen.values().any(|n| *n != PUBLICATIONS) {
        let response = slow.next().await.unwrap();
        slow.ack(&response).await;
        responses += 1;
        for resource in &response.resources {
            seen.insert(resource.name.clone(), newest(&resource.resource.as_ref().unwrap().value));
        }
    }
    assert!(responses <= 12, "{responses} responses for {PUBLICATIONS} publications");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_each_get_one_change_once() {
    const CONNECTIONS: usize = 20;
    const STREAMS: usize = 50;
    let server = Server::start().await;
    let publish = |content: &str| server.publish(&[("gateway", &[(CLUSTER, "a", content), (CLUSTER, "b", "same")])]);
    publish("1");
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let channel = server.channel().await;
        for _ in 0..STREAMS {
            let mut raw = Raw::open(channel.clone(), "tgn_gateway-0", "gateway-0", wildcard(CLUSTER)).await.unwrap();
            let first = raw.next().await.unwrap();
            assert_eq!(first.resources.len(), 2);
            raw.ack(&first).await;
            streams.push(raw);
        }
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    publish("2");
    for raw in &mut streams {
        let push = raw.next().await.unwrap();
        let names: Vec<_> = push.resources.iter().map(|resource| resource.name.as_str()).collect();
        assert_eq!(names, ["a"]);
        raw.ack(&push).await;
    }
    assert_eq!(server.nodes.list().len(), 1);
}
