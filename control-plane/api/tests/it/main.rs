//! The admin API over a real store on a real Postgres. Every answer of every test is checked against the OpenAPI document.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod app;
mod bad_input;
mod contract;
mod keys;
mod objects;
#[path = "../../../store/tests/it/pg.rs"]
mod pg;
mod serving;
