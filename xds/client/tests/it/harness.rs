//! A real ADS and fleet server on a free port, raw streams and the client of this package against it.
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use envoy_types::pb::envoy::{
    config::core::v3::Node,
    service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse,
        aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
};
use tidegate_api::{
    ads::{self, AdsServer, Settings},
    fleet::{FleetService, FleetSettings},
    nodes::NodeRegistry,
};
use tidegate_policy::ports::{FleetStore, LeaseOutcome, NodeAuth, NodeIdentity, NodeRole, StoreError, WorkerLease};
use tidegate_xds::{Hub, ResourceSet};
use tidegate_xds_client::{Config, Handler, Rejection, Update};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tonic::{Request, Status, Streaming, transport::Channel};

pub const MODELS: &str = "type.googleapis.com/tidegate.worker.v1.ModelSet";
pub const CLUSTER: &str = tidegate_xds::types::CLUSTER;

/// Tokens that can be taken back.
#[derive(Default)]
pub struct Tokens(pub Mutex<HashMap<String, NodeIdentity>>);

impl NodeAuth for Tokens {
    fn authenticate(&self, bearer: &str) -> Option<NodeIdentity> {
        self.0.lock().unwrap().get(bearer).cloned()
    }
}

impl Tokens {
    pub fn usual() -> Arc<Self> {
        let tokens = Self::default();
        let mut map = tokens.0.lock().unwrap();
        for n in 0..4 {
            let node_id = format!("gateway-{n}");
            map.insert(format!("tgn_gateway-{n}"), NodeIdentity { node_id, role: NodeRole::Gateway });
        }
        for (n, pool) in [(1, "default/chat"), (2, "default/chat"), (3, "default/embed")] {
            let identity = NodeIdentity { node_id: format!("w{n}"), role: NodeRole::Worker { pool: pool.into() } };
            map.insert(format!("tgn_w{n}"), identity);
        }
        drop(map);
        Arc::new(tokens)
    }
}

/// Leases in memory; can be switched off, as a database is.
#[derive(Default)]
pub struct Leases {
    pub held: Mutex<BTreeMap<String, WorkerLease>>,
    pub away: Mutex<bool>,
    pub writes: Mutex<u32>,
}

impl Leases {
    fn check(&self) -> Result<(), StoreError> {
        *self.writes.lock().unwrap() += 1;
        if *self.away.lock().unwrap() { Err(StoreError::Unavailable("away".into())) } else { Ok(()) }
    }

    pub fn get(&self, node: &str) -> Option<WorkerLease> {
        self.held.lock().unwrap().get(node).cloned()
    }
}

#[async_trait]
impl FleetStore for Leases {
    async fn hold(&self, lease: &WorkerLease, _: u64) -> Result<LeaseOutcome, StoreError> {
        self.check()?;
        let mut held = self.held.lock().unwrap();
        if let Some(other) =
            held.values().find(|other| other.address == lease.address && other.node_id != lease.node_id)
        {
            return Ok(LeaseOutcome::AddressTaken { by: other.node_id.clone() });
        }
        held.insert(lease.node_id.clone(), lease.clone());
        Ok(LeaseOutcome::Held { changed: true })
    }

    async fn release(&self, node_id: &str, _: &str) -> Result<(), StoreError> {
        self.check()?;
        self.held.lock().unwrap().remove(node_id);
        Ok(())
    }

    async fn expire(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// Type URL, name, content.
pub type Published<'a> = (&'static str, &'a str, &'a str);

pub struct Server {
    pub address: SocketAddr,
    pub hub: watch::Sender<Arc<Hub>>,
    pub nodes: Arc<NodeRegistry>,
    pub tokens: Arc<Tokens>,
    pub leases: Arc<Leases>,
    drain: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), Arc::new(Hub::default())).await
    }

    pub async fn start_at(address: SocketAddr, hub: Arc<Hub>) -> Self {
        let listener = bind(address).await;
        let address = listener.local_addr().unwrap();
        let (hub, published) = watch::channel(hub);
        let (drain, draining) = watch::channel(false);
        let (tokens, nodes, leases) = (Tokens::usual(), NodeRegistry::new(), Arc::new(Leases::default()));
        let auth: Arc<dyn NodeAuth> = tokens.clone();
        let settings = Settings { recheck_token: Duration::from_millis(50), ..Settings::default() };
        let ads = AdsServer::with_settings((published, draining.clone()), auth.clone(), nodes.clone(), settings);
        let fleet_settings = FleetSettings { interval: Duration::from_millis(200), ..FleetSettings::default() };
        let fleet = FleetService::new(leases.clone(), (auth, nodes.clone()), draining.clone(), fleet_settings);
        let task = tokio::spawn(async move { ads::serve(listener, ads, fleet, draining).await.unwrap() });
        Self { address, hub, nodes, tokens, leases, drain, task }
    }

    pub fn publish(&self, groups: &[(&str, &[Published<'_>])]) {
        let mut sets = BTreeMap::new();
        for (group, resources) in groups {
            let set: &mut ResourceSet = sets.entry((*group).to_owned()).or_default();
            for (url, name, body) in *resources {
                set.insert(url, *name, (*body).to_owned());
            }
        }
        self.publish_sets(sets);
    }

    pub fn publish_sets(&self, sets: BTreeMap<String, ResourceSet>) {
        let next = self.hub.borrow().publish(sets, ads::now_ms());
        if let Some(next) = next {
            self.hub.send_replace(Arc::new(next));
        }
    }

    pub fn client_config(&self, node: &str) -> Config {
        let backoff = tidegate_xds_client::Backoff { first_ms: 20, longest_ms: 100 };
        Config::new(format!("http://{}", self.address), node, format!("tgn_{node}")).backoff(backoff)
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// Ends every stream and frees the port.
    pub async fn stop(self) -> SocketAddr {
        self.drain.send_replace(true);
        tokio::time::timeout(Duration::from_secs(5), self.task).await.expect("the server drains").unwrap();
        self.address
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{address} stays taken");
}

pub fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// A delta stream by hand.
pub struct Raw {
    pub requests: mpsc::Sender<DeltaDiscoveryRequest>,
    pub responses: Streaming<DeltaDiscoveryResponse>,
}

impl Raw {
    pub async fn open(
        channel: Channel,
        token: &str,
        node_id: &str,
        first: DeltaDiscoveryRequest,
    ) -> Result<Self, Status> {
        let (requests, outbound) = mpsc::channel(8);
        let node = Some(Node { id: node_id.into(), ..Node::default() });
        requests.send(DeltaDiscoveryRequest { node, ..first }).await.unwrap();
        let stream = tokio_stream::wrappers::ReceiverStream::new(outbound);
        let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(64 << 20);
        let responses = client.delta_aggregated_resources(with_token(stream, token)).await?.into_inner();
        Ok(Self { requests, responses })
    }

    /// The next response, or the status that ended the stream.
    pub async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let next =
            tokio::time::timeout(Duration::from_secs(10), self.responses.message()).await.expect("an answer in time");
        next?.ok_or_else(|| Status::ok("ended"))
    }

    pub async fn ack(&self, response: &DeltaDiscoveryResponse) {
        let (type_url, response_nonce) = (response.type_url.clone(), response.nonce.clone());
        self.requests.send(DeltaDiscoveryRequest { type_url, response_nonce, ..Default::default() }).await.unwrap();
    }
}

pub fn wildcard(type_url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: type_url.into(), ..Default::default() }
}

/// Remembers every update, refuses bodies that begin with `bad`.
pub struct Recorder(pub mpsc::UnboundedSender<Update>);

impl Handler for Recorder {
    async fn apply(&mut self, update: Update) -> Result<(), Vec<Rejection>> {
        let bad = update.changed.iter().filter(|resource| resource.body.starts_with(b"bad"));
        let rejection = |name: &String| Rejection { name: name.clone(), error: "TG-2010 not usable".into() };
        let bad: Vec<_> = bad.map(|resource| rejection(&resource.name)).collect();
        let _ = self.0.send(update);
        if bad.is_empty() { Ok(()) } else { Err(bad) }
    }
}

/// Waits for something that is bound to happen.
pub async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    for _ in 0..500 {
        if check() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never happened: {what}");
}
