//! Snapshot to Envoy and worker resources. The only room that names Envoy's resource types; pure and deterministic: the same
//! snapshot and settings give the same bytes, so a version changes only when the meaning does. It decides nothing about policy.
mod any;
mod bootstrap;
mod cluster;
mod endpoint;
mod errors;
pub mod files;
mod filters;
mod limits;
mod listener;
mod local_reply;
mod matcher;
mod models;
mod retry;
mod route;
mod settings;
mod table;
pub mod types;
mod worker;

pub use bootstrap::{BootstrapParams, bootstrap, token_secret};
pub use settings::{CorsOrigin, GatewaySettings, Otlp};
use tidegate_policy::snapshot::{PoolPlan, Snapshot};
use tidegate_xds::resources::ResourceSet;

/// Everything that a gateway (node group `gateway`) is served: LDS, RDS, CDS, EDS and ECDS.
pub fn gateway(snapshot: &Snapshot, settings: &GatewaySettings) -> ResourceSet {
    let mut set = ResourceSet::default();
    listener::add(&mut set, settings);
    filters::api_keys::add(&mut set, snapshot, settings);
    filters::local_limits::add(&mut set, snapshot);
    route::add(&mut set, snapshot, settings);
    cluster::add(&mut set, snapshot, settings);
    endpoint::add(&mut set, snapshot);
    set
}

/// Everything that the workers of one pool (node group `worker/<ns>/<pool>`) are served: one LimitSet, and one ModelSet if the model has anything
/// that the pool asks for; workers keep what they have when there is none.
pub fn pool(snapshot: &Snapshot, plan: &PoolPlan) -> ResourceSet {
    let mut set = ResourceSet::default();
    worker::add(&mut set, snapshot, plan);
    set
}
