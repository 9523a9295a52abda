//! The worker over real sockets, with the engine that needs no weights.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod bodies;
mod connections;
mod control;
mod engines;
mod fair;
mod faults;
mod files;
mod fuzz;
mod harness;
mod leaving;
mod limits;
mod matrix;
mod streaming;
mod stuck;
mod swap;
mod traces;
