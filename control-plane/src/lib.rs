//! The Tidegate control plane, its CLI and its supervisor: the modules of the program `tidegate`.
pub mod addresses;
pub mod admin_token;
pub mod cli;
pub mod compile_loop;
pub mod config;
pub mod error;
pub mod fleet_driver;
pub mod problem;
pub mod serve;
pub mod status_writer;
pub mod telemetry;
pub mod up;
