//! Which server this is, and its proof that it knows a token; see [`crate::credentials::proof`]. Open to everybody who can
//! connect: it says nothing to who does not hold a token, and changes nothing.
use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{AdminState, ApiError, Problem, input::InQuery};
use crate::credentials::proof::NONCE_CHARS;

/// Characters of a key's name.
const KEY_CHARS: usize = 20;

/// The question.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Challenge {
    /// Names a token: base64url, without padding, of the first 15 bytes of SHA-256 of SHA-256 of the token.
    #[param(min_length = 20, max_length = 20, pattern = "^[A-Za-z0-9_-]{20}$")]
    pub key: String,
    /// 32 random bytes, base64url without padding.
    #[param(min_length = 43, max_length = 43, pattern = "^[A-Za-z0-9_-]{43}$")]
    pub nonce: String,
}

/// What the server says about itself, and its proof.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Proof {
    /// Name of this server process, new at each start unless it was given one.
    pub instance: String,
    /// Where it listens.
    #[schema(example = "127.0.0.1:9080")]
    pub address: String,
    /// base64url, without padding, of HMAC-SHA256 with SHA-256 of the token as key, over `tidegate admin server, version 1`, the
    /// nonce, the address and the instance, each but the last followed by a line feed. Null when no token has this name.
    pub proof: Option<String>,
}

/// Proof that this server knows a token, asked before the token is sent to it.
#[utoipa::path(get, path = "/proof", tag = "health", security(()), params(Challenge),
    responses((status = 200, description = "What the server says about itself", body = Proof),
              (status = "default", description = "Refused or failed", body = Problem, content_type = "application/problem+json")))]
pub async fn prove(
    State(state): State<AdminState>,
    InQuery(challenge): InQuery<Challenge>,
) -> Result<Json<Proof>, ApiError> {
    let plain = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    for (name, text, length) in [("key", &challenge.key, KEY_CHARS), ("nonce", &challenge.nonce, NONCE_CHARS)] {
        if !plain(text, length) {
            return Err(ApiError::BadQuery { what: format!("{name}: {length} characters of base64url are expected") });
        }
    }
    if !state.tokens.is_filled() {
        return Err(ApiError::NotReady { what: "the tokens have not been read from the store yet" });
    }
    let proof = state.tokens.named(&challenge.key).map(|hash| state.server.prove(&challenge.nonce, &hash));
    Ok(Json(Proof { instance: state.server.instance.clone(), address: state.server.address.to_string(), proof }))
}
