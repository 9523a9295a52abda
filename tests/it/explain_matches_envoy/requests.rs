//! Random requests that come close to the policies' conditions: values that hold, values that just fail, repeated and empty
//! headers, bytes that are no UTF-8, names in any case. Seeded.
use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;
use system_tests::envoy_files::{Response, post};
use tidegate_limiter::matching::RequestView;
use tidegate_policy::{
    kinds::{HeaderMatch, Match, MatchType},
    ports::ApiKey,
};

use super::policies::{BUCKET_HEADERS, HEADERS, TAGS, TENANTS, World};

/// What the run must have seen often enough to prove anything.
pub const MUST_HAPPEN: &[&str] = &[
    "Exact holds",
    "Exact fails",
    "Prefix holds",
    "Prefix fails",
    "Regex holds",
    "Regex fails",
    "Semver holds",
    "Semver fails",
    "Present holds",
    "Present fails",
    "Tag holds",
    "Tag fails",
    "Tenant holds",
    "Tenant fails",
    "Bucket holds",
    "Bucket fails",
    "rule to stable",
    "rule to candidate",
    "split to stable",
    "split to candidate",
    "split without key",
    "split by repeated key",
    "split by empty key",
    "repeated header",
    "empty header",
    "non-UTF-8 header",
];

/// Values that are interesting to some condition.
const VALUES: &[&[u8]] = &[
    b"",
    b"beta",
    b"Beta",
    b"bet",
    b"betas",
    b"canary",
    b"v2",
    b"v2.1",
    b"v2.1.4",
    b"2.1.0",
    b"v2.1.0+b.7",
    b"2.1.0-rc.1",
    b"2.2.0",
    b"2.0.9",
    b"2",
    b"3.0.0",
    b"1.2",
    b"1.2.99",
    b"01.2",
    b"0.3.1",
    b"0.4.0",
    b"v20",
    b"v2.",
    b"a",
    b"b",
    b"a,b",
    b"a, b",
    b"b,a",
    b"ab",
    b"axb",
    b"a\xffb",
    b"a\xc3\xa9b",
    b"c\xff",
    b"\xff",
    b"\xed\xa0\x80",
    b"gr\xc3\xb6\xc3\x9fe",
    b"gr\xf6\xdfe",
    b"GR",
    b"abcabcx",
    b"abx",
    b"12.345",
    b"12.3456",
    b"x y",
    b"x  y",
    b"bbbb",
    b"\xf0\x82\x82\xac",
    b"a\tb",
];

/// A request as bytes on the wire and as `explain` is asked about it.
#[derive(Debug)]
pub struct Request {
    pub model: String,
    pub tenant: Option<&'static str>,
    /// In order, names in any case.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Request {
    pub fn random(world: &World, seed: u64, n: usize) -> Vec<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        (0..n).map(|_| Self::one(world, &mut rng)).collect()
    }

    fn one(world: &World, rng: &mut StdRng) -> Self {
        let target = world.snapshot.targets.choose(rng).unwrap();
        let mut tenant = [None, Some(TENANTS[0]), Some(TENANTS[1])].choose(rng).copied().unwrap();
        let mut headers = Vec::new();
        if let Some(rule) = target.rules.choose(rng) {
            for condition in world.matches(&rule.id) {
                if rng.random_bool(0.85) {
                    aim(condition, rng, &mut headers, &mut tenant);
                }
            }
        }
        for name in HEADERS.iter().map(|h| (*h).to_owned()).chain(TAGS.iter().map(|t| format!("x-tag-{t}"))) {
            if rng.random_bool(0.2) {
                add(&mut headers, rng, &name, any_value);
            }
        }
        for name in BUCKET_HEADERS.into_iter().chain(["x-session"]) {
            if rng.random_bool(0.6) {
                add(&mut headers, rng, name, |rng| match rng.random_range(0..20) {
                    0..3 => any_value(rng),
                    3..5 => Vec::new(),
                    _ => key(rng),
                });
            }
        }
        Self { model: target.model_id.clone(), tenant, headers }
    }

    /// The request as sent.
    pub fn bytes(&self, world: &World) -> Vec<u8> {
        let mut headers = self.headers.clone();
        if let Some(tenant) = self.tenant {
            headers.push(("Authorization".to_owned(), world.keys[tenant].clone()));
        }
        post("/v1/embeddings", &json!({"model": self.model, "input": "x"}).to_string(), &headers)
    }

    /// Headers as conditions see them.
    pub fn lower_case(&self) -> Vec<(String, Vec<u8>)> {
        self.headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.clone())).collect()
    }

    pub fn view<'a>(&'a self, lower_case: &'a [(String, Vec<u8>)]) -> RequestView<'a> {
        RequestView { headers: lower_case, tenant: self.tenant }
    }

    /// Notes what this request exercised.
    pub fn count(&self, world: &World, answer: &Response, counts: &mut BTreeMap<String, usize>) {
        let mut note = |what: String| *counts.entry(what).or_default() += 1;
        let headers = self.lower_case();
        let view = self.view(&headers);
        let target = world.target(&self.model);
        for rule in &target.rules {
            for (condition, compiled) in world.matches(&rule.id).iter().zip(&rule.conditions) {
                let outcome = if compiled.holds(&view) { "holds" } else { "fails" };
                if let Match::Tag { .. } = condition {
                    note(format!("Tag {outcome}"));
                }
                note(format!("{} {outcome}", kind(condition)));
            }
        }
        let by = if answer.header("x-tidegate-rule") == target.split.id { "split" } else { "rule" };
        note(format!("{by} to {}", answer.header("x-tidegate-arm")));
        let keys: Vec<_> = headers.iter().filter(|(n, _)| *n == target.split.key_header).collect();
        if by == "split" {
            match keys.as_slice() {
                [] => note("split without key".to_owned()),
                [(_, only)] if only.is_empty() => note("split by empty key".to_owned()),
                [_] => {}
                [_, ..] => note("split by repeated key".to_owned()),
            }
        }
        for (name, value) in &headers {
            if headers.iter().filter(|(n, _)| n == name).count() > 1 {
                note("repeated header".to_owned());
            }
            if value.is_empty() {
                note("empty header".to_owned());
            }
            if std::str::from_utf8(value).is_err() {
                note("non-UTF-8 header".to_owned());
            }
        }
    }
}

impl World {
    /// The conditions of a rule as written.
    pub fn matches(&self, rule_id: &str) -> &[Match] {
        let (owner, position) = rule_id.split_once("/rules/").unwrap();
        &self.policies[owner].spec.rules[position.parse::<usize>().unwrap()].matches
    }
}

fn kind(condition: &Match) -> String {
    match condition {
        Match::Header { header: h } | Match::Tag { tag: h } => format!("{:?}", h.op),
        Match::Tenant { .. } => "Tenant".to_owned(),
        Match::Bucket { .. } => "Bucket".to_owned(),
    }
}

fn aim(condition: &Match, rng: &mut StdRng, headers: &mut Vec<(String, Vec<u8>)>, tenant: &mut Option<&'static str>) {
    match condition {
        Match::Header { header } => add(headers, rng, &header.name, |rng| near(header, rng)),
        Match::Tag { tag } => add(headers, rng, &format!("x-tag-{}", tag.name), |rng| near(tag, rng)),
        Match::Tenant { tenant: wanted } => *tenant = TENANTS.into_iter().find(|t| *t == wanted.name),
        Match::Bucket { bucket } => add(headers, rng, &bucket.header, key),
    }
}

/// Mostly a value that holds.
fn near(header: &HeaderMatch, rng: &mut StdRng) -> Vec<u8> {
    let text = header.value.as_deref().unwrap_or_default();
    match header.op {
        MatchType::Exact if rng.random_bool(0.8) => text.as_bytes().to_vec(),
        MatchType::Prefix if rng.random_bool(0.8) => [text.as_bytes(), VALUES.choose(rng).unwrap()].concat(),
        MatchType::Regex if rng.random_bool(0.8) => {
            let compiled = tidegate_limiter::matching::full_match(text).unwrap();
            let held: Vec<_> = VALUES.iter().filter(|v| compiled.is_match(v)).collect();
            held.choose(rng).map_or_else(Vec::new, |v| v.to_vec())
        }
        MatchType::Semver => {
            format!("{}{}", if rng.random() { "v" } else { "" }, text.trim_start_matches(['^', '~', '=']))
                .replace('x', "4")
                .into_bytes()
        }
        MatchType::Exact | MatchType::Prefix | MatchType::Regex | MatchType::Present => any_value(rng),
    }
}

fn any_value(rng: &mut StdRng) -> Vec<u8> {
    VALUES.choose(rng).unwrap().to_vec()
}

fn key(rng: &mut StdRng) -> Vec<u8> {
    format!("user-{}", rng.random_range(0..100_000)).into_bytes()
}

/// Adds a header in random case; now and then twice, or cut at a comma.
fn add(
    headers: &mut Vec<(String, Vec<u8>)>,
    rng: &mut StdRng,
    name: &str,
    mut value: impl FnMut(&mut StdRng) -> Vec<u8>,
) {
    let value_now = value(rng);
    let mut parts = vec![value_now.trim_ascii().to_vec()];
    if rng.random_bool(0.15) {
        parts = value_now.split(|b| *b == b',').map(|p| p.trim_ascii().to_vec()).collect();
        if parts.len() == 1 {
            parts.push(value(rng).trim_ascii().to_vec());
        }
    }
    for part in parts {
        let name = name.chars().map(|c| if rng.random_bool(0.2) { c.to_ascii_uppercase() } else { c }).collect();
        let at = rng.random_range(0..=headers.len());
        headers.insert(at, (name, part));
    }
}

/// One API key per tenant, as stored and as a client sends it.
pub fn keys() -> (Vec<ApiKey>, BTreeMap<&'static str, Vec<u8>>) {
    let mut stored = Vec::new();
    let mut sent = BTreeMap::new();
    for (i, tenant) in TENANTS.into_iter().enumerate() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[u8::try_from(i).unwrap() + 1; 32]).unwrap();
        let id = format!("key-{i}");
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!(
            "{}.{}",
            part(json!({"alg": "EdDSA", "kid": id})),
            part(json!({"iss": "tidegate", "sub": tenant, "jti": id}))
        );
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(text.as_bytes()));
        sent.insert(tenant, format!("Bearer tg_{text}.{signature}").into_bytes());
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        stored.push(ApiKey {
            id: id.clone(),
            tenant: tenant.to_owned(),
            description: String::new(),
            jwk: json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": id, "x": x}),
            created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            expires_at: None,
            revoked_at: None,
        });
    }
    (stored, sent)
}
