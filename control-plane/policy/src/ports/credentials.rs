//! Tokens and keys as they are kept, and the trait of whoever keeps them. Nothing usable is ever stored: hashes and public keys only.
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{NodeIdentity, Page, StoreError};

/// A token of a node, hashed. After a rotation a node has several for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeToken {
    pub sha256: Vec<u8>,
    pub identity: NodeIdentity,
    pub created_at: DateTime<Utc>,
    /// None for the node's newest token; of an earlier one: when it ends.
    pub ends_at: Option<DateTime<Utc>>,
    /// When it last opened something, to about a minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A token of an administrator, hashed. Its name is the author of what is written with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminToken {
    /// Names it for ever, also when another token has its name later.
    pub id: String,
    /// No two tokens that are good have the same.
    pub name: String,
    pub sha256: Vec<u8>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it last opened something, to about a minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// An API key as kept: public half only.
#[derive(Clone, Debug)]
pub struct ApiKey {
    pub id: String,
    pub tenant: String,
    pub description: String,
    pub jwk: Value,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// What became of a new admin token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdminTokenAdded {
    Added,
    /// Another token that is good has the name.
    NameTaken,
    /// The very token was there before and was revoked or has expired: it never comes back.
    Ended,
}

/// What became of an admin token that was to be revoked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AdminTokenRevoked {
    /// Also when it was revoked before.
    Revoked(AdminToken),
    /// Nothing was done: without it nobody would get in.
    IsLast(AdminToken),
}

/// Tokens and keys. Nothing usable is ever stored: hashes and public keys only.
#[async_trait]
pub trait CredentialStore: Send + Sync {
    async fn add_admin_token(&self, token: &AdminToken) -> Result<AdminTokenAdded, StoreError>;
    /// By id; revoked and expired ones too.
    async fn list_admin_tokens(&self, limit: u32, after: Option<&str>) -> Result<Page<AdminToken>, StoreError>;
    /// With `last` also the only one that is good.
    async fn revoke_admin_token(&self, id: &str, last: bool) -> Result<AdminTokenRevoked, StoreError>;
    /// Adds a node's first token. When the node has one already, nothing is done and that one is returned.
    async fn add_node_token(&self, token: &NodeToken) -> Result<Option<NodeToken>, StoreError>;
    /// Gives a node a new token; those that it has end in `grace_ms`, or when they would have ended before.
    async fn rotate_node_token(&self, token: &NodeToken, grace_ms: u64) -> Result<(), StoreError>;
    /// Replaces the node's earlier tokens at once.
    async fn put_node_token(&self, token: &NodeToken) -> Result<(), StoreError> {
        self.rotate_node_token(token, 0).await
    }
    /// By node id, of each node the newest first; those that ended are left out. `after` is a node id.
    async fn list_node_tokens(&self, limit: u32, after: Option<&str>) -> Result<Page<NodeToken>, StoreError>;
    /// Ends all tokens of a node.
    async fn revoke_node_token(&self, node_id: &str) -> Result<(), StoreError>;
    /// Notes when tokens, named by their hashes, were last used. It wakes nobody; hashes that are not known are passed over.
    async fn tokens_used(&self, used: &[(Vec<u8>, DateTime<Utc>)]) -> Result<(), StoreError>;
    async fn add_api_key(&self, key: &ApiKey) -> Result<(), StoreError>;
    async fn list_api_keys(&self, limit: u32, after: Option<&str>) -> Result<Page<ApiKey>, StoreError>;
    async fn revoke_api_key(&self, id: &str) -> Result<ApiKey, StoreError>;
}
