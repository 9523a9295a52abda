//! Tests of the pure xDS machines: scripted conversations, wire format, change log, client, seeded simulations.
mod bounds;
mod client;
mod log;
mod script;
mod simulation;
mod wire;
