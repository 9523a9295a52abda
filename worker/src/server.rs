//! Accepts connections and serves the API on them, HTTP/1.1 and HTTP/2. Bounded in connections; stops accepting first and then
//! lets every connection finish what it is in. Knows no route.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

use crate::{error::WorkerError, telemetry::Metrics};

/// A bound listener.
pub struct Server {
    listener: TcpListener,
    pub address: SocketAddr,
    slots: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Binds; nothing is accepted before [`Server::run`].
    pub async fn bind(address: SocketAddr, max_connections: usize, metrics: Arc<Metrics>) -> Result<Self, WorkerError> {
        let failed = |source| WorkerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, slots: Arc::new(Semaphore::new(max_connections)), metrics })
    }

    /// Accepts until `stop` is true, then waits until the last connection has ended, at most `grace` after that.
    pub async fn run(self, router: Router, mut stop: watch::Receiver<bool>, grace: Duration) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let Some((stream, slot)) = accepted else { continue };
            let service = TowerToHyperService::new(router.clone());
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                let builder = Builder::new(TokioExecutor::new());
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                // A broken connection is the client's affair; its requests see that it is gone.
                if let Err(error) = watcher.watch(connection).await {
                    tracing::debug!(error, "a connection ended with an error");
                }
                drop(slot);
            });
        }
        drop(self.listener);
        if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
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
