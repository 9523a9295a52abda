//! Tests of the pure xDS machines: scripted conversations, wire format, change log, client, seeded simulations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod bounds;
mod client;
mod log;
mod script;
mod simulation;
mod status;
mod wire;
