//! The tonic service of `AggregatedDiscoveryService`, by hand because of the codec. Turns callers away before a stream begins.
use std::{convert::Infallible, sync::Arc, task::Poll, time::Duration};

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use tidegate_policy::ports::NodeAuth;
use tidegate_xds::{Bounds, Hub, Response};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    codegen::{Body, BoxFuture, Service, StdError, http},
    server::{Grpc, NamedService, StreamingService},
};

use super::{
    Places, authenticate,
    codec::WireCodec,
    convert::Incoming,
    metrics::Metrics,
    refusal::Refusal,
    remember,
    stream::{Conversation, run},
};
use crate::nodes::{Door, NodeRegistry};

const SOTW: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Responses between a stream's task and its connection.
const MAILBOX: usize = 1;

/// Bounds of the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Streams of all nodes together.
    pub max_streams: usize,
    /// Streams of one node: it needs one, and another while it comes back. Not bounded by itself unless set.
    pub max_streams_per_node: usize,
    /// Bytes of one request.
    pub max_request_bytes: usize,
    /// How long a new stream may stay silent.
    pub first_request: Duration,
    /// How often the token of an open stream is looked at again.
    pub recheck_token: Duration,
    /// What one stream may cost.
    pub stream: Bounds,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_streams: 8192,
            max_streams_per_node: 8192,
            max_request_bytes: 4 << 20,
            first_request: Duration::from_secs(15),
            recheck_token: Duration::from_secs(5),
            stream: Bounds::default(),
        }
    }
}

/// The ADS service. Cheap to clone.
#[derive(Clone)]
pub struct AdsServer {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub hub: watch::Receiver<Arc<Hub>>,
    pub nodes: Arc<NodeRegistry>,
    pub metrics: Metrics,
    pub settings: Settings,
    pub drain: watch::Receiver<bool>,
    auth: Arc<dyn NodeAuth>,
    streams: Arc<Places>,
}

impl AdsServer {
    /// `hub`: what is published ([`Hub::default`] before anything is: callers are told to come back).
    /// `drain`: becomes true when the server stops; open streams then end with UNAVAILABLE.
    pub fn with_settings(
        (hub, drain): (watch::Receiver<Arc<Hub>>, watch::Receiver<bool>),
        auth: Arc<dyn NodeAuth>,
        nodes: Arc<NodeRegistry>,
        settings: Settings,
    ) -> Self {
        let streams = Places::new(settings.max_streams, settings.max_streams_per_node);
        Self { shared: Arc::new(Shared { hub, nodes, metrics: Metrics::new(), settings, drain, auth, streams }) }
    }
}

impl NamedService for AdsServer {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl<B> Service<http::Request<B>> for AdsServer
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = Method { shared: self.shared.clone() };
        match request.uri().path() {
            SOTW => Box::pin(async move { Ok(grpc::<DiscoveryRequest>(&method).streaming(method, request).await) }),
            DELTA => {
                Box::pin(async move { Ok(grpc::<DeltaDiscoveryRequest>(&method).streaming(method, request).await) })
            }
            _ => {
                Box::pin(async { Ok(Status::unimplemented("only the two aggregated streams are served").into_http()) })
            }
        }
    }
}

fn grpc<R: Incoming>(method: &Method) -> Grpc<WireCodec<R>> {
    let bytes = method.shared.settings.max_request_bytes;
    Grpc::new(WireCodec::default()).apply_max_message_size_config(Some(bytes), None)
}

struct Method {
    shared: Arc<Shared>,
}

impl Method {
    fn open<R: Incoming>(
        &self,
        request: Request<Streaming<R>>,
    ) -> Result<ReceiverStream<Result<Response, Status>>, Refusal> {
        let shared = &self.shared;
        let caller = authenticate(&shared.auth, request.metadata(), request.remote_addr())?;
        if *shared.drain.borrow() {
            return Err(Refusal::Draining);
        }
        if !shared.hub.borrow().is_ready() {
            return Err(Refusal::NotReady);
        }
        let place = shared.streams.take(&caller.identity.node_id)?;
        let (outbound, mailbox) = mpsc::channel(MAILBOX);
        let conversation = Conversation { shared: shared.clone(), caller, inbound: request.into_inner(), outbound };
        tokio::spawn(async move {
            run(conversation).await;
            drop(place);
        });
        Ok(ReceiverStream::new(mailbox))
    }
}

impl<R: Incoming> StreamingService<R> for Method {
    type Response = Response;
    type ResponseStream = ReceiverStream<Result<Response, Status>>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<R>>) -> Self::Future {
        let (metadata, peer) = (request.metadata().clone(), request.remote_addr());
        let opened = self.open(request).map_err(|refusal| {
            self.shared.metrics.refused(refusal.code());
            let known = (&self.shared.auth, self.shared.nodes.as_ref());
            if remember(known, (&metadata, peer), Door::Ads, &refusal) {
                tracing::warn!(?peer, code = refusal.code(), %refusal, "turned an ADS stream away");
            }
            Status::from(refusal)
        });
        std::future::ready(opened.map(tonic::Response::new))
    }
}
