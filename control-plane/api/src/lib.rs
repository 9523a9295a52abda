//! Servers: ADS and fleet over gRPC, admin REST over HTTP
pub mod admin;
pub mod credentials;
pub mod ads;
pub mod fleet;
pub mod nodes;
