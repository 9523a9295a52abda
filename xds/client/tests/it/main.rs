//! Server and client over real sockets: who is turned away, what arrives, what a lost connection, a refusal and a slow reader
//! cost. The order of types and the rules of the protocol are tested in `tidegate-xds`.
mod auth;
mod delivery;
mod envoy_try;
mod fleet;
mod harness;
mod load;
