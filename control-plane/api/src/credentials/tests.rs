//! Tokens and API keys: what is made can be checked with what is stored, and nothing else passes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ring::signature::{ED25519, UnparsedPublicKey};
use tidegate_policy::ports::{Everything, NodeAuth as _, NodeRole};

use super::*;

fn node(id: &str) -> NodeIdentity {
    NodeIdentity { node_id: id.to_owned(), role: NodeRole::Worker { pool: "default/chat".to_owned() } }
}

fn decode(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn a_token_opens_only_until_the_table_no_longer_holds_it() {
    let (admin, stored_admin) = make_admin_token("first").unwrap();
    let (worker, stored_node) = make_node_token(node("w1"), Utc::now()).unwrap();
    assert!(admin.expose().starts_with("tga_") && admin.expose().len() == 47);
    assert!(worker.expose().starts_with("tgn_") && worker.expose().len() == 47);
    let table = TokenTable::new();
    assert_eq!(table.admin(admin.expose()), None, "an empty table admits nobody");
    assert!(!table.is_filled(), "and says that it cannot know");
    table.replace(&Everything {
        admin_tokens: vec![stored_admin],
        node_tokens: vec![stored_node],
        ..Everything::default()
    });
    assert_eq!(table.admin(&format!("Bearer {}", admin.expose())).as_deref(), Some("first"));
    assert_eq!(table.authenticate(&format!("bearer {}", worker.expose())), Some(node("w1")));
    for wrong in ["", "Bearer", "Bearer ", "tga_", &admin.expose()[..46], &format!("{}A", admin.expose())] {
        assert_eq!(table.admin(wrong), None, "{wrong:?}");
        assert_eq!(table.authenticate(wrong), None, "{wrong:?}");
    }
    assert_eq!(table.admin(worker.expose()), None, "a node is no administrator");
    assert_eq!(table.authenticate(admin.expose()), None, "an administrator is no node");
    table.replace(&Everything::default());
    assert!(table.is_filled(), "a store without tokens is an answer");
    assert_eq!(table.admin(admin.expose()), None);
    assert_eq!(table.authenticate(worker.expose()), None);
}

#[test]
fn an_api_key_is_a_jwt_that_its_own_public_key_verifies() {
    let now = Utc::now();
    let request = ApiKeyRequest {
        tenant: "acme".to_owned(),
        description: String::new(),
        expires_at: Some(now + chrono::Duration::hours(1)),
    };
    let (key, stored) = make_api_key(request, now).unwrap();
    let jwt = key.expose().strip_prefix("tg_").unwrap();
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    assert_eq!(decode(header), json!({"alg": "EdDSA", "kid": stored.id, "typ": "JWT"}));
    let exp = now.timestamp() + 3600;
    assert_eq!(
        decode(claims),
        json!({"iss": "tidegate", "sub": "acme", "jti": stored.id, "iat": now.timestamp(), "exp": exp})
    );
    let public = URL_SAFE_NO_PAD.decode(stored.jwk["x"].as_str().unwrap()).unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let verifier = UnparsedPublicKey::new(&ED25519, public);
    verifier.verify(signed.as_bytes(), &signature).unwrap();
    assert!(verifier.verify(b"something else", &signature).is_err());
    assert!(stored.jwk.get("d").is_none(), "the private half is not kept");
}

#[test]
fn two_api_keys_share_no_key_and_no_id() {
    let make = || {
        let request = ApiKeyRequest { tenant: "acme".to_owned(), description: String::new(), expires_at: None };
        make_api_key(request, Utc::now()).unwrap()
    };
    let ((a, first), (b, second)) = (make(), make());
    assert_ne!(a.expose(), b.expose());
    assert_ne!(first.id, second.id);
    assert_ne!(first.jwk["x"], second.jwk["x"]);
}

#[test]
fn debug_shows_no_secret() {
    let (secret, stored) = make_admin_token("a").unwrap();
    let table = TokenTable::new();
    table.replace(&Everything { admin_tokens: vec![stored], ..Everything::default() });
    let shown = format!("{secret:?} {table:?}");
    assert!(!shown.contains("tga_"), "{shown}");
}

#[test]
fn a_token_ends_by_itself_and_its_uses_are_due_once_a_minute() {
    let (live, stored) = make_admin_token("live").unwrap();
    let (over, mut ended) = make_admin_token("over").unwrap();
    ended.expires_at = Some(Utc::now() - chrono::Duration::seconds(1));
    let (old, mut rotated) = make_node_token(node("w1"), Utc::now()).unwrap();
    rotated.ends_at = Some(Utc::now() + chrono::Duration::hours(1));
    let (gone, mut replaced) = make_node_token(node("w1"), Utc::now()).unwrap();
    replaced.ends_at = Some(Utc::now());
    let table = TokenTable::new();
    let everything = Everything {
        admin_tokens: vec![stored.clone(), ended.clone()],
        node_tokens: vec![rotated.clone(), replaced.clone()],
        ..Everything::default()
    };
    table.replace(&everything);
    assert!(table.due().is_empty());
    assert_eq!(table.admin(over.expose()), None);
    assert_eq!(table.authenticate(gone.expose()), None);
    assert!(table.knows(&stored.sha256) && !table.knows(&ended.sha256) && !table.knows(&replaced.sha256));
    assert!(table.admin(live.expose()).is_some() && table.authenticate(old.expose()).is_some());
    assert!(table.knows_node("w1") && !table.knows_node("w2"));
    let mut due: Vec<Vec<u8>> = table.due().into_iter().map(|(hash, _)| hash).collect();
    let mut used = vec![stored.sha256.clone(), rotated.sha256];
    due.sort();
    used.sort();
    assert_eq!(due, used, "what was refused was not used");
    assert!(table.admin(live.expose()).is_some() && table.due().is_empty(), "noted less than a minute ago");
    assert!(table.last_used(&stored.sha256).is_some());
    table.replace(&Everything::default());
    assert!(table.last_used(&stored.sha256).is_none(), "what is gone is forgotten");
}
