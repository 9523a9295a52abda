//! The gRPC listener that ADS and the fleet share. Notices dead peers by HTTP/2 pings and drains when told.
use std::time::Duration;

use tokio::{net::TcpListener, sync::watch};
use tonic::transport::{Server, server::TcpIncoming};

use super::{AdsServer, drained};
use crate::fleet::FleetService;

/// A quiet connection is pinged this often.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// A connection is given up when a ping is not answered for so long: more than Envoy's main thread is busy with one large update.
const PING_ANSWER: Duration = Duration::from_secs(8);
/// Streams of one connection: a node opens two.
const STREAMS_PER_CONNECTION: u32 = 64;
const HEADER_BYTES: u32 = 16 << 10;

/// The listener broke.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("TG-1420 the gRPC listener stopped")]
    Listener(#[source] tonic::transport::Error),
}

/// Serves ADS and the fleet until `drain` becomes true and the streams have ended (they end themselves).
///
/// # Errors
/// [`ServeError::Listener`].
pub async fn serve(
    listener: TcpListener,
    ads: AdsServer,
    fleet: FleetService,
    mut drain: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(PING_ANSWER))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(HEADER_BYTES)
        .add_service(ads)
        .add_service(fleet.into_server())
        .serve_with_incoming_shutdown(incoming, async move { drained(&mut drain).await })
        .await
        .map_err(ServeError::Listener)
}
