//! The admin API over a real store on a real Postgres. Every answer of every test is checked against the OpenAPI document.
mod app;
mod bad_input;
mod contract;
mod keys;
mod objects;
#[path = "../../../store/tests/it/pg.rs"]
mod pg;
mod serving;
