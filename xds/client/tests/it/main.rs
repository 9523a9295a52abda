//! Server and client over real sockets: who is turned away, what arrives, what a lost connection, a refusal and a slow reader
//! cost. The order of types and the rules of the protocol are tested in `tidegate-xds`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod auth;
mod delivery;
mod fleet;
mod harness;
mod load;
