//! The compiled form of all policies: what everybody is told. Immutable, plain data, made only by `compile`.
//! Nothing here knows Envoy, Postgres or a socket.
use std::{collections::BTreeMap, net::SocketAddr};

pub use tidegate_limiter::admission::Counter;
use tidegate_limiter::matching::Condition;

use crate::kinds::{ArmName, Kind, ModelVersion, Task, WorkerPoolSpec};

/// Namespace and name of an object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct ObjectRef {
    pub namespace: String,
    pub name: String,
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Everything that one revision of the policies, with the fleet as it is, means.
#[derive(Clone, PartialEq, Debug)]
pub struct Snapshot {
    /// The revision of the newest object that was read.
    pub revision: i64,
    /// One table per Model, by `model_id`.
    pub targets: Vec<Target>,
    /// One arm per routed version of a model, by cluster name; also the arms that are kept for others to drain.
    pub arms: BTreeMap<String, Arm>,
    /// One plan per WorkerPool, also while its model does not exist.
    pub pools: BTreeMap<ObjectRef, PoolPlan>,
    /// Every accepted limit, by id `<namespace>/<policy>/<limit>`.
    pub limits: BTreeMap<String, Limit>,
    /// Public keys of the API keys that are good now, by key id.
    pub api_keys: BTreeMap<String, ApiKeyPublic>,
}

/// All that decides a request for one model.
#[derive(Clone, PartialEq, Debug)]
pub struct Target {
    pub model: ObjectRef,
    /// What a request carries in the body's `model`: the name in namespace `default`, else `<namespace>/<name>`.
    pub model_id: String,
    pub task: Task,
    /// In order: the first whose conditions all hold decides.
    pub rules: Vec<Rule>,
    /// Decides when no rule did.
    pub split: Split,
    /// What the documents name, and what answers for it: one entry per ReleasePolicy, from the oldest, or one for the model itself
    /// when it has none. Nobody is routed by this; it is for people.
    pub named: Vec<NamedArms>,
    /// Ids of the limits on this model (its own and those of its pools), in order.
    pub limits: Vec<String>,
}

/// The arms that one document names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedArms {
    /// ReleasePolicy, or Model.
    pub kind: Kind,
    pub owner: ObjectRef,
    /// The older policy whose weights are in force instead of this one's.
    pub split_shadowed_by: Option<ObjectRef>,
    pub stable: NamedArm,
    pub candidate: Option<NamedArm>,
}

/// A version that a document names, and the one that answers for it now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedArm {
    pub named: String,
    pub standing: Standing,
    /// What is routed.
    pub version: String,
    /// `stable` or `candidate`: the arm that requests get.
    pub label: &'static str,
    /// Of 10,000, as written and in force.
    pub weight: u32,
    /// Rules that lead here.
    pub rules: usize,
}

/// How it stands with a version that a document names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Workers serve it, and it answers.
    Serving,
    /// A pool asks for it, and a worker is on the way to it.
    Loading,
    /// A pool asks for it, and no worker serves it or is on the way to it.
    NotServed,
    /// No pool with replicas asks for it.
    NotWanted,
    /// The Model does not have it.
    NotInModel,
}

/// A rule of a ReleasePolicy, compiled.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// `<namespace>/<policy>/rules/<n>`: Envoy's `Route.name`, the response header, explain's answer.
    pub id: String,
    pub owner: ObjectRef,
    pub owner_generation: i64,
    pub conditions: Vec<Condition>,
    /// The arm that the document names.
    pub to: ArmName,
    /// Cluster name of the arm; a key of [`Snapshot::arms`].
    pub arm: String,
    /// `stable` or `candidate`.
    pub arm_label: String,
}

/// The weighted split at the end of a table.
#[derive(Clone, PartialEq, Debug)]
pub struct Split {
    /// `<namespace>/<policy>/split`, or `<namespace>/<model>/default` without a ReleasePolicy.
    pub id: String,
    pub owner: ObjectRef,
    pub owner_generation: i64,
    /// Lower-case header whose value is hashed. Absent in a request: random.
    pub key_header: String,
    pub salt: String,
    /// In order; weights sum to 10,000. An arm may stand more than once.
    pub intervals: Vec<Interval>,
}

/// A run of buckets that belongs to one arm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interval {
    /// Cluster name of the arm.
    pub arm: String,
    /// `stable` or `candidate`.
    pub arm_label: String,
    pub weight: u32,
}

/// Where requests for one version of one model go: one Envoy cluster.
#[derive(Clone, PartialEq, Debug)]
pub struct Arm {
    /// `model.<namespace>.<name>.<version>`, stable for the life of the version.
    pub cluster: String,
    pub model: ObjectRef,
    pub version: String,
    /// Workers that report this version serving, sorted.
    pub endpoints: Vec<SocketAddr>,
    /// Circuit breaker of each gateway: what the limits without match and counters allow in flight for the whole model, the
    /// smallest one. The same on every arm of a model.
    pub max_concurrency: Option<u32>,
}

/// What the workers of one pool keep loaded.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolPlan {
    pub pool: ObjectRef,
    pub generation: i64,
    pub model: ObjectRef,
    pub model_id: String,
    pub spec: WorkerPoolSpec,
    /// What the pool asks for, in its order, then what is retained. Empty when the model has none of what the pool asks for: then
    /// the workers keep what they have. A worker that is asked without the gateway, which always names a version, takes the first.
    pub versions: Vec<PlannedVersion>,
    /// Ids of the limits that apply at these workers.
    pub limits: Vec<String>,
}

/// A version that a pool serves.
#[derive(Clone, PartialEq, Debug)]
pub struct PlannedVersion {
    pub version: ModelVersion,
    /// Kept only until no route points at it.
    pub retained: bool,
}

/// A limit of a RateLimitPolicy, compiled.
#[derive(Clone, PartialEq, Debug)]
pub struct Limit {
    pub id: String,
    pub owner: ObjectRef,
    pub owner_generation: i64,
    pub conditions: Vec<Condition>,
    pub counters: Vec<Counter>,
    pub requests: Option<RequestRate>,
    pub concurrency: Option<u64>,
    /// Count and report, but admit.
    pub shadow: bool,
}

/// At most `burst + rate * t / window` requests in any interval t, per process that enforces it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestRate {
    pub rate: u64,
    pub window_ms: u64,
    pub burst: u64,
}

/// The public half of an API key: enough to check one, not to make one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKeyPublic {
    /// Key id, the JWT's `kid`.
    pub id: String,
    pub tenant: String,
    /// JWK with `kty`, `crv`, `x`, (`y`), `kid`, `alg`.
    pub jwk: serde_json::Value,
}
