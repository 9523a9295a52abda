//! What is done when a fleet stream ends that nobody ended: a worker that is only cut off from here goes on answering requests, one whose
//! process died does not. The address tells which: a port that refuses connections has nobody behind it.
use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use tidegate_policy::ports::FleetStore;
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};

/// Waits before each try. A process that dies closes its connections and its listener in no order; whoever takes a connection
/// is there, and whoever gives no answer in time may be: then the lease says when.
const TRIES: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(80),
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(400),
];
const ANSWER: Duration = Duration::from_millis(500);

/// The worker whose stream ended.
pub(crate) struct Last {
    pub node_id: String,
    pub incarnation: String,
    pub address: SocketAddr,
}

/// Ends the lease of a worker whose port refuses connections. Anything else leaves the lease to its term, as does a server that is
/// about to end.
pub(crate) async fn release_if_gone(store: Arc<dyn FleetStore>, last: Last, drain: watch::Receiver<bool>) {
    for wait in TRIES {
        sleep(wait).await;
        if *drain.borrow() {
            return;
        }
        match timeout(ANSWER, TcpStream::connect(last.address)).await {
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                tracing::info!(node = %last.node_id, address = %last.address, "a worker is gone: nobody listens at its address any more");
                // Of this incarnation only: one that was started since has a lease of its own.
                if let Err(error) = store.release(&last.node_id, &last.incarnation).await {
                    tracing::debug!(node = %last.node_id, %error, "its lease ends by itself");
                }
                return;
            }
            // Still there, or its kernel is about to close the port.
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
