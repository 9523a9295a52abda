//! The fleet server: what workers say of themselves becomes leases in the store. A worker can speak only for itself.
//! Load figures go to the registry, never into a lease. When a stream ends the lease lives on until it expires, unless nobody listens at
//! the worker's address any more: the data path must not flap because a control plane restarts.
mod gone;
mod lease;
mod report;
mod service;

pub use service::{FleetService, FleetSettings};
