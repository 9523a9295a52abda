//! Admin REST: the documents of `tidegate.dev/v1alpha1` over HTTP, explain, history, tokens and keys. Handlers translate
//! between HTTP and the traits of `policy::ports`; they hold no state of their own and must never know SQL or xDS.
//! Every answer is JSON (errors: RFC 9457 problem documents), except `/metrics`.
mod apply;
mod auth;
mod documents;
mod errors;
mod explain;
mod fresh;
mod guard;
mod health;
mod history;
mod hosts;
mod in_force;
mod input;
mod keys;
mod node_tokens;
mod objects;
mod openapi;
mod proof;
mod render;
mod routes;
mod serve;
mod tokens;

use std::sync::Arc;

use serde_json::Value;
use tidegate_policy::{
    explain::GatewayFacts,
    ports::{CredentialStore, ObjectStore, Source},
    snapshot::Snapshot,
};
use tokio::sync::watch;

pub use errors::{ApiError, Problem};
pub use fresh::Fresh;
pub use hosts::Hosts;
pub use in_force::{Gateways, InForce};
pub use openapi::document as openapi_document;
pub use render::document;
pub use routes::router;
pub use serve::{BindError, Tls, guard_bind, serve};

use crate::credentials::{TokenTable, proof::Claim};

/// Largest request body, in bytes.
pub const MAX_BODY: usize = tidegate_policy::documents::MAX_BYTES;

/// What the handlers work on; `run` makes it. Cheap to clone.
///
/// A change of tokens or keys needs no extra wake-up: the store announces it like any other change.
#[derive(Clone)]
pub struct AdminState {
    pub store: Arc<dyn ObjectStore>,
    pub credentials: Arc<dyn CredentialStore>,
    /// What is in force; `None` until the first compile. Explain answers from it, and `/readyz` waits for it.
    pub snapshot: watch::Receiver<Option<Arc<Snapshot>>>,
    /// Every node and what it has: the answer of `/api/v1/nodes`, `NodesAnswer`.
    pub nodes: Arc<dyn Fn() -> Value + Send + Sync>,
    pub tokens: Arc<TokenTable>,
    /// What the gateways were told of the API keys, and what they answered.
    pub gateways: Gateways,
    /// Which names this server answers to.
    pub hosts: Hosts,
    pub fresh: Arc<Fresh>,
    /// Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What explain must know of the gateways besides the policies.
    pub gateway: GatewayFacts,
    /// Which server this is.
    pub server: Claim,
    /// The door that writes through this server come in by; normally [`Source::Rest`].
    pub source: Source,
}
