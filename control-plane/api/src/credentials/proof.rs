//! How a server shows that it knows a token which was not sent to it, before it is sent: whoever holds a token asks with a
//! random number, and only who knows the token (here: its hash) can answer for the address that was asked. A stranger on the
//! port learns nothing, and cannot pass the question on: the server answers for its own address only.
use std::net::SocketAddr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{digest, hmac};

use super::sha256;

/// What the proof is about; another use of the same key would have another text.
const PURPOSE: &str = "tidegate admin server, version 1";
/// Characters of a random number: 32 bytes in base64.
pub const NONCE_CHARS: usize = 43;

/// Names a token without telling it: the hash of its hash, shortened. 20 characters.
#[must_use]
pub fn key_id(token: &str) -> String {
    id_of(&sha256(token))
}

/// As [`key_id`], from what the store holds.
#[must_use]
pub(super) fn id_of(hash: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(&digest::digest(&digest::SHA256, hash).as_ref()[..15])
}

/// What a server says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Its name for as long as it runs.
    pub instance: String,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Claim {
    /// The proof for who asked with `nonce`, by the hash of the token.
    #[must_use]
    pub fn prove(&self, nonce: &str, hash: &[u8; 32]) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&key(hash), self.text(nonce).as_bytes()))
    }

    /// Whether `proof` is the answer to `nonce` of a server that knows `token`. The time it takes says nothing.
    #[must_use]
    pub fn is_proven(&self, nonce: &str, token: &str, proof: &str) -> bool {
        let Ok(proof) = URL_SAFE_NO_PAD.decode(proof) else { return false };
        hmac::verify(&key(&sha256(token)), self.text(nonce).as_bytes(), &proof).is_ok()
    }

    fn text(&self, nonce: &str) -> String {
        format!("{PURPOSE}\n{nonce}\n{}\n{}", self.address, self.instance)
    }
}

fn key(hash: &[u8; 32]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, hash)
}

#[cfg(test)]
mod tests {
    //! Who can prove what.
    use super::*;

    #[test]
    fn only_who_knows_the_token_answers_and_only_for_its_own_address() {
        let claim = Claim { instance: "a".to_owned(), address: "127.0.0.1:9080".parse().unwrap() };
        let proof = claim.prove("n", &sha256("tga_right"));
        assert!(claim.is_proven("n", "tga_right", &proof));
        assert!(!claim.is_proven("m", "tga_right", &proof), "another question");
        assert!(!claim.is_proven("n", "tga_wrong", &proof), "another token");
        let elsewhere = Claim { address: "127.0.0.1:9081".parse().unwrap(), ..claim.clone() };
        assert!(!elsewhere.is_proven("n", "tga_right", &proof), "passed on by somebody at another address");
        let other = Claim { instance: "b".to_owned(), ..claim.clone() };
        assert!(!other.is_proven("n", "tga_right", &proof));
        for bad in ["", "x", "ä", &proof[1..]] {
            assert!(!claim.is_proven("n", "tga_right", bad), "{bad}");
        }
    }

    #[test]
    fn the_name_of_a_token_tells_nothing_of_it() {
        let id = key_id("tga_right");
        assert_eq!((id.len(), &id), (20, &id_of(&sha256("tga_right"))));
        assert_ne!(id, key_id("tga_wrong"));
        assert!(!hex(&sha256("tga_right")).contains(&hex(&URL_SAFE_NO_PAD.decode(&id).unwrap())));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }
}
