//! What a node has, per type, as plain data for `proxy-status` and for an object's `Programmed` condition.
use std::sync::Arc;

/// Where one type of one node stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SyncState {
    /// Everything that is published was sent and ACKed.
    Synced,
    /// Something was sent and not answered, or waits for its turn.
    Stale,
    /// The node refused something, and it has not been replaced since.
    Nacked,
    /// Nothing was sent yet.
    NotSent,
}

/// A resource that a node refused; it is not sent again until it changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    pub name: Arc<str>,
    pub version: Arc<str>,
    /// The node's words, bounded.
    pub error: String,
}

/// One type on one stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypeStatus {
    pub type_url: Arc<str>,
    pub state: SyncState,
    /// Version of all that the node has ACKed, taken together: equal on two nodes when they have the same.
    pub version: String,
    /// The node has ACKed everything of this type up to this publication ([`crate::GroupState::seq`]). Stands still while a
    /// resource is refused or unanswered, so it never claims too much.
    pub generation: u64,
    /// Resources that the node has.
    pub resources: usize,
    /// The node's last error, if it has not been made good since.
    pub error: Option<String>,
    /// Single resources known to be refused. Shared from call to call while nothing changes in it.
    pub refused: Arc<Vec<Refused>>,
    /// When `state` became what it is, in the milliseconds of the machine's `now`.
    pub since_ms: u64,
}
