//! The tonic service of `tidegate.fleet.v1.Fleet`: one task per worker, reports in, directives out.
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tidegate_policy::ports::{FleetStore, NodeAuth, NodeRole};
use tidegate_proto::fleet::{
    Directive, WorkerReport,
    fleet_server::{Fleet, FleetServer},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{gone, lease::LeaseKeeper, report};
use crate::{
    ads::{Authenticated, Place, Places, Refusal, authenticate, drained, remember, unreadable},
    nodes::{Door, NodeRegistry},
};

/// Bytes of one report.
const MAX_REPORT_BYTES: usize = 256 << 10;

/// Bounds and habits of the fleet server.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// How often workers report; a lease lasts three of these.
    pub interval: Duration,
    /// Addresses that any worker may register, besides the one it calls from.
    pub allowed: Vec<IpAddr>,
    /// Streams of all workers together.
    pub max_streams: usize,
    /// Streams of one worker: it needs one, and another while it comes back. Not bounded by itself unless set.
    pub max_streams_per_node: usize,
    /// How often the token of an open stream is looked at again.
    pub recheck_token: Duration,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            allowed: Vec::new(),
            max_streams: 4096,
            max_streams_per_node: 4096,
            recheck_token: Duration::from_secs(5),
        }
    }
}

/// The fleet service. Cheap to clone.
#[derive(Clone)]
pub struct FleetService {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn FleetStore>,
    auth: Arc<dyn NodeAuth>,
    nodes: Arc<NodeRegistry>,
    drain: watch::Receiver<bool>,
    settings: FleetSettings,
    streams: Arc<Places>,
}

impl FleetService {
    /// `drain`: becomes true when the server stops; streams then end and leases stay until they expire.
    pub fn new(
        store: Arc<dyn FleetStore>,
        (auth, nodes): (Arc<dyn NodeAuth>, Arc<NodeRegistry>),
        drain: watch::Receiver<bool>,
        settings: FleetSettings,
    ) -> Self {
        let streams = Places::new(settings.max_streams, settings.max_streams_per_node);
        Self { shared: Arc::new(Shared { store, auth, nodes, drain, settings, streams }) }
    }

    /// For `tonic::transport::Server::add_service`.
    pub fn into_server(self) -> FleetServer<Self> {
        FleetServer::new(self).max_decoding_message_size(MAX_REPORT_BYTES)
    }
}

impl Shared {
    /// Who calls, and a place for the stream.
    fn admit(&self, metadata: &MetadataMap, peer: Option<SocketAddr>) -> Result<(Authenticated, Place), Refusal> {
        let caller = authenticate(&self.auth, metadata, peer)?;
        if !matches!(caller.identity.role, NodeRole::Worker { .. }) {
            return Err(Refusal::NotAWorker);
        }
        if *self.drain.borrow() {
            return Err(Refusal::Draining);
        }
        let place = self.streams.take(&caller.identity.node_id)?;
        Ok((caller, place))
    }
}

#[tonic::async_trait]
impl Fleet for FleetService {
    type ReportStream = ReceiverStream<Result<Directive, Status>>;

    async fn report(&self, request: Request<Streaming<WorkerReport>>) -> Result<Response<Self::ReportStream>, Status> {
        let shared = self.shared.clone();
        let peer = request.remote_addr();
        let (caller, place) = shared.admit(request.metadata(), peer).map_err(|refusal| {
            let known = (&shared.auth, shared.nodes.as_ref());
            if remember(known, (request.metadata(), peer), Door::Fleet, &refusal) {
                tracing::warn!(?peer, code = refusal.code(), %refusal, "turned a fleet stream away");
            }
            refusal
        })?;
        let (directives, outbound) = mpsc::channel(4);
        let inbound = request.into_inner();
        tokio::spawn(async move {
            let interval = shared.settings.interval;
            let mut keeper = LeaseKeeper::new(shared.store.clone(), caller.identity.node_id.clone(), interval);
            let refusal = run(&shared, &caller, (inbound, &directives), &mut keeper).await;
            if let (None, Some(last)) = (&refusal, keeper.last()) {
                tokio::spawn(gone::release_if_gone(shared.store.clone(), last, shared.drain.clone()));
            }
            if let Some(refusal) = refusal {
                let node = &caller.identity.node_id;
                // A worker comes back at once: it is told here when the reason is news.
                if shared.nodes.refused(&caller.identity, Door::Fleet, &refusal) {
                    tracing::warn!(%node, code = refusal.code(), %refusal, "ended a fleet stream");
                } else {
                    tracing::debug!(%node, code = refusal.code(), %refusal, "ended a fleet stream");
                }
                let _ = tokio::time::timeout(Duration::from_secs(1), directives.send(Err(refusal.into()))).await;
            }
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

/// Runs a stream; Some when the server ends it.
async fn run(
    shared: &Shared,
    caller: &Authenticated,
    (mut inbound, directives): (Streaming<WorkerReport>, &mpsc::Sender<Result<Directive, Status>>),
    keeper: &mut LeaseKeeper,
) -> Option<Refusal> {
    let report_interval_ms = u32::try_from(shared.settings.interval.as_millis()).unwrap_or(u32::MAX);
    directives.send(Ok(Directive { report_interval_ms, drain: false })).await.ok()?;
    let mut drain = shared.drain.clone();
    let mut recheck = tokio::time::interval(shared.settings.recheck_token);
    let ticket = shared.nodes.connect_worker(caller.identity.clone());
    loop {
        let retry_at = keeper.retry_at();
        let step = tokio::select! {
            () = drained(&mut drain) => Err(Refusal::Draining),
            report = inbound.message() => match report {
                Ok(Some(report)) => match report::check(&report, caller, &shared.settings.allowed) {
                    Ok((facts, view)) => {
                        ticket.reported(view);
                        let kept = keeper.reported(facts).await;
                        if kept.is_ok() {
                            ticket.accepted();
                        }
                        kept
                    }
                    Err(refusal) => Err(refusal),
                },
                Ok(None) => return None,
                Err(status) => Err(Refusal::BadReport { what: unreadable(&status)? }),
            },
            () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => keeper.retry().await,
            _ = recheck.tick() => if caller.still_good() { Ok(()) } else { Err(Refusal::Revoked) },
        };
        if let Err(refusal) = step {
            return Some(refusal);
        }
    }
}
