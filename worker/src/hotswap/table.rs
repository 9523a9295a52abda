//! What answers requests now. Immutable: a swap stores a new table, requests keep the version that they found.
use std::{sync::Arc, time::Duration};

use http::HeaderValue;

use super::plan::{Instance, VersionKey};
use crate::{
    error::{RequestError, shortened},
    lane::LaneHandle,
};

/// A version that answers.
pub struct Serving {
    pub instance: Instance,
    pub key: VersionKey,
    pub model_id: Arc<str>,
    /// The version's name as a response header.
    pub header: HeaderValue,
    /// Beginning of the digest, for `system_fingerprint`.
    pub fingerprint: String,
    pub lane: LaneHandle,
    /// Seconds since 1970 when it was loaded, for `/v1/models`.
    pub loaded_at: u64,
}

/// How the pool wants requests to be handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolSettings {
    /// A whole inference, its wait included.
    pub inference: Duration,
    /// How long a replaced version may finish its requests.
    pub drain: Duration,
    /// Requests waiting or running.
    pub max_requests: usize,
    /// Rows of one engine step.
    pub max_batch: u32,
    /// Longest wait for a batch of embeddings to fill.
    pub max_delay: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            inference: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            max_requests: 256,
            max_batch: 8,
            max_delay: Duration::from_millis(2),
        }
    }
}

/// All versions that answer, and which one does when a request names none.
#[derive(Default)]
pub struct Table {
    pub versions: Vec<Arc<Serving>>,
    pub default: Option<Arc<Serving>>,
    pub pool: PoolSettings,
}

impl Table {
    /// The version for a request: the one that the gateway named, or the default; and it must be of the model asked for.
    pub fn pick(&self, named: Option<&str>, model: &str) -> Result<&Arc<Serving>, RequestError> {
        let Some(default) = &self.default else { return Err(RequestError::NotReady) };
        let Some(named) = named else {
            let same_model = || self.versions.iter().find(|serving| *serving.model_id == *model);
            let found = if *default.model_id == *model { Some(default) } else { same_model() };
            return found.ok_or_else(|| RequestError::ModelNotFound { model: model.to_owned() });
        };
        let mut of_name = self.versions.iter().filter(|serving| serving.key.name == named).peekable();
        if of_name.peek().is_none() {
            return Err(RequestError::VersionNotHere { version: shortened(named) });
        }
        let found = of_name.find(|serving| *serving.model_id == *model);
        found.ok_or_else(|| RequestError::ModelNotFound { model: model.to_owned() })
    }
}
