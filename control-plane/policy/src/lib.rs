//! Kinds, validation, the rule engine, compile and explain. Pure: no I/O, no clock, no environment.
//!
//! A document goes [`validate::parse`] → [`validate::ValidObject`] → (the store) → [`compile::compile`] →
//! [`snapshot::Snapshot`]; [`explain::explain`] answers from a snapshot what a request gets.
pub mod compile;
pub mod diff;
pub mod documents;
pub mod explain;
pub mod fields;
pub mod kinds;
pub mod names;
pub mod overlap;
pub mod ports;
pub mod precedence;
pub mod reject;
pub mod snapshot;
pub mod status;
pub mod units;
pub mod validate;
pub mod warnings;
