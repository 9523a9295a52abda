//! One inference worker: serves the OpenAI API from models that the control plane names, takes new weights and limits without a
//! restart, and goes on with what it has when the control plane is away. Never opens the policy store.
//!
//! ```text
//! HTTP (api) → ValidChatRequest → queue + limits → lane (own thread, owns the model) → SSE
//!        control (ADS) → hotswap: plan → load beside → publish → linger → drain        fleet: reports
//! ```
pub mod api;
pub mod config;
pub mod control;
pub mod drain;
pub mod error;
pub mod fleet;
pub mod hotswap;
pub mod lane;
pub mod limits;
pub mod queue;
pub mod run;
mod server;
pub mod telemetry;
pub mod worker;
