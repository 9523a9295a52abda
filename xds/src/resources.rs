//! What is served: encoded resources by type and name. Whoever makes them encodes them once; every stream shares the bytes.
use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// A type URL, `type.googleapis.com/…`.
pub type TypeUrl = &'static str;

/// One encoded resource message (the value of its `Any`), with the hash of its bytes as version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resource {
    /// First 16 hex digits of SHA-256 over `body`.
    pub version: String,
    /// The protobuf encoding of the message itself, without the `Any` around it.
    pub body: Bytes,
}

impl Resource {
    /// Wraps an encoded message.
    pub fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let digest = Sha256::digest(&body);
        let version = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        Self { version, body }
    }
}

/// Everything that one node group is served, by type URL, then name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResourceSet {
    types: BTreeMap<TypeUrl, BTreeMap<String, Resource>>,
}

impl ResourceSet {
    /// Adds or replaces one resource.
    pub fn insert(&mut self, type_url: TypeUrl, name: impl Into<String>, body: impl Into<Bytes>) {
        self.types.entry(type_url).or_default().insert(name.into(), Resource::new(body));
    }

    /// Resources of one type, by name.
    pub fn of_type(&self, type_url: &str) -> Option<&BTreeMap<String, Resource>> {
        self.types.get(type_url)
    }

    /// All types with their resources.
    pub fn iter(&self) -> impl Iterator<Item = (TypeUrl, &BTreeMap<String, Resource>)> {
        self.types.iter().map(|(url, map)| (*url, map))
    }
}
