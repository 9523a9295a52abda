//! The program `tidegate` as a user runs it: real processes, a real Postgres, real signals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod check_config;
mod examples;
mod private_stack;
mod refusals;
mod scene;
mod start_up;
mod stopping;
mod supervisor;
