//! What REST shows of a node. Plain data in the API's spelling; no token ever gets here.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tidegate_policy::ports::NodeRole;
use tidegate_xds::{SyncState, TypeStatus, Variant};
use utoipa::ToSchema;

use super::{NodeRefusal, Record, pool};

/// One node.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    pub node_id: String,
    /// `Gateway` or `Worker`.
    pub role: String,
    /// "<namespace>/<name>" of a worker's pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Node group whose configuration it is served.
    pub group: String,
    /// It has an ADS stream.
    pub connected: bool,
    pub state: NodeState,
    /// Since when it is (not) connected; absent for a node that never came.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<DateTime<Utc>>,
    /// Where its stream comes (came) from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `Delta` or `StateOfTheWorld`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Program and version, in the node's own words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build: String,
    pub types: Vec<NodeTypeStatus>,
    /// Of a worker: what it reported last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerView>,
    /// Its streams that the control plane turns away, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<NodeRefusal>,
    /// What else keeps it from being of use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How a node stands with the control plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub enum NodeState {
    /// It has an ADS stream.
    Connected,
    /// It had one. What it has is not known to be what is published.
    Disconnected,
    /// It has a node token and did not come since this control plane started.
    NeverConnected,
}

/// One type on a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeTypeStatus {
    pub type_url: String,
    /// `SYNCED`, `STALE`, `NACKED` or `NOT_SENT`; `DISCONNECTED` while the node has no stream: it is told nothing.
    pub state: String,
    /// Equal on two nodes when they have the same resources.
    pub version: String,
    /// The publication up to which everything is ACKed.
    pub generation: u64,
    pub resources: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedResource>,
    #[schema(value_type = String, format = DateTime)]
    pub since: DateTime<Utc>,
}

/// A resource that a node refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedResource {
    pub type_url: String,
    /// Empty when it is not known which resource of a response it was.
    pub name: String,
    pub version: String,
    pub error: String,
}

/// What a worker reported last.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerView {
    /// The fleet stream is open.
    pub connected: bool,
    pub incarnation: String,
    /// Where it serves the OpenAI API.
    pub address: String,
    /// `Starting`, `Ready` or `Draining`.
    pub state: String,
    pub versions: Vec<WorkerVersion>,
    pub load: WorkerLoad,
    pub labels: BTreeMap<String, String>,
    pub build: String,
    #[schema(value_type = String, format = DateTime)]
    pub reported_at: DateTime<Utc>,
}

/// One version on a worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerVersion {
    pub name: String,
    /// `Loading`, `Serving`, `Draining` or `Failed`.
    pub state: String,
    pub digest: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// It answers from files or settings that are no longer wanted under this name: those that are wanted are loading, or could
    /// not be loaded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub outdated: bool,
}

/// Load figures; they never enter compile.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerLoad {
    pub running: u32,
    pub waiting: u32,
    pub requests_total: u64,
    pub rejected_total: u64,
}

impl Record {
    pub(super) fn view(&self, node_id: &str) -> NodeStatus {
        let variant = |variant| match variant {
            Variant::Sotw => "StateOfTheWorld".to_owned(),
            Variant::Delta => "Delta".to_owned(),
        };
        NodeStatus {
            node_id: node_id.to_owned(),
            role: role_name(&self.identity.role).to_owned(),
            pool: pool(&self.identity),
            group: self.group.clone(),
            connected: self.stream.is_some(),
            state: match (self.stream, self.variant) {
                (Some(_), _) => NodeState::Connected,
                (None, Some(_)) => NodeState::Disconnected,
                (None, None) => NodeState::NeverConnected,
            },
            since: Some(self.since),
            address: self.address.map(|address| address.to_string()),
            variant: self.variant.map(variant),
            build: self.build.clone(),
            types: self.standing.types.iter().map(|status| type_view(status, self.stream.is_some())).collect(),
            worker: self.worker.clone(),
            refused: self.refused.values().cloned().collect(),
            notes: Vec::new(),
        }
    }
}

pub(super) fn role_name(role: &NodeRole) -> &'static str {
    match role {
        NodeRole::Gateway => "Gateway",
        NodeRole::Worker { .. } => "Worker",
    }
}

fn type_view(status: &TypeStatus, connected: bool) -> NodeTypeStatus {
    let state = match (connected, status.state) {
        (false, _) => "DISCONNECTED",
        (true, SyncState::Synced) => "SYNCED",
        (true, SyncState::Stale) => "STALE",
        (true, SyncState::Nacked) => "NACKED",
        (true, SyncState::NotSent) => "NOT_SENT",
    };
    let since = i64::try_from(status.since_ms).ok().and_then(DateTime::from_timestamp_millis);
    NodeTypeStatus {
        type_url: status.type_url.to_string(),
        state: state.to_owned(),
        version: status.version.clone(),
        generation: status.generation,
        resources: status.resources,
        error: status.error.clone(),
        refused: refusals(status).filter(|refused| !refused.name.is_empty()).collect(),
        since: since.unwrap_or_default(),
    }
}

/// What a node refuses of a type; one row without a name when only the error is known.
pub(super) fn refusals(status: &TypeStatus) -> impl Iterator<Item = RefusedResource> {
    let row = |name: &str, version: &str, error: &str| RefusedResource {
        type_url: status.type_url.to_string(),
        name: name.to_owned(),
        version: version.to_owned(),
        error: error.to_owned(),
    };
    let named: Vec<_> = status.refused.iter().map(|r| row(&r.name, &r.version, &r.error)).collect();
    let unnamed = status.error.as_ref().filter(|_| named.is_empty()).map(|error| row("", "", error));
    named.into_iter().chain(unnamed)
}
