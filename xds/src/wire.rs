//! Writes discovery responses by hand, because the resources in them are already encoded.
//! Field numbers: envoy/service/discovery/v3/discovery.proto. A test decodes what is written here with generated code.
use std::sync::Arc;

use bytes::BufMut;

use crate::{entry::Entry, stream::Variant};

/// One response, ready to be written. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// Which message this becomes.
    pub variant: Variant,
    /// Type of every resource in it.
    pub type_url: Arc<str>,
    /// `version_info` (state of the world) or `system_version_info` (delta, for debugging only).
    pub version: String,
    /// Unique on its stream.
    pub nonce: String,
    /// Sorted by name, no name twice.
    pub resources: Vec<Arc<Entry>>,
    /// Delta only: names that are gone or were asked for and do not exist.
    pub removed: Vec<Arc<str>>,
}

impl Response {
    /// Length of the encoded message in bytes.
    pub fn encoded_len(&self) -> usize {
        let resources: usize = match self.variant {
            Variant::Sotw => self.resources.iter().map(|e| e.any_field().len()).sum(),
            Variant::Delta => self.resources.iter().map(|e| field_len(e.resource().len())).sum(),
        };
        let removed: usize = match self.variant {
            Variant::Sotw => 0,
            Variant::Delta => self.removed.iter().map(|name| field_len(name.len())).sum(),
        };
        let texts = [self.version.len(), self.type_url.len(), self.nonce.len()];
        resources + removed + texts.into_iter().filter(|len| *len > 0).map(field_len).sum::<usize>()
    }

    /// Writes `DiscoveryResponse` or `DeltaDiscoveryResponse`.
    pub fn encode(&self, out: &mut impl BufMut) {
        put_text(out, 1, &self.version);
        match self.variant {
            Variant::Sotw => {
                for entry in &self.resources {
                    out.put_slice(entry.any_field());
                }
            }
            Variant::Delta => {
                for entry in &self.resources {
                    put_field(out, 2, entry.resource());
                }
            }
        }
        put_text(out, 4, &self.type_url);
        put_text(out, 5, &self.nonce);
        if self.variant == Variant::Delta {
            for name in &self.removed {
                put_field(out, 6, name.as_bytes());
            }
        }
    }
}

/// Bytes that a length-delimited field takes (tag numbers below 16).
pub(crate) fn field_len(len: usize) -> usize {
    1 + varint_len(len) + len
}

/// Tag and length of a length-delimited field.
pub(crate) fn put_key(out: &mut impl BufMut, tag: u8, len: usize) {
    out.put_u8((tag << 3) | 2);
    let mut rest = len;
    while rest >= 0x80 {
        out.put_u8((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// A length-delimited field.
pub(crate) fn put_field(out: &mut impl BufMut, tag: u8, bytes: &[u8]) {
    put_key(out, tag, bytes.len());
    out.put_slice(bytes);
}

/// proto3 leaves out an empty string.
fn put_text(out: &mut impl BufMut, tag: u8, text: &str) {
    if !text.is_empty() {
        put_field(out, tag, text.as_bytes());
    }
}

fn varint_len(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}
