//! Tokens of administrators and nodes, and API keys of tenants: making them, and checking tokens from memory.
//! What can be used is returned once and never kept, logged or shown by Debug; only hashes and public keys leave this file
//! for the store. API keys are checked by Envoy, not here.
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};
use tidegate_policy::ports::{AdminToken, ApiKey, NodeIdentity, NodeToken};
use tidegate_proto::contract::{API_KEY_ISSUER, API_KEY_PREFIX};
use zeroize::Zeroizing;

mod table;

pub use table::TokenTable;

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
    let stored = stored_admin_token(name, secret.expose());
    Ok((secret, stored))
}

/// What to store of an administrator's token.
#[must_use]
pub fn stored_admin_token(name: &str, token: &str) -> AdminToken {
    AdminToken {
        id: uuid::Uuid::now_v7().simple().to_string(),
        name: name.to_owned(),
        sha256: sha256(token).to_vec(),
        created_at: Utc::now(),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    }
}

/// Makes a token of a node: `tgn_` and 43 characters, and what to store.
///
/// # Errors
/// [`NoRandomness`].
pub fn make_node_token(identity: NodeIdentity, now: DateTime<Utc>) -> Result<(Secret, NodeToken), NoRandomness> {
    let secret = token(NODE_PREFIX)?;
    let sha256 = sha256(secret.expose()).to_vec();
    let stored = NodeToken { sha256, identity, created_at: now, ends_at: None, last_used_at: None };
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

/// The token of `Bearer <token>`; a text without the scheme is the token itself.
fn plain(bearer: &str) -> &str {
    match bearer.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) | None => bearer.trim(),
    }
}

pub mod proof;
#[cfg(test)]
mod tests;
