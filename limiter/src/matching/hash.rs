//! The two hashes that put a request into one of 10,000 buckets, exactly as Envoy computes them.
//! Never change either: it would move every user of every running release.
use xxhash_rust::xxh64::xxh64;

/// Every split and every bucket condition is over this many buckets.
pub const BUCKETS: u32 = 10_000;

/// The bucket of a bucket *condition*: xxh64(value, seed) mod 10,000, over the joined value of the header.
/// Envoy: `envoy.matching.matchers.consistent_hashing`.
pub fn bucket(value: &[u8], seed: u64) -> u32 {
    reduce(xxh64(value, seed))
}

/// The bucket of a *split*: xxh64(`salt:value`, seed 0) mod 10,000, over the joined value of the header.
///
/// Envoy: `HeaderHashMethod` in `source/common/http/hash_policy.cc`, with a `regex_rewrite` that puts `salt:` in front, and
/// `WeightedCluster.use_hash_policy`. Envoy would chain the hashes of a repeated header; the gateway joins it before.
pub fn split_bucket(salt: &str, value: &[u8]) -> u32 {
    reduce(xxh64(&[salt.as_bytes(), b":", value].concat(), 0))
}

fn reduce(hash: u64) -> u32 {
    u32::try_from(hash % u64::from(BUCKETS)).unwrap_or_default()
}

/// The seed of a bucket condition, made from its salt.
pub fn seed(salt: &str) -> u64 {
    xxh64(salt.as_bytes(), 0)
}
