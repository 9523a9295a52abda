//! All nodes for people: those that are here or were, those that have a token and never came, and callers that were turned away.
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use tidegate_policy::ports::{NodeIdentity, NodeRole};
use utoipa::ToSchema;

use super::{NodeRegistry, NodeState, NodeStatus, RefusedCaller, pool, view::role_name};
use crate::ads::group_of;

/// A node that is gone and has no token any more is shown this long after it was refused last.
const SHOWN: TimeDelta = TimeDelta::minutes(10);

/// Roles of the nodes that have a token, by node id.
pub type Tokens = BTreeMap<String, NodeRole>;

/// What the store knows of nodes.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub tokens: &'a Tokens,
    /// Whether there is a WorkerPool "<namespace>/<name>".
    pub has_pool: &'a dyn Fn(&str) -> bool,
}

/// The answer of `/api/v1/nodes`.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodesAnswer {
    pub items: Vec<NodeStatus>,
    /// Callers whose token is missing or not known, by address.
    pub refused_callers: Vec<RefusedCaller>,
}

impl NodeRegistry {
    /// Everything about nodes. `known`: None until the store was read.
    pub fn overview(&self, known: Option<Known<'_>>, now: DateTime<Utc>) -> NodesAnswer {
        let refused_callers = self.lock().callers.list();
        let mut items = self.list();
        if let Some(Known { tokens, has_pool }) = known {
            items
                .retain(|node| node.is_here() || tokens.contains_key(&node.node_id) || node.refused_since(now - SHOWN));
            let came: BTreeSet<&str> = items.iter().map(|node| node.node_id.as_str()).collect();
            let never = tokens.iter().filter(|(id, _)| !came.contains(id.as_str()));
            let never: Vec<NodeStatus> = never.map(|(id, role)| never_came(id, role)).collect();
            items.extend(never);
            items.sort_by(|a, b| a.node_id.cmp(&b.node_id));
            for node in &mut items {
                if !tokens.contains_key(&node.node_id) {
                    node.notes.push("it has no node token any more".to_owned());
                }
                if let Some(pool) = node.pool.as_deref().filter(|pool| !has_pool(pool)) {
                    node.notes.push(format!(
                        "WorkerPool {pool} does not exist: the worker is told nothing and gets no requests"
                    ));
                }
            }
        }
        NodesAnswer { items, refused_callers }
    }
}

impl NodeStatus {
    fn is_here(&self) -> bool {
        self.connected || self.worker.as_ref().is_some_and(|worker| worker.connected)
    }

    fn refused_since(&self, since: DateTime<Utc>) -> bool {
        self.refused.iter().any(|refusal| refusal.last >= since)
    }
}

fn never_came(node_id: &str, role: &NodeRole) -> NodeStatus {
    let identity = NodeIdentity { node_id: node_id.to_owned(), role: role.clone() };
    NodeStatus {
        node_id: node_id.to_owned(),
        role: role_name(role).to_owned(),
        pool: pool(&identity),
        group: group_of(&identity),
        connected: false,
        state: NodeState::NeverConnected,
        since: None,
        address: None,
        variant: None,
        build: String::new(),
        types: Vec::new(),
        worker: None,
        refused: Vec::new(),
        notes: Vec::new(),
    }
}
