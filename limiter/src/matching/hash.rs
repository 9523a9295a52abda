//! The two hashes that put a request into one of 10,000 buckets, exactly as Envoy computes them.
//! Never change either: it would move every user of every running release.
use xxhash_rust::xxh64::{Xxh64, xxh64};

/// Every split and every bucket condition is over this many buckets.
pub const BUCKETS: u32 = 10_000;

/// The bucket of a bucket *condition*: xxh64(value, seed) mod 10,000, over the joined value of the header.
/// Envoy: `envoy.matching.matchers.consistent_hashing`.
pub fn bucket(value: &[u8], seed: u64) -> u32 {
    reduce(xxh64(value, seed))
}

/// The bucket of a *split*: xxh64 with seed 0 over `salt:value`. A repeated header gives the hash of all its salted values,
/// sorted by bytes and written one after the other. `None` when the header is absent: then Envoy chooses at random.
///
/// Envoy: `HeaderHashMethod` in `source/common/http/hash_policy.cc`, with a `regex_rewrite` that puts `salt:` in front of
/// every value, and `WeightedCluster.use_hash_policy`.
pub fn split_bucket(salt: &str, values: &[&[u8]]) -> Option<u32> {
    if values.is_empty() {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let mut hash = Xxh64::new(0);
    for value in sorted {
        hash.update(salt.as_bytes());
        hash.update(b":");
        hash.update(value);
    }
    Some(reduce(hash.digest()))
}

fn reduce(hash: u64) -> u32 {
    u32::try_from(hash % u64::from(BUCKETS)).unwrap_or_default()
}

/// The seed of a bucket condition, made from its salt.
pub fn seed(salt: &str) -> u64 {
    xxh64(salt.as_bytes(), 0)
}
