//! The documented order of precedence (docs/reference/precedence.md), written a second time and on purpose differently from
//! `tidegate_policy::precedence`: whoever changes that one must change this one, and then knows that it is a change.
use std::cmp::Reverse;

use tidegate_policy::kinds::{Match, MatchType};

use super::{policies::World, requests::Request};

/// Id of the rule that decides, of all that hold; None: the split decides.
pub fn winner(world: &World, request: &Request) -> Option<String> {
    let target = world.target(&request.model);
    let headers = request.lower_case();
    let view = request.view(&headers);
    let holding = target.rules.iter().filter(|r| r.conditions.iter().all(|c| c.holds(&view)));
    holding.min_by_key(|rule| place(world, &rule.id)).map(|rule| rule.id.clone())
}

type Place = (String, Reverse<usize>, u32, i64, String, usize);

/// Smaller decides sooner. Letters sort as the table does; `~` after all of them makes a longer list sort before its own start.
fn place(world: &World, rule_id: &str) -> Place {
    let (owner, position) = rule_id.split_once("/rules/").unwrap();
    let position: usize = position.parse().unwrap();
    let policy = &world.policies[owner];
    let matches = &policy.spec.rules[position].matches;
    let mut letters: Vec<char> = matches.iter().map(letter).collect();
    letters.sort_unstable();
    let ranks = letters.into_iter().chain(['~']).collect();
    let prefixes = matches.iter().filter_map(header).filter(|h| h.op == MatchType::Prefix);
    let prefix_bytes = prefixes.filter_map(|h| h.value.as_ref()).map(String::len).sum();
    let buckets =
        matches.iter().map(|m| if let Match::Bucket { bucket } = m { bucket.to - bucket.from } else { 0 }).sum();
    (ranks, Reverse(prefix_bytes), buckets, policy.created_at.timestamp(), owner.to_owned(), position)
}

fn header(condition: &Match) -> Option<&tidegate_policy::kinds::HeaderMatch> {
    match condition {
        Match::Header { header: h } | Match::Tag { tag: h } => Some(h),
        Match::Tenant { .. } | Match::Bucket { .. } => None,
    }
}

fn letter(condition: &Match) -> char {
    match condition {
        Match::Tenant { .. } => 'a',
        Match::Bucket { .. } => 'g',
        Match::Header { header: h } | Match::Tag { tag: h } => match h.op {
            MatchType::Exact => 'b',
            MatchType::Semver => 'c',
            MatchType::Regex => 'd',
            MatchType::Prefix => 'e',
            MatchType::Present => 'f',
        },
    }
}
