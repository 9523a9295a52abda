//! The servers over real connections; the admin API over a real store on a real Postgres, every answer checked against the
//! OpenAPI document.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod app;
mod back;
mod bad_input;
mod bounds;
mod contract;
mod hosts;
mod interloper;
mod keys;
mod objects;
#[path = "../../../store/tests/it/pg.rs"]
mod pg;
mod schema;
mod serving;
mod streams;
mod tokens;
