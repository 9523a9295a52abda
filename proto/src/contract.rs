//! Names that both sides of a wire agree on: headers, type URLs, metadata keys, ids and units.
//! Only constants and formatting of ids live here; never behaviour.

/// Everything under this prefix that a client sends is removed at the gateway.
pub const RESERVED_PREFIX: &str = "x-tidegate-";

/// Response: which arm answered, `stable`, `candidate` or `rule`.
pub const HEADER_ARM: &str = "x-tidegate-arm";
/// Response: id of the rule that picked the arm.
pub const HEADER_RULE: &str = "x-tidegate-rule";
/// Response: generation of the object that the rule came from.
pub const HEADER_GENERATION: &str = "x-tidegate-generation";
/// Request (gateway to worker): which version to run. Response (worker): which version ran.
pub const HEADER_MODEL_VERSION: &str = "x-tidegate-model-version";
/// Request (gateway to worker): the authenticated tenant.
pub const HEADER_TENANT: &str = "x-tidegate-tenant";
/// Response (worker): the request did not begin here and may be sent to another worker.
pub const HEADER_RETRY: &str = "x-tidegate-retry";
/// Request and response id.
pub const HEADER_REQUEST_ID: &str = "x-request-id";

/// A tag `T` of a request is the header `x-tag-T`.
pub const TAG_HEADER_PREFIX: &str = "x-tag-";

/// Type URL of [`crate::worker::ModelSet`].
pub const TYPE_MODEL_SET: &str = "type.googleapis.com/tidegate.worker.v1.ModelSet";
/// Type URL of [`crate::worker::LimitSet`].
pub const TYPE_LIMIT_SET: &str = "type.googleapis.com/tidegate.worker.v1.LimitSet";

/// gRPC metadata and HTTP header that carries `Bearer <token>`.
pub const AUTHORIZATION: &str = "authorization";

/// `iss` of every API key.
pub const API_KEY_ISSUER: &str = "tidegate";
/// What every API key begins with, before the compact JWT.
pub const API_KEY_PREFIX: &str = "tg_";

/// Key in the ADS node metadata: "<namespace>/<pool>" of a worker.
pub const NODE_POOL: &str = "tidegate.pool";
/// Key in the ADS node metadata: "ip:port" of a worker.
pub const NODE_ADDRESS: &str = "tidegate.address";

/// How long a gateway keeps an unused connection to a worker, seconds; a worker keeps it longer, so that it does not close one
/// just as it is picked.
pub const GATEWAY_IDLE_SECONDS: u64 = 20;

/// Most versions that a pool may ask its workers to keep.
pub const MAX_DECLARED_VERSIONS: usize = 16;
/// Most versions beside those that a worker keeps because a route still points at them: as many as a model may have.
pub const MAX_RETAINED_VERSIONS: usize = 32;
