//! Tests of translate from outside: policies in, resources out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod bootstrap;
mod effects;
mod golden;
mod json;
mod stability;
mod world;
