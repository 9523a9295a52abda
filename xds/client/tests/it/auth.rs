//! Who is turned away, and with what.
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{
    DiscoveryRequest, aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
};
use tidegate_proto::fleet::{WorkerReport, fleet_client::FleetClient};
use tidegate_xds_client::{AdsClient, Config};
use tokio::sync::mpsc;
use tonic::{Code, Request};

use crate::harness::{CLUSTER, Raw, Recorder, Server, wildcard, with_token};

#[tokio::test]
async fn a_caller_without_a_known_token_is_told_nothing_but_that() {
    let server = Server::start().await;
    server.publish(&[("gateway", &[(CLUSTER, "secret-cluster", "x")])]);
    let channel = server.channel().await;
    let mut refusals = Vec::new();
    for header in
        [None, Some("Bearer tgn_unknown"), Some("Basic tgn_gateway-0"), Some("tgn_gateway-0"), Some("Bearer ")]
    {
        let authorize = |mut request: Request<_>| {
            if let Some(header) = header {
                request.metadata_mut().insert("authorization", header.parse().unwrap());
            }
            request
        };
        let mut ads = AggregatedDiscoveryServiceClient::new(channel.clone());
        let request = authorize(Request::new(tokio_stream::pending()));
        refusals.push(ads.delta_aggregated_resources(request).await.unwrap_err());
    }
    let mut ads = AggregatedDiscoveryServiceClient::new(channel.clone());
    refusals.push(ads.stream_aggregated_resources(tokio_stream::pending::<DiscoveryRequest>()).await.unwrap_err());
    refusals.push(FleetClient::new(channel).report(tokio_stream::pending::<WorkerReport>()).await.unwrap_err());
    for refusal in refusals {
        assert_eq!(refusal.code(), Code::Unauthenticated);
        assert_eq!(refusal.message(), "TG-1401: the node token is missing or not known");
    }
    assert!(server.nodes.list().is_empty());
}

#[tokio::test]
async fn a_node_cannot_call_itself_by_another_name() {
    let server = Server::start().await;
    server.publish(&[("gateway", &[(CLUSTER, "a", "x")])]);
    for said in ["gateway-1", "", "w1"] {
        let mut raw = Raw::open(server.channel().await, "tgn_gateway-0", said, wildcard(CLUSTER)).await.unwrap();
        let refusal = raw.next().await.unwrap_err();
        assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
        assert!(refusal.message().starts_with("TG-1402"), "{refusal}");
    }
}

#[tokio::test]
async fn before_anything_is_published_callers_are_asked_to_come_back() {
    let server = Server::start().await;
    let refusal =
        Raw::open(server.channel().await, "tgn_gateway-0", "gateway-0", wildcard(CLUSTER)).await.err().unwrap();
    assert_eq!((refusal.code(), refusal.message().starts_with("TG-1403")), (Code::Unavailable, true));
    server.publish(&[]);
    let mut raw = Raw::open(server.channel().await, "tgn_gateway-0", "gateway-0", wildcard(CLUSTER)).await.unwrap();
    assert!(raw.next().await.unwrap().resources.is_empty());
}

#[tokio::test]
async fn a_stream_ends_when_its_token_is_revoked() {
    let server = Server::start().await;
    server.publish(&[("gateway", &[(CLUSTER, "a", "x")])]);
    let mut raw = Raw::open(server.channel().await, "tgn_gateway-0", "gateway-0", wildcard(CLUSTER)).await.unwrap();
    raw.next().await.unwrap();
    server.tokens.0.lock().unwrap().remove("tgn_gateway-0");
    let ended = tokio::time::timeout(Duration::from_secs(3), raw.next()).await.unwrap().unwrap_err();
    let said = ended.message().starts_with("TG-1409: its node token was revoked or replaced");
    assert_eq!((ended.code(), said), (Code::Unauthenticated, true), "{ended:?}");
}

#[tokio::test]
async fn a_gateway_cannot_report_as_a_worker() {
    let server = Server::start().await;
    let request = with_token(tokio_stream::pending::<WorkerReport>(), "tgn_gateway-0");
    let refusal = FleetClient::new(server.channel().await).report(request).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.message().starts_with("TG-1411")), (Code::PermissionDenied, true));
}

#[tokio::test]
async fn what_stops_a_client_from_starting_is_said_with_its_code() {
    for (config, code) in [
        (Config::new("no address", "w1", "tgn_w1").subscribe(CLUSTER, ["*"]), "TG-1450 "),
        (Config::new("http://127.0.0.1:1", "w1", "a\nb").subscribe(CLUSTER, ["*"]), "TG-1451 "),
        (Config::new("http://127.0.0.1:1", "w1", "tgn_w1"), "TG-1452 "),
    ] {
        let error = AdsClient::spawn(config, Recorder(mpsc::unbounded_channel().0)).unwrap_err().to_string();
        assert!(error.starts_with(code), "{error}");
        assert!(!error.contains("a\nb"), "the token is shown");
    }
}
