//! Tests of translate from outside: policies in, resources out.
mod bootstrap;
mod golden;
mod json;
mod stability;
mod world;
