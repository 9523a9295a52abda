//! The ADS server: authenticated streams of configuration to Envoy, gRPC clients and workers, both variants.
//! The protocol is `tidegate-xds`; here are only sockets, tokens and the clock. It decides nothing about content.
//!
//! A stream never costs more than one response per type: what is published while a client reads slowly merges, because the
//! task of that stream does not look at the hub before everything was handed to the connection.
mod clock;
mod codec;
mod convert;
mod identity;
mod listener;
mod metrics;
mod places;
mod refusal;
mod service;
mod stream;

pub use clock::now_ms;
pub use identity::{GATEWAY_GROUP, group_of, worker_group};
pub use listener::{ServeError, serve};
pub use metrics::SECONDS;
pub use refusal::Refusal;
pub use service::{AdsServer, Settings};
/// What workers are served, by type URL.
pub use tidegate_proto::contract::{TYPE_LIMIT_SET, TYPE_MODEL_SET};

pub(crate) use identity::{Authenticated, authenticate, remember};
pub(crate) use places::{Place, Places};
pub(crate) use refusal::unreadable;

/// Waits until the server stops.
pub(crate) async fn drained(drain: &mut tokio::sync::watch::Receiver<bool>) {
    // An error means that whoever would say so is gone: the server stops as well.
    let _ = drain.wait_for(|drain| *drain).await;
}
