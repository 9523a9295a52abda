//! ADS and fleet over a real connection: what is done about messages that cannot be read, and about a node that opens too much.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Buf, BufMut};
use envoy_types::pb::envoy::{config::core::v3::Node, service::discovery::v3::DeltaDiscoveryRequest};
use prost::Message;
use tidegate_api::{
    ads::{self, AdsServer, Settings},
    fleet::{FleetService, FleetSettings},
    nodes::NodeRegistry,
};
use tidegate_policy::ports::{FleetStore, LeaseOutcome, NodeAuth, NodeIdentity, NodeRole, StoreError, WorkerLease};
use tidegate_xds::Hub;
use tokio::sync::{mpsc, watch};
use tonic::{
    Code, Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

const ADS: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const FLEET: &str = "/tidegate.fleet.v1.Fleet/Report";

/// `g1` and `g2` are gateways, `w1` is a worker.
struct Tokens;

impl NodeAuth for Tokens {
    fn authenticate(&self, bearer: &str) -> Option<NodeIdentity> {
        let role = match bearer {
            "g1" | "g2" => NodeRole::Gateway,
            "w1" => NodeRole::Worker { pool: "default/chat".to_owned() },
            _ => return None,
        };
        Some(NodeIdentity { node_id: bearer.to_owned(), role })
    }
}

struct NoLeases;

#[async_trait]
impl FleetStore for NoLeases {
    async fn hold(&self, _: &WorkerLease, _: u64) -> Result<LeaseOutcome, StoreError> {
        Ok(LeaseOutcome::Held { changed: true })
    }
    async fn release(&self, _: &str, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
    async fn expire(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// Bytes as they are, readable or not.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = usize;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = usize;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<usize>, Status> {
        let length = from.remaining();
        from.advance(length);
        Ok(Some(length))
    }
}

struct Server {
    channel: Channel,
    _hub: watch::Sender<Arc<Hub>>,
    _drain: watch::Sender<bool>,
}

impl Server {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let published = Hub::default().publish(BTreeMap::new(), ads::now_ms()).unwrap();
        let (hub, publications) = watch::channel(Arc::new(published));
        let (drain, draining) = watch::channel(false);
        let (auth, nodes): (Arc<dyn NodeAuth>, _) = (Arc::new(Tokens), NodeRegistry::new());
        let settings = Settings { max_streams_per_node: 2, max_request_bytes: 4096, ..Settings::default() };
        let ads = AdsServer::with_settings((publications, draining.clone()), auth.clone(), nodes.clone(), settings);
        let settings = FleetSettings { max_streams_per_node: 2, ..FleetSettings::default() };
        let fleet = FleetService::new(Arc::new(NoLeases), (auth, nodes), draining.clone(), settings);
        tokio::spawn(ads::serve(listener, ads, fleet, draining));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { channel, _hub: hub, _drain: drain }
    }

    async fn open(&self, path: &'static str, token: &str) -> Result<Stream, Status> {
        let (requests, outbound) = mpsc::channel(4);
        let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(outbound));
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let mut client = Grpc::new(self.channel.clone());
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(path);
        let responses = client.streaming(request, path, Raw).await?.into_inner();
        Ok(Stream { requests, responses })
    }
}

struct Stream {
    requests: mpsc::Sender<Vec<u8>>,
    responses: Streaming<usize>,
}

impl Stream {
    /// The status that ends the stream.
    async fn ended(mut self) -> Status {
        let end = async {
            loop {
                match self.responses.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Status::ok("ended"),
                    Err(status) => return status,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), end).await.expect("the stream ends")
    }
}

fn first(node: &str, type_url: String) -> Vec<u8> {
    let node = Some(Node { id: node.to_owned(), ..Node::default() });
    DeltaDiscoveryRequest { node, type_url, ..Default::default() }.encode_to_vec()
}

#[tokio::test]
async fn a_message_that_cannot_be_read_ends_its_stream_with_a_reason() {
    let server = Server::start().await;
    let (too_large, garbage) = (first("g1", "x".repeat(5000)), vec![0xff; 40]);
    let good = || first("g1", tidegate_xds::types::CLUSTER.to_owned());
    for (path, token, messages, code) in [
        (ADS, "g1", vec![too_large.clone()], "TG-1406"),
        (ADS, "g1", vec![garbage.clone()], "TG-1406"),
        (ADS, "g1", vec![good(), too_large], "TG-1406"),
        (ADS, "g1", vec![good(), garbage.clone()], "TG-1406"),
        (FLEET, "w1", vec![garbage], "TG-1415"),
        (FLEET, "w1", vec![vec![0; 300 << 10]], "TG-1415"),
    ] {
        let stream = server.open(path, token).await.unwrap();
        for message in messages {
            stream.requests.send(message).await.unwrap();
        }
        let status = stream.ended().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{path} {status}");
        assert!(status.message().starts_with(code), "{path} {status}");
    }
}

#[tokio::test]
async fn a_node_cannot_take_every_stream() {
    let server = Server::start().await;
    for (path, token) in [(ADS, "g1"), (FLEET, "w1")] {
        let held = (server.open(path, token).await.unwrap(), server.open(path, token).await.unwrap());
        let refused = server.open(path, token).await.err().expect("a third stream is refused");
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().starts_with("TG-1404: this node has 2 streams"), "{refused}");
        assert!(server.open(ADS, "g2").await.is_ok(), "another node is not held up");
        // A place comes back when a stream has ended.
        drop(held);
        let mut again = server.open(path, token).await;
        for _ in 0..500 {
            if again.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            again = server.open(path, token).await;
        }
        assert!(again.is_ok(), "{path}: the place never came back");
    }
}
