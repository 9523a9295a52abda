//! One resource as it goes over the wire: encoded once when it is published, shared by every stream of both variants.
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::{resources::Resource, wire};

/// An encoded resource.
///
/// `wire` is a whole `envoy.service.discovery.v3.Resource` message whose last field is its `Any`. The tag of that field is
/// 2, and so is the tag of `resources` in `DiscoveryResponse`: hence the tail of the same bytes, from `any_at`, is at the
/// same time a complete `resources` field of a state-of-the-world response. One buffer serves both variants.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    name: Arc<str>,
    version: Arc<str>,
    wire: Bytes,
    any_at: usize,
    fingerprint: u128,
}

impl Entry {
    /// Encodes a resource. O(size).
    pub fn new(type_url: &str, name: &str, resource: &Resource) -> Self {
        let any_len = wire::field_len(type_url.len()) + wire::field_len(resource.body.len());
        let head = wire::field_len(resource.version.len()) + wire::field_len(name.len());
        let mut out = BytesMut::with_capacity(head + wire::field_len(any_len));
        wire::put_field(&mut out, 1, resource.version.as_bytes());
        wire::put_field(&mut out, 3, name.as_bytes());
        let any_at = out.len();
        wire::put_key(&mut out, 2, any_len);
        wire::put_field(&mut out, 1, type_url.as_bytes());
        wire::put_key(&mut out, 2, resource.body.len());
        out.put_slice(&resource.body);
        Self {
            name: name.into(),
            version: resource.version.as_str().into(),
            wire: out.freeze(),
            any_at,
            fingerprint: fingerprint(name, &resource.version),
        }
    }

    /// The resource's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Hash of the content.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// Bytes of the longer of the two wire forms.
    pub fn wire_len(&self) -> usize {
        self.wire.len()
    }

    /// Adds up over a set of resources to a version of the set that does not depend on order or on the replica.
    pub(crate) fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// A whole `Resource` message (delta).
    pub(crate) fn resource(&self) -> &[u8] {
        &self.wire
    }

    /// A whole `resources` field of a `DiscoveryResponse`, tag included (state of the world).
    pub(crate) fn any_field(&self) -> &[u8] {
        &self.wire[self.any_at..]
    }
}

impl std::fmt::Debug for Entry {
    /// Never prints the body: it may be long.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// The part of one resource in the version of a set: see [`Entry::fingerprint`].
pub(crate) fn fingerprint(name: &str, version: &str) -> u128 {
    let mut hash = Sha256::new();
    hash.update((name.len() as u64).to_le_bytes());
    hash.update(name);
    hash.update(version);
    let digest = hash.finalize();
    digest.iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}
