//! Who is on the other end: from the bearer token alone. What a node says of itself is only compared with it.
use std::{fmt::Display, net::SocketAddr, sync::Arc};

use tidegate_policy::ports::{NodeAuth, NodeIdentity, NodeRole};
use tidegate_proto::contract::AUTHORIZATION;
use tonic::metadata::MetadataMap;

use super::refusal::Refusal;
use crate::nodes::{Door, NodeRegistry};

/// The node group of every gateway.
pub const GATEWAY_GROUP: &str = "gateway";

/// The node group of a pool's workers; `pool` reads "<namespace>/<name>".
pub fn worker_group(pool: impl Display) -> String {
    format!("worker/{pool}")
}

/// The node group whose configuration an identity is served.
pub fn group_of(identity: &NodeIdentity) -> String {
    match &identity.role {
        NodeRole::Gateway => GATEWAY_GROUP.to_owned(),
        NodeRole::Worker { pool } => worker_group(pool),
    }
}

/// A checked caller. Keeps the token to notice when it is revoked; never prints it.
pub(crate) struct Authenticated {
    pub identity: NodeIdentity,
    pub peer: Option<SocketAddr>,
    token: String,
    auth: Arc<dyn NodeAuth>,
}

impl Authenticated {
    /// The token is still good for the same node in the same role.
    pub fn still_good(&self) -> bool {
        self.auth.authenticate(&self.token).is_some_and(|identity| identity == self.identity)
    }
}

fn bearer(metadata: &MetadataMap) -> Option<&str> {
    let value = metadata.get(AUTHORIZATION).and_then(|value| value.to_str().ok())?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Remembers why a caller was turned away, for `proxy-status`: under its node when its token was that node's once. True when it is news.
pub(crate) fn remember(
    (auth, nodes): (&Arc<dyn NodeAuth>, &NodeRegistry),
    (metadata, peer): (&MetadataMap, Option<SocketAddr>),
    door: Door,
    refusal: &Refusal,
) -> bool {
    let token = bearer(metadata);
    if let Some(identity) = token.and_then(|token| auth.authenticate(token)) {
        return nodes.refused(&identity, door, refusal);
    }
    match token.and_then(|token| auth.ended(token)) {
        Some(identity) => nodes.refused(&identity, door, &Refusal::Revoked),
        None => nodes.turned_away(peer, door, refusal),
    }
}

/// Checks the `authorization` metadata of a call.
pub(crate) fn authenticate(
    auth: &Arc<dyn NodeAuth>,
    metadata: &MetadataMap,
    peer: Option<SocketAddr>,
) -> Result<Authenticated, Refusal> {
    // Before the store was read no token is known: that is no reason to call one wrong.
    if !auth.is_ready() {
        return Err(Refusal::NotReady);
    }
    let token = bearer(metadata).ok_or(Refusal::Unauthenticated)?.to_owned();
    let identity = auth.authenticate(&token).ok_or(Refusal::Unauthenticated)?;
    Ok(Authenticated { identity, peer, token, auth: auth.clone() })
}
