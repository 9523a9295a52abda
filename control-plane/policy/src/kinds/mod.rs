//! The kinds of `tidegate.dev/v1alpha1`: the single source for REST, YAML files, the OpenAPI document and CRDs.
//! Shapes only: what is allowed is in `validate`, what it means in `compile`.
pub mod bounds;
pub mod examples;
mod matching;
mod model;
mod order;
mod rate_limit;
mod release;
mod schema;
mod worker_pool;

pub use matching::*;
pub use model::*;
pub use order::in_schema_order;
pub(crate) use order::resolve;
pub use rate_limit::*;
pub use release::*;
pub use schema::{NOT_SUPPORTED, SCHEMA_PATH, SINCE, published, schemas};
use serde::{Deserialize, Serialize};
pub use worker_pool::*;

/// `apiVersion` of every document.
pub const API_VERSION: &str = "tidegate.dev/v1alpha1";

/// A kind of object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Kind {
    Model,
    WorkerPool,
    ReleasePolicy,
    RateLimitPolicy,
}

impl Kind {
    /// In the order in which a multi-document file is best applied.
    pub const ALL: [Self; 4] = [Self::Model, Self::WorkerPool, Self::ReleasePolicy, Self::RateLimitPolicy];

    /// `Model`, as in `kind:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "Model",
            Self::WorkerPool => "WorkerPool",
            Self::ReleasePolicy => "ReleasePolicy",
            Self::RateLimitPolicy => "RateLimitPolicy",
        }
    }

    /// `models`, as in a URL.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::WorkerPool => "workerpools",
            Self::ReleasePolicy => "releasepolicies",
            Self::RateLimitPolicy => "ratelimitpolicies",
        }
    }

    /// `mdl`, as on a command line.
    pub fn short(self) -> &'static str {
        match self {
            Self::Model => "mdl",
            Self::WorkerPool => "wp",
            Self::ReleasePolicy => "rel",
            Self::RateLimitPolicy => "rlp",
        }
    }

    /// Accepts the kind, its plural, singular or short name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        Self::ALL.into_iter().find(|k| text == k.name().to_ascii_lowercase() || text == k.plural() || text == k.short())
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
