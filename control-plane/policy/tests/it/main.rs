//! Tests of the policy package through its public face: goldens, properties, a fuzzer. No I/O but the golden files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod back;
mod connection;
mod fuzz;
mod golden;
mod history;
mod limits;
mod order;
mod overlaps;
mod precedence;
mod properties;
mod scenario;
mod show;
mod swap;
mod warn;
