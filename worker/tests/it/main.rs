//! The worker over real sockets, with the engine that needs no weights.
mod api;
mod control;
mod faults;
mod fuzz;
mod harness;
mod leaving;
mod limits;
mod matrix;
mod streaming;
mod swap;
mod traces;
