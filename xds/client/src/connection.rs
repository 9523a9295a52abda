//! The task that keeps the stream: connects, reads, asks the handler, answers, waits, connects again. Holds no resource.
use std::{
    future::Future,
    time::{Duration, Instant},
};

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
};
use tidegate_xds::{
    DeltaRequest,
    client::{Client, Rejection, Step, Update},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Endpoint};

use crate::{
    config::{Config, Error},
    convert,
};

/// Requests waiting to be written. One answer per response and one first request per type: it does not fill.
const OUTBOUND: usize = 64;

/// Judges and takes what was pushed.
pub trait Handler: Send + 'static {
    /// Ok: everything is valid and will be used (ACK). Err: these resources are refused and what they replace stays (NACK);
    /// the others were taken. Called for one update at a time. Answer soon: the stream waits; do slow work afterwards.
    fn apply(&mut self, update: Update) -> impl Future<Output = Result<(), Vec<Rejection>>> + Send;
}

/// Where the connection stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConnectionState {
    Connecting,
    Connected,
    /// What was received last stays in force.
    Disconnected {
        reason: String,
        retry_in_ms: u64,
    },
}

/// A running client. Dropping it stops it.
#[derive(Debug)]
pub struct AdsClient {
    state: watch::Receiver<ConnectionState>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl AdsClient {
    /// Starts a client on the current runtime.
    pub fn spawn(config: Config, handler: impl Handler) -> Result<Self, Error> {
        if config.subscriptions.is_empty() {
            return Err(Error::NoSubscription);
        }
        let endpoint = config.channel()?;
        config.authorization()?;
        let (state_tx, state) = watch::channel(ConnectionState::Connecting);
        let (stop, stopped) = watch::channel(false);
        let machine = Client::new(config.subscriptions.clone(), config.backoff);
        let task = Task { config, endpoint, machine, handler, state: state_tx, opened: None };
        let task = tokio::spawn(task.run(stopped));
        Ok(Self { state, stop, task: Some(task) })
    }

    /// The state of the connection, now and as it changes.
    pub fn connection(&self) -> watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// Ends the stream and waits for the task.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for AdsClient {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

struct Task<H> {
    config: Config,
    endpoint: Endpoint,
    machine: Client,
    handler: H,
    state: watch::Sender<ConnectionState>,
    /// When the stream was opened, while there is one.
    opened: Option<Instant>,
}

impl<H: Handler> Task<H> {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            self.state.send_replace(ConnectionState::Connecting);
            let status = tokio::select! {
                status = self.converse() => status,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let up = self.opened.take().map_or(Duration::ZERO, |opened| opened.elapsed());
            let up_ms = u64::try_from(up.as_millis()).unwrap_or(u64::MAX);
            let wait = self.machine.on_disconnected(up_ms, rand::random_range(0..=1000));
            let reason = format!("{:?}: {}", status.code(), status.message());
            tracing::debug!(endpoint = %self.config.endpoint, %reason, retry_in_ms = wait, "the ADS stream ended");
            self.state.send_replace(ConnectionState::Disconnected { reason, retry_in_ms: wait });
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(wait)) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One stream from beginning to end; answers why it ended.
    async fn converse(&mut self) -> Status {
        match self.stream().await {
            Ok(()) => Status::unavailable("the server ended the stream"),
            Err(status) => status,
        }
    }

    async fn stream(&mut self) -> Result<(), Status> {
        let channel = self.endpoint.connect().await.map_err(|e| Status::unavailable(root_cause(&e)))?;
        let mut client =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(self.config.max_response_bytes);
        let (requests, outbound) = mpsc::channel::<DeltaDiscoveryRequest>(OUTBOUND);
        // The node goes with the first request only; the server remembers it for the stream.
        let mut node = Some(convert::node(&self.config));
        for first in self.machine.on_connected() {
            send(&requests, convert::request(first, node.take())).await?;
        }
        let mut call = tonic::Request::new(ReceiverStream::new(outbound));
        let authorization = self.config.authorization().map_err(|e| Status::internal(e.to_string()))?;
        call.metadata_mut().insert("authorization", authorization);
        let mut inbound = client.delta_aggregated_resources(call).await?.into_inner();
        self.opened = Some(Instant::now());
        self.state.send_replace(ConnectionState::Connected);
        while let Some(response) = inbound.message().await? {
            if let Some(answer) = self.judge(convert::response(response)).await {
                send(&requests, convert::request(answer, None)).await?;
            }
        }
        Ok(())
    }

    async fn judge(&mut self, response: tidegate_xds::client::DeltaResponse) -> Option<DeltaRequest> {
        match self.machine.on_response(response)? {
            Step::Send(request) => Some(request),
            Step::Apply(update) => {
                let result = self.handler.apply(update.clone()).await;
                if let Err(rejections) = &result {
                    tracing::warn!(type_url = %update.type_url, ?rejections, "a pushed configuration was refused");
                }
                Some(self.machine.on_applied(&update, result))
            }
        }
    }
}

async fn send(requests: &mpsc::Sender<DeltaDiscoveryRequest>, request: DeltaDiscoveryRequest) -> Result<(), Status> {
    requests.send(request).await.map_err(|_| Status::unavailable("the stream was closed while a request waited"))
}

/// The innermost error says what happened; the outer ones say "transport error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
