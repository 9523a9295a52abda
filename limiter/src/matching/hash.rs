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

/// The bucket of a *split*: xxh64 over `salt:value`, seed 0, mod 10,000. The salted values of a repeated header are sorted by
/// bytes, and each is hashed with the hash of the one before as its seed. `None` when the header is absent: then Envoy
/// chooses at random.
///
/// Envoy: `HeaderHashMethod` in `source/common/http/hash_policy.cc`, with a `regex_rewrite` that puts `salt:` in front, and
/// `WeightedCluster.use_hash_policy`.
pub fn split_bucket(salt: &str, values: &[&[u8]]) -> Option<u32> {
    if values.is_empty() {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let salted = sorted.into_iter().map(|value| [salt.as_bytes(), b":", value].concat());
    Some(reduce(salted.fold(0, |hash, value| xxh64(&value, hash))))
}

fn reduce(hash: u64) -> u32 {
    u32::try_from(hash % u64::from(BUCKETS)).unwrap_or_default()
}

/// The seed of a bucket condition, made from its salt.
pub fn seed(salt: &str) -> u64 {
    xxh64(salt.as_bytes(), 0)
}
