//! Accepts connections and serves the API on them, HTTP/1.1 and HTTP/2. Bounded in connections, in streams of each, and in the time
//! until the first request; stops accepting first and then lets every connection finish what it is in. Knows no route.
mod opening;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use self::opening::Opening;
use crate::{error::WorkerError, telemetry::Metrics};

/// Requests of one HTTP/2 connection at a time; gateways open another connection for more.
const MAX_STREAMS: u32 = 64;
/// How often an HTTP/2 peer is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);

/// A bound listener.
pub struct Server {
    listener: TcpListener,
    pub address: SocketAddr,
    slots: Arc<Semaphore>,
    first_request: Duration,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Binds; nothing is accepted before [`Server::run`]. `first_request`: how long a connection may take to show one.
    pub async fn bind(
        address: SocketAddr,
        max_connections: usize,
        first_request: Duration,
        metrics: Arc<Metrics>,
    ) -> Result<Self, WorkerError> {
        let failed = |source| WorkerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let slots = Arc::new(Semaphore::new(max_connections));
        Ok(Self { listener, address, slots, first_request, metrics })
    }

    /// Accepts until `stop` says when the end is, then waits until the last connection has ended, at most until then.
    pub async fn run(self, router: Router, mut stop: watch::Receiver<Option<Instant>>) {
        let graceful = GracefulShutdown::new();
        let builder = Arc::new(builder());
        let until = loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                until = stopped(&mut stop) => break until,
            };
            let Some((stream, slot)) = accepted else { continue };
            let service = TowerToHyperService::new(router.clone());
            let (watcher, builder) = (graceful.watcher(), builder.clone());
            let io = TokioIo::new(Opening::new(stream, self.first_request));
            tokio::spawn(async move {
                let connection = builder.serve_connection(io, service);
                // A broken connection is the client's affair; its requests see that it is gone.
                if let Err(error) = watcher.watch(connection).await {
                    tracing::debug!(error, "a connection ended with an error");
                }
                drop(slot);
            });
        };
        drop(self.listener);
        if tokio::time::timeout_at(until.into(), graceful.shutdown()).await.is_err() {
            tracing::warn!("connections were still open at the end of the grace time");
        }
    }

    async fn accept(&self) -> Option<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
        if self.slots.available_permits() == 0 {
            self.metrics.bound_hit("connections");
        }
        let slot = self.slots.clone().acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((stream, _)) => {
                // Events of a stream must not wait for more of them.
                let _ = stream.set_nodelay(true);
                Some((stream, slot))
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                None
            }
        }
    }
}

/// When the end is; now, when nobody can say it any more.
async fn stopped(stop: &mut watch::Receiver<Option<Instant>>) -> Instant {
    let until = stop.wait_for(Option::is_some).await.ok().and_then(|until| *until);
    until.unwrap_or_else(Instant::now)
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // hyper would also cut connections that are idle between two requests; `Opening` holds the first head to its time.
    builder.http1().header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(MAX_STREAMS);
    builder
}
