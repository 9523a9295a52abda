//! Tokens of administrators and nodes, and API keys of tenants: making them, and checking tokens from memory.
//! What can be used is returned once and never kept, logged or shown by Debug; only hashes and public keys leave this file
//! for the store. API keys are checked by Envoy, not here.
use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tidegate_policy::ports::{AdminToken, ApiKey, Everything, NodeAuth, NodeIdentity, NodeToken};
use tidegate_proto::contract::{API_KEY_ISSUER, API_KEY_PREFIX};
use zeroize::Zeroizing;

/// How API keys are signed: the JWS `alg`, and with [`key_pair`] the only place that knows it.
pub const API_KEY_ALG: &str = "EdDSA";
/// What an administrator's token begins with.
pub const ADMIN_PREFIX: &str = "tga_";
/// What a node's token begins with.
pub const NODE_PREFIX: &str = "tgn_";

/// The system's random source failed.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct NoRandomness;

/// A text that opens something. Debug shows nothing of it; its memory is cleared when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text, to be written once to whom it belongs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// SHA-256 of a token, as stored.
#[must_use]
pub fn sha256(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    out
}

fn random() -> Result<Zeroizing<[u8; 32]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(bytes.as_mut()).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

fn token(prefix: &str) -> Result<Secret, NoRandomness> {
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random()?.as_ref())).into())
}

/// Makes a token of an administrator: `tga_` and 43 characters, and what to store.
///
/// # Errors
/// [`NoRandomness`].
pub fn make_admin_token(name: &str) -> Result<(Secret, AdminToken), NoRandomness> {
    let secret = token(ADMIN_PREFIX)?;
    let stored = AdminToken { name: name.to_owned(), sha256: sha256(secret.expose()).to_vec() };
    Ok((secret, stored))
}

/// Makes a token of a node: `tgn_` and 43 characters, and what to store.
///
/// # Errors
/// [`NoRandomness`].
pub fn make_node_token(identity: NodeIdentity, now: DateTime<Utc>) -> Result<(Secret, NodeToken), NoRandomness> {
    let secret = token(NODE_PREFIX)?;
    let stored = NodeToken { sha256: sha256(secret.expose()).to_vec(), identity, created_at: now };
    Ok((secret, stored))
}

/// What an API key is to say.
#[derive(Clone, Debug)]
pub struct ApiKeyRequest {
    pub tenant: String,
    pub description: String,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Makes an API key: `tg_` and a JWT (RFC 7519) signed by a key pair of its own. The private half signs this once and is
/// dropped; what is stored is the public JWK (RFC 8037), which can check the key and cannot make one.
///
/// # Errors
/// [`NoRandomness`].
pub fn make_api_key(request: ApiKeyRequest, now: DateTime<Utc>) -> Result<(Secret, ApiKey), NoRandomness> {
    let id = uuid::Uuid::now_v7().simple().to_string();
    let pair = key_pair()?;
    let header = json!({"alg": API_KEY_ALG, "kid": id, "typ": "JWT"});
    let mut claims = json!({"iss": API_KEY_ISSUER, "sub": request.tenant, "jti": id, "iat": now.timestamp()});
    if let (Some(at), Some(claims)) = (request.expires_at, claims.as_object_mut()) {
        claims.insert("exp".to_owned(), at.timestamp().into());
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()).as_ref());
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "alg": API_KEY_ALG, "use": "sig", "kid": id,
        "x": URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
    });
    let stored = ApiKey {
        id,
        tenant: request.tenant,
        description: request.description,
        jwk,
        created_at: now,
        expires_at: request.expires_at,
        revoked_at: None,
    };
    Ok((format!("{API_KEY_PREFIX}{signed}.{signature}").into(), stored))
}

fn key_pair() -> Result<Ed25519KeyPair, NoRandomness> {
    let seed = random()?;
    Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| NoRandomness)
}

/// All good tokens, in memory: nodes and administrators can come back while the database is away. Until it is first filled
/// it admits nobody.
#[derive(Default)]
pub struct TokenTable(ArcSwap<Tokens>);

#[derive(Default)]
struct Tokens {
    /// The store was read at least once.
    filled: bool,
    admins: Vec<([u8; 32], Arc<str>)>,
    nodes: HashMap<[u8; 32], NodeIdentity>,
    /// Tokens that ended since this process started: whoever still comes with one can be named.
    ended: HashMap<[u8; 32], NodeIdentity>,
}

/// Ended tokens that are remembered; beyond it all are forgotten.
const MAX_ENDED: usize = 4096;

impl TokenTable {
    /// A table that admits nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over what the store holds now. Call it after each read of the store; a revoked token ends here.
    pub fn replace(&self, everything: &Everything) {
        let hash = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).ok();
        let admins = everything.admin_tokens.iter();
        let nodes = everything.node_tokens.iter();
        let nodes: HashMap<_, _> = nodes.filter_map(|t| Some((hash(&t.sha256)?, t.identity.clone()))).collect();
        let before = self.0.load();
        let all = before.ended.iter().chain(&before.nodes).filter(|(hash, _)| !nodes.contains_key(*hash));
        let mut ended: HashMap<_, _> = all.map(|(hash, identity)| (*hash, identity.clone())).collect();
        if ended.len() > MAX_ENDED {
            ended.clear();
        }
        self.0.store(Arc::new(Tokens {
            filled: true,
            admins: admins.filter_map(|t| Some((hash(&t.sha256)?, t.name.as_str().into()))).collect(),
            nodes,
            ended,
        }));
    }

    /// Whether the store was read yet. Until then a good token cannot be told from a bad one.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.0.load().filled
    }

    /// Name of the administrator whose token this is. Takes the token, or a whole `Bearer` header value.
    #[must_use]
    pub fn admin(&self, bearer: &str) -> Option<Arc<str>> {
        let presented = sha256(plain(bearer));
        let mut found = None;
        // Every entry is compared, whichever matches.
        for (hash, name) in &self.0.load().admins {
            if bool::from(hash.ct_eq(&presented)) {
                found = Some(Arc::clone(name));
            }
        }
        found
    }
}

impl NodeAuth for TokenTable {
    fn authenticate(&self, bearer: &str) -> Option<NodeIdentity> {
        // The table is keyed by the hash, so the time of a look-up says nothing about a token.
        self.0.load().nodes.get(&sha256(plain(bearer))).cloned()
    }

    fn ended(&self, bearer: &str) -> Option<NodeIdentity> {
        self.0.load().ended.get(&sha256(plain(bearer))).cloned()
    }

    fn is_ready(&self) -> bool {
        self.is_filled()
    }
}

impl std::fmt::Debug for TokenTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tokens = self.0.load();
        f.debug_struct("TokenTable").field("admins", &tokens.admins.len()).field("nodes", &tokens.nodes.len()).finish()
    }
}

/// The token of `Bearer <token>`; a text without the scheme is the token itself.
fn plain(bearer: &str) -> &str {
    match bearer.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) | None => bearer.trim(),
    }
}

#[cfg(test)]
mod tests;
