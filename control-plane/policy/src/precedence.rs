//! Which rule decides when several match: one total order over every match type and combination. The table is
//! docs/reference/precedence.md, and a test holds the two together.
use std::cmp::Ordering;

use chrono::{DateTime, Utc};

use crate::{
    kinds::{Match, MatchType},
    snapshot::ObjectRef,
};

/// How specific one condition is; the smaller, the sooner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rank {
    Tenant,
    Exact,
    Semver,
    Regex,
    Prefix,
    Present,
    Bucket,
}

impl Rank {
    /// From the most to the least specific.
    pub const ALL: [Self; 7] =
        [Self::Tenant, Self::Exact, Self::Semver, Self::Regex, Self::Prefix, Self::Present, Self::Bucket];

    /// The rank of a condition. A tag ranks as the header that it is.
    pub fn of(condition: &Match) -> Self {
        match condition {
            Match::Tenant { .. } => Self::Tenant,
            Match::Bucket { .. } => Self::Bucket,
            Match::Header { header: h } | Match::Tag { tag: h } => match h.op {
                MatchType::Exact => Self::Exact,
                MatchType::Semver => Self::Semver,
                MatchType::Regex => Self::Regex,
                MatchType::Prefix => Self::Prefix,
                MatchType::Present => Self::Present,
            },
        }
    }
}

/// The place of a rule in its table; the smallest decides first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Precedence {
    /// Most specific first.
    ranks: Vec<Rank>,
    /// Bytes of all prefixes together.
    prefix_bytes: usize,
    /// Buckets of all bucket conditions together.
    buckets: u64,
    created_at: DateTime<Utc>,
    owner: ObjectRef,
    position: usize,
}

impl Precedence {
    /// The place of rule `position` of the policy `owner`.
    pub fn new(matches: &[Match], created_at: DateTime<Utc>, owner: ObjectRef, position: usize) -> Self {
        let mut ranks: Vec<Rank> = matches.iter().map(Rank::of).collect();
        ranks.sort_unstable();
        let prefix_bytes = matches.iter().map(prefix_len).sum();
        let buckets = matches.iter().map(bucket_width).sum();
        Self { ranks, prefix_bytes, buckets, created_at, owner, position }
    }

    fn key(&self) -> (std::cmp::Reverse<usize>, u64, DateTime<Utc>, &ObjectRef, usize) {
        (std::cmp::Reverse(self.prefix_bytes), self.buckets, self.created_at, &self.owner, self.position)
    }
}

fn prefix_len(condition: &Match) -> usize {
    match condition {
        Match::Header { header: h } | Match::Tag { tag: h } if h.op == MatchType::Prefix => {
            h.value.as_ref().map_or(0, String::len)
        }
        Match::Header { .. } | Match::Tag { .. } | Match::Tenant { .. } | Match::Bucket { .. } => 0,
    }
}

fn bucket_width(condition: &Match) -> u64 {
    match condition {
        Match::Bucket { bucket } => u64::from(bucket.to.saturating_sub(bucket.from)),
        Match::Header { .. } | Match::Tag { .. } | Match::Tenant { .. } => 0,
    }
}

/// Compares rank by rank; where one list ends, the longer one is more specific.
fn by_ranks(a: &[Rank], b: &[Rank]) -> Ordering {
    let first_difference = a.iter().zip(b).map(|(x, y)| x.cmp(y)).find(|o| o.is_ne());
    first_difference.unwrap_or_else(|| b.len().cmp(&a.len()))
}

impl Ord for Precedence {
    fn cmp(&self, other: &Self) -> Ordering {
        by_ranks(&self.ranks, &other.ranks).then_with(|| self.key().cmp(&other.key()))
    }
}

impl PartialOrd for Precedence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
