//! Servers: ADS and fleet over gRPC, admin REST over HTTP
pub mod admin;
pub mod ads;
pub mod credentials;
pub mod fleet;
pub mod nodes;
