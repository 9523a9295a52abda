//! Tokens and keys.
use chrono::{Duration, Utc};
use serde_json::json;
use tidegate_policy::ports::{
    AdminToken, ApiKey, CredentialStore, NodeIdentity, NodeRole, NodeToken, ObjectStore, StoreError,
};

use super::store;

fn node_token(node: &str, byte: u8) -> NodeToken {
    NodeToken {
        sha256: vec![byte; 32],
        identity: NodeIdentity { node_id: node.to_owned(), role: NodeRole::Worker { pool: "default/chat".to_owned() } },
        created_at: Utc::now(),
    }
}

fn api_key(id: &str) -> ApiKey {
    ApiKey {
        id: id.to_owned(),
        tenant: "acme".to_owned(),
        description: "test".to_owned(),
        jwk: json!({"kty": "OKP", "x": "abc"}),
        created_at: Utc::now(),
        expires_at: None,
        revoked_at: None,
    }
}

#[tokio::test]
async fn the_name_of_an_admin_token_is_taken_once() {
    let store = store().await;
    let token = AdminToken { name: "first".to_owned(), sha256: vec![1; 32] };
    assert!(store.add_admin_token(&token).await.unwrap());
    let other = AdminToken { sha256: vec![2; 32], ..token };
    assert!(!store.add_admin_token(&other).await.unwrap());
    assert_eq!(store.read_all().await.unwrap().admin_tokens[0].sha256, vec![1; 32]);
}

#[tokio::test]
async fn a_node_has_one_token_and_it_can_be_revoked() {
    let store = store().await;
    store.put_node_token(&node_token("w1", 1)).await.unwrap();
    store.put_node_token(&node_token("w1", 2)).await.unwrap();
    let read = store.read_all().await.unwrap().node_tokens;
    assert_eq!((read.len(), read[0].sha256.clone()), (1, vec![2; 32]));
    assert_eq!(read[0].identity, node_token("w1", 2).identity);
    store.revoke_node_token("w1").await.unwrap();
    assert!(store.read_all().await.unwrap().node_tokens.is_empty());
    assert!(matches!(store.revoke_node_token("w1").await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn a_revoked_or_expired_api_key_is_listed_but_no_longer_in_force() {
    let store = store().await;
    for id in ["a", "b", "c"] {
        store.add_api_key(&api_key(id)).await.unwrap();
    }
    let expired = ApiKey { expires_at: Some(Utc::now() - Duration::seconds(1)), ..api_key("d") };
    store.add_api_key(&expired).await.unwrap();
    let revoked = store.revoke_api_key("b").await.unwrap();
    assert!(revoked.revoked_at.is_some());
    assert_eq!(store.revoke_api_key("b").await.unwrap().revoked_at, revoked.revoked_at, "the first time stays");
    assert!(matches!(store.revoke_api_key("x").await, Err(StoreError::NotFound { .. })));
    let good: Vec<String> = store.read_all().await.unwrap().api_keys.into_iter().map(|k| k.id).collect();
    assert_eq!(good, ["a", "c"]);
    let first = store.list_api_keys(3, None).await.unwrap();
    let rest = store.list_api_keys(3, first.next.as_deref()).await.unwrap();
    let listed: Vec<String> = first.items.into_iter().chain(rest.items).map(|k| k.id).collect();
    assert_eq!(listed, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_private_key_is_refused() {
    let store = store().await;
    let leaky = ApiKey { jwk: json!({"kty": "OKP", "x": "abc", "d": "secret"}), ..api_key("a") };
    assert!(store.add_api_key(&leaky).await.is_err());
    assert!(store.list_api_keys(10, None).await.unwrap().items.is_empty());
}
