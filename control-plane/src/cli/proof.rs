//! Before a token is sent over http: the server proves that it knows it (`tidegate_api::credentials::proof`). Over https the
//! certificate says who the server is. It never sends a token.
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use tidegate_api::credentials::proof::{Claim, key_id};

use super::connect::Client;
use crate::error::Error;

/// Longest answer that is read.
const MAX_ANSWER: usize = 64 << 10;

/// What the server at the other end showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    /// It knows the token.
    Knows,
    /// It says that it does not know it. Anybody could say that.
    Unknown,
}

impl Client {
    /// Asks the server to prove that it knows `token`, which it is not told.
    ///
    /// # Errors
    /// TG-1510 when nobody answers; TG-1542 when the proof does not hold; the server's own refusal.
    pub async fn ask_for_proof(&self, token: &str) -> Result<Shown, Error> {
        let nonce = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let (key, base) = (key_id(token), self.base());
        let url = self.url(&["proof"], &[("key", &key), ("nonce", &nonce)]);
        let unreachable = |source: reqwest::Error| self.unreachable(source);
        let mut response = self.http().get(url).send().await.map_err(unreachable)?;
        let (status, peer) = (response.status(), response.remote_addr());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER {
                break;
            }
        }
        let unproven = |reason: String| Error::Unproven { url: base.to_string(), reason };
        if !status.is_success() {
            return Err(match super::connect::problem(&bytes, status) {
                // The server is one of Tidegate, or says so; either way nothing was sent.
                Some(problem) if problem.status >= 500 || problem.status == 429 => Error::Refused(Box::new(problem)),
                Some(_) | None => unproven(format!("it answered {status}")),
            });
        }
        let answer: Value =
            serde_json::from_slice(&bytes).map_err(|_| unproven("its answer is no proof".to_owned()))?;
        let text = |field: &str| answer.get(field).and_then(Value::as_str);
        let (Some(instance), Some(address)) = (text("instance"), text("address")) else {
            return Err(unproven("its answer is no proof".to_owned()));
        };
        let Some(proof) = text("proof") else { return Ok(Shown::Unknown) };
        let address = address.parse().map_err(|_| unproven(format!("it says that it listens at {address:?}")))?;
        let claim = Claim { instance: instance.to_owned(), address };
        // Over https the certificate has named the server, which may be behind a load balancer or a tunnel.
        if base.scheme() == "http" && peer != Some(address) {
            return Err(unproven(format!(
                "a server that listens at {address} answered through it; a forwarded port must have the same address and port on both sides"
            )));
        }
        if claim.is_proven(&nonce, token, proof) {
            Ok(Shown::Knows)
        } else {
            Err(unproven("its proof is wrong".to_owned()))
        }
    }
}
