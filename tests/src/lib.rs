//! The harness of the system tests and of the demo: it starts the real programs, talks to them as a user would, and stops
//! them by pid. No assertion lives here.
pub mod answers;
pub mod client;
pub mod documents;
pub mod envoy_files;
pub mod ports;
pub mod swaps;
pub mod tidegate;
pub mod tools;
pub mod wait;
