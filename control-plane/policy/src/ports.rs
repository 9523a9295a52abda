//! What the adapters offer each other: traits only. The store implements them, the servers use them, `run` joins the two.
use std::net::SocketAddr;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
pub use uuid::Uuid;

use crate::{kinds::Kind, snapshot::ObjectRef};

mod credentials;
pub use credentials::*;

/// Kind, namespace and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectKey {
    pub kind: Kind,
    pub object: ObjectRef,
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.object)
    }
}

/// Which door an object came through; only that door may change it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Source {
    Rest,
    File,
    Kubernetes,
}

/// An object as stored. `spec` was valid when it was written.
#[derive(Clone, Debug)]
pub struct StoredObject {
    pub key: ObjectKey,
    pub uid: uuid::Uuid,
    /// Goes up by one when `spec` changes.
    pub generation: i64,
    /// The revision that wrote it last (spec, labels or annotations): `metadata.resourceVersion`.
    pub revision: i64,
    pub created_at: DateTime<Utc>,
    pub source: Source,
    pub labels: Value,
    pub annotations: Value,
    pub spec: Value,
    pub status: Value,
}

/// One write of a batch; the batch succeeds or fails whole.
#[derive(Clone, Debug)]
pub struct Write {
    pub key: ObjectKey,
    pub labels: Value,
    pub annotations: Value,
    pub spec: Value,
    /// `Some(n)`: only if the stored revision is n. `Some(0)`: only if there is none. `Some(ANY_REVISION)`: only if there is
    /// one, whichever.
    pub expected_revision: Option<i64>,
}

/// The next status of one object.
#[derive(Clone, PartialEq, Debug)]
pub struct StatusWrite {
    pub uid: uuid::Uuid,
    pub status: Value,
}

/// See [`Write::expected_revision`]. No object is ever at it.
pub const ANY_REVISION: i64 = -1;

/// Who writes.
#[derive(Clone, Debug)]
pub struct Author {
    /// Name of the admin token, or "file".
    pub name: String,
    pub source: Source,
}

/// What a rollback is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RollbackScope {
    Everything,
    Namespace(String),
    Object(ObjectKey),
}

impl RollbackScope {
    /// The only object, if it is about one.
    pub fn object(&self) -> Option<&ObjectKey> {
        match self {
            Self::Object(key) => Some(key),
            Self::Everything | Self::Namespace(_) => None,
        }
    }

    /// The only namespace, if it is about one.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Object(key) => Some(&key.object.namespace),
            Self::Namespace(name) => Some(name),
            Self::Everything => None,
        }
    }
}

/// What a write did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    Created,
    Configured,
    Unchanged,
    Deleted,
}

/// One line of the history.
#[derive(Clone, Debug)]
pub struct Revision {
    pub revision: i64,
    pub at: DateTime<Utc>,
    pub author: String,
    pub source: Source,
    pub key: ObjectKey,
    pub outcome: Outcome,
    /// The spec after this revision; None after a deletion.
    pub spec: Option<Value>,
}

/// A page of a listing, ordered by (namespace, name) or by revision.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Pass it back as `continue` for the next page.
    pub next: Option<String>,
    /// The newest revision of the store when this page was read.
    pub revision: i64,
}

/// Why the store refused or failed. Each variant is one row of the servers' mapping tables.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// 409: the object changed, or exists, or is gone.
    #[error("{}", conflict(key, *expected, *actual))]
    Conflict { key: String, expected: i64, actual: i64 },
    /// 409: another door owns the object.
    #[error("{key} is owned by {owner:?}; take it over with `tidegate adopt`")]
    OwnedElsewhere { key: String, owner: Source },
    /// 404.
    #[error("{key} does not exist")]
    NotFound { key: String },
    /// 400: a continue token or a revision that does not parse or does not exist.
    #[error("{what}")]
    BadRequest { what: String },
    /// 503: the database did not answer or refused.
    #[error("the policy store cannot be used")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// 503: the database answers, but is none whose answers count: a write could be lost, or it takes none. Nothing was written.
    #[error("{why}")]
    Unfit { code: &'static str, why: String },
    /// 503: more wait for the store than may. Nothing was done.
    #[error("too many {what} at once: {waiting} are waiting; nothing was done, try again in {retry_after_s} s")]
    Busy { what: &'static str, waiting: usize, retry_after_s: u64 },
}

impl StoreError {
    /// Whether the store is at fault and not the request: the same request may succeed later.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Unfit { .. } | Self::Busy { .. } => true,
            Self::Conflict { .. } | Self::OwnedElsewhere { .. } | Self::NotFound { .. } | Self::BadRequest { .. } => {
                false
            }
        }
    }
}

fn conflict(key: &str, expected: i64, actual: i64) -> String {
    match (expected, actual) {
        (0, actual) => format!("{key} exists, at resourceVersion {actual}; it was to be created"),
        (expected, 0) => format!(
            "{key} does not exist any more, and resourceVersion {expected} was asked for; leave metadata.resourceVersion out to create it"
        ),
        (expected, actual) => {
            format!("{key} is at resourceVersion {actual}, not {expected}; read it again, or leave the version out")
        }
    }
}

/// Objects and their history. Every write that answers Ok is on disk.
#[async_trait]
#[allow(clippy::too_many_arguments, reason = "four arguments and the store itself")]
pub trait ObjectStore: Send + Sync {
    /// Writes all or nothing; `dry_run` answers the same and leaves nothing behind. One (object, outcome) per write, in order.
    async fn write(
        &self,
        batch: Vec<Write>,
        author: &Author,
        dry_run: bool,
    ) -> Result<Vec<(StoredObject, Outcome)>, StoreError>;
    async fn get(&self, key: &ObjectKey) -> Result<StoredObject, StoreError>;
    /// `namespace: None` lists all. `limit` is at most 500.
    async fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<StoredObject>, StoreError>;
    async fn delete(
        &self,
        key: &ObjectKey,
        expected_revision: Option<i64>,
        author: &Author,
        dry_run: bool,
    ) -> Result<StoredObject, StoreError>;
    /// Newest first.
    async fn history(
        &self,
        key: Option<&ObjectKey>,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Page<Revision>, StoreError>;
    /// Makes every object of the scope what it was right after `revision`; new revisions are appended, none removed.
    async fn rollback(
        &self,
        revision: i64,
        scope: &RollbackScope,
        author: &Author,
        dry_run: bool,
    ) -> Result<Vec<(StoredObject, Outcome)>, StoreError>;
    /// As `rollback`, but only while the newest revision of the store (of one object: that object's revision, 0 when there is
    /// none) is `on`; else [`StoreError::Conflict`]. So what was checked of a dry run that began at `on` is what is done.
    async fn rollback_on(
        &self,
        on: i64,
        revision: i64,
        scope: &RollbackScope,
        author: &Author,
    ) -> Result<Vec<(StoredObject, Outcome)>, StoreError>;
    /// Moves ownership of an object to the author's door.
    async fn adopt(&self, key: &ObjectKey, author: &Author) -> Result<StoredObject, StoreError>;
    /// Replaces statuses; never touches spec, generation or revision, and does not wait for writers of the objects. Answers the
    /// objects that have theirs now: not those that are gone or that somebody is writing.
    async fn put_statuses(&self, batch: &[StatusWrite]) -> Result<Vec<uuid::Uuid>, StoreError>;
    /// Everything that compile reads, from one consistent read.
    async fn read_all(&self) -> Result<Everything, StoreError>;
    /// Answers when the store can be written.
    async fn ready(&self) -> Result<(), StoreError>;
}

/// One consistent read of the store.
#[derive(Clone, Debug, Default)]
pub struct Everything {
    pub revision: i64,
    pub objects: Vec<StoredObject>,
    pub fleet: Vec<WorkerLease>,
    pub api_keys: Vec<ApiKey>,
    pub node_tokens: Vec<NodeToken>,
    pub admin_tokens: Vec<AdminToken>,
}

/// A fact about the fleet, kept until `expires_at`.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkerLease {
    pub node_id: String,
    pub incarnation: String,
    pub pool: ObjectRef,
    pub address: SocketAddr,
    pub ready: bool,
    pub versions: Vec<LeasedVersion>,
    pub expires_at: DateTime<Utc>,
}

/// What a worker says of one version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeasedVersion {
    pub name: String,
    pub state: VersionState,
    pub error: String,
    /// It answers, but from files or settings that are no longer wanted under its name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outdated: bool,
}

/// See `tidegate.fleet.v1.VersionState`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum VersionState {
    Loading,
    Serving,
    Retiring,
    Draining,
    Failed,
}

/// What became of a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeaseOutcome {
    /// Stored; `changed` when compile would see a difference.
    Held { changed: bool },
    /// Another live node holds this address.
    AddressTaken { by: String },
}

/// Leases of fleet facts.
#[async_trait]
pub trait FleetStore: Send + Sync {
    /// Writes or renews a lease for `ttl_ms`. Facts that compile reads notify when they change; a mere renewal does not.
    async fn hold(&self, lease: &WorkerLease, ttl_ms: u64) -> Result<LeaseOutcome, StoreError>;
    /// Ends a lease now, if it is still this incarnation's.
    async fn release(&self, node_id: &str, incarnation: &str) -> Result<(), StoreError>;
    /// Drops leases that ended; true when any did.
    async fn expire(&self) -> Result<bool, StoreError>;
}

/// What a node may be.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum NodeRole {
    Gateway,
    Worker { pool: ObjectRefText },
}

/// "<namespace>/<name>".
pub type ObjectRefText = String;

/// An authenticated node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NodeIdentity {
    pub node_id: String,
    pub role: NodeRole,
}

/// Checks the token of a gRPC stream; answered from memory, so a node can come back while the database is away.
pub trait NodeAuth: Send + Sync {
    fn authenticate(&self, bearer: &str) -> Option<NodeIdentity>;

    /// Whose token this was, if it ended not long ago.
    fn ended(&self, _bearer: &str) -> Option<NodeIdentity> {
        None
    }

    /// Whether the tokens are known yet; until then a good one cannot be told from a bad one.
    fn is_ready(&self) -> bool {
        true
    }
}
