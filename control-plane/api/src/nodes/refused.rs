//! Who was turned away, and why: streams of known nodes, and callers whose token says nothing. Counted, not listed: a caller that
//! comes back four times a second is one line. Bounded, and in memory only.
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tidegate_policy::ports::NodeIdentity;
use utoipa::ToSchema;

use super::NodeRegistry;
use crate::ads::Refusal;

/// Addresses of callers that are remembered; beyond it the one that was quiet for longest is forgotten.
const MAX_CALLERS: usize = 64;

/// Which stream was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, ToSchema)]
pub enum Door {
    /// Configuration for gateways and workers.
    Ads,
    /// Reports of workers.
    Fleet,
}

/// Why the control plane turns a node away.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeRefusal {
    pub door: Door,
    /// Stable code, with a page in docs/errors.
    pub code: String,
    pub message: String,
    /// How often since `since`.
    pub count: u64,
    #[schema(value_type = String, format = DateTime)]
    pub since: DateTime<Utc>,
    #[schema(value_type = String, format = DateTime)]
    pub last: DateTime<Utc>,
}

/// A caller whose token is missing or not known: nobody can say which node it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedCaller {
    /// Where it calls from.
    pub address: String,
    #[serde(flatten)]
    pub refusal: NodeRefusal,
}

impl NodeRefusal {
    fn new(door: Door, refusal: &Refusal, now: DateTime<Utc>) -> Self {
        let (code, message) = (refusal.code().to_owned(), refusal.to_string());
        Self { door, code, message, count: 0, since: now, last: now }
    }

    /// Counts one more; true when it is another refusal than before.
    fn again(&mut self, new: Self) -> bool {
        let other = (&self.code, &self.message) != (&new.code, &new.message);
        if other {
            *self = new;
        } else {
            self.last = new.last;
        }
        self.count += 1;
        other
    }

    /// `TG-1413: address ... is not where the report comes from`.
    pub fn text(&self) -> String {
        format!("{}: {}", self.code, self.message)
    }
}

/// Callers without a good token, by address and door.
#[derive(Debug, Default)]
pub(super) struct Callers(BTreeMap<(Option<IpAddr>, Door), NodeRefusal>);

impl Callers {
    fn add(&mut self, from: Option<IpAddr>, refusal: NodeRefusal) -> bool {
        let key = (from, refusal.door);
        if self.0.len() >= MAX_CALLERS && !self.0.contains_key(&key) {
            let quiet = self.0.iter().min_by_key(|(_, known)| known.last).map(|(key, _)| *key);
            quiet.and_then(|key| self.0.remove(&key));
        }
        let new = !self.0.contains_key(&key);
        let other = self.0.entry(key).or_insert_with(|| refusal.clone()).again(refusal);
        new || other
    }

    pub fn list(&self) -> Vec<RefusedCaller> {
        let row = |((from, _), refusal): (&(Option<IpAddr>, Door), &NodeRefusal)| RefusedCaller {
            address: from.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string()),
            refusal: refusal.clone(),
        };
        self.0.iter().map(row).collect()
    }
}

impl NodeRegistry {
    /// A stream of this node is refused. True when that is news: it was not, or for another reason.
    pub(crate) fn refused(&self, identity: &NodeIdentity, door: Door, refusal: &Refusal) -> bool {
        if !refusal.is_about_caller() {
            return false;
        }
        let refusal = NodeRefusal::new(door, refusal, Utc::now());
        let mut inner = self.lock();
        let record = inner.record(identity);
        let new = !record.refused.contains_key(&door);
        let other = record.refused.entry(door).or_insert_with(|| refusal.clone()).again(refusal);
        drop(inner);
        if new || other {
            self.changed();
        }
        new || other
    }

    /// A caller is refused before it is known who it is. True when that is news.
    pub(crate) fn turned_away(&self, from: Option<SocketAddr>, door: Door, refusal: &Refusal) -> bool {
        if !refusal.is_about_caller() {
            return false;
        }
        let refusal = NodeRefusal::new(door, refusal, Utc::now());
        self.lock().callers.add(from.map(|address| address.ip().to_canonical()), refusal)
    }

    /// What nodes are refused now, by node.
    pub fn refusals(&self) -> Vec<(NodeIdentity, NodeRefusal)> {
        let inner = self.lock();
        let of = |record: &super::Record| {
            record.refused.values().map(|refusal| (record.identity.clone(), refusal.clone())).collect::<Vec<_>>()
        };
        inner.nodes.values().flat_map(of).collect()
    }
}
