//! The wire contract: our .proto files, the code made from them, header names and type URLs.
//! `gen/` is made by `cargo test -p tidegate-proto` (UPDATE=1 rewrites it); never edit it by hand.
pub mod contract;

/// `tidegate.worker.v1`: what the control plane tells a worker.
#[rustfmt::skip]
#[allow(clippy::all, clippy::pedantic, missing_docs)]
#[path = "gen/tidegate.worker.v1.rs"]
pub mod worker;

/// `tidegate.fleet.v1`: what a worker tells the control plane.
#[rustfmt::skip]
#[allow(clippy::all, clippy::pedantic, missing_docs)]
#[path = "gen/tidegate.fleet.v1.rs"]
pub mod fleet;
