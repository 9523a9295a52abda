//! `WorkerPool`: what runs where.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds;

/// Workers that all keep the same versions of one model loaded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerPoolSpec {
    pub model_ref: ModelRef,
    /// Versions of the model to keep loaded, at most 16. Changing them swaps weights without a restart. Without a ReleasePolicy,
    /// requests get the first version in the *Model's* order that some pool asks for.
    #[schemars(length(min = 1, max = bounds::MAX_DECLARED), inner(pattern(bounds::LABEL_PART)), extend("uniqueItems" = true))]
    pub versions: Vec<String>,
    /// How many workers; 0 to 64.
    #[serde(default = "one")]
    #[schemars(range(max = bounds::REPLICAS))]
    pub replicas: u32,
    /// Which devices the workers may use. Not supported yet: a worker's devices are set in its own configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub devices: Option<Devices>,
    #[serde(default)]
    pub batching: Batching,
    #[serde(default)]
    pub queue: Queue,
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Labels of the workers. Not supported yet: must be empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub labels: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

/// Name of a Model in the same namespace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelRef {
    /// Of the Model.
    #[schemars(pattern(bounds::NAME))]
    pub name: String,
}

/// Devices of a pool. Not supported yet: a worker's devices are set in its own configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Devices {
    /// Indexes or UUIDs.
    #[serde(default)]
    pub visible: Vec<String>,
    /// Numbers of the cores.
    #[serde(default)]
    pub cores: Vec<u32>,
    /// For example `8Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<String>,
}

/// How requests are put together into engine steps.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Batching {
    /// Rows in one step; 1 to 64.
    #[serde(default = "eight")]
    #[schemars(range(min = 1, max = bounds::BATCH))]
    pub max_batch: u32,
    /// Sequence-length buckets, powers of two. Not supported yet: must be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub buckets: Vec<u32>,
    /// Longest wait for a batch to fill, such as `2ms`; at most `1s`.
    #[serde(default = "two_ms", deserialize_with = "crate::units::duration")]
    #[schemars(pattern(bounds::duration(&bounds::DELAY)))]
    pub max_delay: String,
}

fn eight() -> u32 {
    8
}

fn two_ms() -> String {
    "2ms".to_owned()
}

impl Default for Batching {
    fn default() -> Self {
        Self { max_batch: eight(), buckets: Vec::new(), max_delay: two_ms() }
    }
}

/// The bound of a worker's queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Queue {
    /// Requests waiting or running; 1 to 10,000. One more is answered 429.
    #[serde(default = "default_queue")]
    #[schemars(range(min = 1, max = bounds::QUEUE))]
    pub max_requests: u32,
    /// Prompt and answer tokens together. Not supported yet: must be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub max_tokens: Option<u64>,
    /// Longest wait in the queue. Not supported yet: must be absent (the inference time-out covers the wait).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::units::maybe_duration")]
    #[schemars(extend("x-tidegate-not-supported" = true))]
    pub timeout: Option<String>,
}

fn default_queue() -> u32 {
    256
}

impl Default for Queue {
    fn default() -> Self {
        Self { max_requests: default_queue(), max_tokens: None, timeout: None }
    }
}

/// How long things may take.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// A whole inference, queue included, such as `30s`; 1ms to 1h.
    #[serde(default = "thirty", deserialize_with = "crate::units::duration")]
    #[schemars(pattern(bounds::duration(&bounds::TIMEOUT)))]
    pub inference: String,
    /// How long a replaced version may finish its requests; 1ms to 1h.
    #[serde(default = "thirty", deserialize_with = "crate::units::duration")]
    #[schemars(pattern(bounds::duration(&bounds::TIMEOUT)))]
    pub drain: String,
}

fn thirty() -> String {
    "30s".to_owned()
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { inference: thirty(), drain: thirty() }
    }
}
