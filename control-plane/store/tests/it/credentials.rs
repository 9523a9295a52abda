//! Tokens and keys.
use chrono::{Duration, Utc};
use serde_json::json;
use tidegate_policy::ports::{
    AdminToken, AdminTokenAdded, AdminTokenRevoked, ApiKey, CredentialStore, NodeIdentity, NodeRole, NodeToken,
    ObjectStore, StoreError,
};

use super::store;

pub fn node_token(node: &str, byte: u8) -> NodeToken {
    NodeToken {
        sha256: vec![byte; 32],
        identity: NodeIdentity { node_id: node.to_owned(), role: NodeRole::Worker { pool: "default/chat".to_owned() } },
        created_at: Utc::now(),
        ends_at: None,
        last_used_at: None,
    }
}

pub fn admin_token(name: &str, byte: u8) -> AdminToken {
    AdminToken {
        id: format!("id-{byte:03}"),
        name: name.to_owned(),
        sha256: vec![byte; 32],
        created_at: Utc::now(),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
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
async fn the_name_of_an_admin_token_is_taken_once_until_it_is_revoked_and_the_token_never_comes_back() {
    let store = store().await;
    let (token, other) = (admin_token("first", 1), admin_token("first", 2));
    assert_eq!(store.add_admin_token(&token).await.unwrap(), AdminTokenAdded::Added);
    assert_eq!(store.add_admin_token(&token).await.unwrap(), AdminTokenAdded::NameTaken);
    assert_eq!(store.add_admin_token(&other).await.unwrap(), AdminTokenAdded::NameTaken);
    assert_eq!(store.read_all().await.unwrap().admin_tokens[0].sha256, vec![1; 32]);
    let AdminTokenRevoked::IsLast(last) = store.revoke_admin_token("id-001", false).await.unwrap() else {
        panic!("nobody would get in")
    };
    assert_eq!((last.name.as_str(), last.revoked_at), ("first", None));
    assert_eq!(store.add_admin_token(&admin_token("second", 3)).await.unwrap(), AdminTokenAdded::Added);
    let AdminTokenRevoked::Revoked(gone) = store.revoke_admin_token("id-001", false).await.unwrap() else { panic!() };
    assert!(gone.revoked_at.is_some());
    assert_eq!(
        store.revoke_admin_token("id-001", false).await.unwrap(),
        AdminTokenRevoked::Revoked(gone),
        "the first time stays"
    );
    assert_eq!(store.add_admin_token(&other).await.unwrap(), AdminTokenAdded::Added, "the name is free again");
    let again = AdminToken { name: "third".to_owned(), ..token };
    assert_eq!(store.add_admin_token(&again).await.unwrap(), AdminTokenAdded::Ended, "what was revoked stays revoked");
    let good: Vec<String> = store.read_all().await.unwrap().admin_tokens.into_iter().map(|t| t.id).collect();
    assert_eq!(good, ["id-002", "id-003"]);
    let first = store.list_admin_tokens(2, None).await.unwrap();
    let rest = store.list_admin_tokens(2, first.next.as_deref()).await.unwrap();
    let listed: Vec<String> = first.items.into_iter().chain(rest.items).map(|t| t.id).collect();
    assert_eq!(listed, ["id-001", "id-002", "id-003"]);
    assert!(matches!(store.revoke_admin_token("none", true).await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn a_token_that_has_ended_keeps_nobody_in_and_the_last_one_goes_when_that_is_meant() {
    let store = store().await;
    let ended = AdminToken { expires_at: Some(Utc::now() - Duration::seconds(1)), ..admin_token("ended", 1) };
    store.add_admin_token(&ended).await.unwrap();
    store.add_admin_token(&admin_token("only", 2)).await.unwrap();
    assert!(matches!(store.revoke_admin_token("id-002", false).await.unwrap(), AdminTokenRevoked::IsLast(_)));
    assert!(matches!(store.revoke_admin_token("id-002", true).await.unwrap(), AdminTokenRevoked::Revoked(_)));
    assert!(store.read_all().await.unwrap().admin_tokens.is_empty());
}

#[tokio::test]
async fn of_two_who_revoke_each_others_token_one_stays() {
    for _ in 0..5 {
        let store = store().await;
        store.add_admin_token(&admin_token("a", 1)).await.unwrap();
        store.add_admin_token(&admin_token("b", 2)).await.unwrap();
        let (one, two) =
            tokio::join!(store.revoke_admin_token("id-001", false), store.revoke_admin_token("id-002", false));
        let revoked = [one.unwrap(), two.unwrap()].into_iter().filter(|r| matches!(r, AdminTokenRevoked::Revoked(_)));
        assert_eq!((revoked.count(), store.read_all().await.unwrap().admin_tokens.len()), (1, 1));
    }
}

#[tokio::test]
async fn a_node_has_one_token_until_it_is_rotated_or_replaced_and_all_can_be_revoked() {
    let store = store().await;
    let hashes = async || -> Vec<u8> {
        store.read_all().await.unwrap().node_tokens.iter().map(|token| token.sha256[0]).collect()
    };
    assert_eq!(store.add_node_token(&node_token("w1", 1)).await.unwrap(), None);
    let held = store.add_node_token(&node_token("w1", 2)).await.unwrap().unwrap();
    assert_eq!(held.sha256, vec![1; 32], "it goes on with the one that it has");
    assert_eq!(hashes().await, [1]);
    store.rotate_node_token(&node_token("w1", 2), 60_000).await.unwrap();
    store.rotate_node_token(&node_token("w1", 3), 120_000).await.unwrap();
    assert_eq!(hashes().await, [1, 2, 3], "whoever rotates twice cuts off nobody either");
    let page = store.list_node_tokens(10, None).await.unwrap().items;
    assert_eq!(page.iter().map(|t| t.sha256[0]).collect::<Vec<_>>(), [3, 2, 1], "the newest first");
    assert!(page[0].ends_at.is_none());
    assert!(page[2].ends_at.unwrap() < Utc::now() + Duration::seconds(61), "a second rotation prolongs nothing");
    store.put_node_token(&node_token("w1", 4)).await.unwrap();
    assert_eq!(hashes().await, [4], "replaced at once");
    store.add_node_token(&node_token("w2", 5)).await.unwrap();
    store.rotate_node_token(&node_token("w2", 6), 60_000).await.unwrap();
    let first = store.list_node_tokens(1, None).await.unwrap();
    assert_eq!((first.items.len(), first.next.as_deref()), (1, Some("w1")));
    let rest = store.list_node_tokens(1, Some("w1")).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (2, None), "a node is on one page");
    store.revoke_node_token("w2").await.unwrap();
    store.revoke_node_token("w1").await.unwrap();
    assert_eq!(hashes().await, Vec::<u8>::new());
    assert!(matches!(store.revoke_node_token("w1").await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn of_many_who_make_the_first_token_of_a_node_one_does() {
    let store = store().await;
    let tokens: Vec<NodeToken> = (1..=8).map(|byte| node_token("w1", byte)).collect();
    let made = futures::future::join_all(tokens.iter().map(|token| store.add_node_token(token))).await;
    assert_eq!(made.into_iter().filter(|held| held.as_ref().unwrap().is_none()).count(), 1);
    assert_eq!(store.read_all().await.unwrap().node_tokens.len(), 1);
}

#[tokio::test]
async fn uses_are_noted_and_wake_nobody() {
    let store = store().await;
    store.add_admin_token(&admin_token("a", 1)).await.unwrap();
    store.add_node_token(&node_token("w1", 2)).await.unwrap();
    let mut changes = store.changes();
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    changes.mark_unchanged();
    let at = Utc::now();
    store.tokens_used(&[(vec![1; 32], at), (vec![2; 32], at), (vec![3; 32], at)]).await.unwrap();
    store.tokens_used(&[(vec![1; 32], at - Duration::seconds(60))]).await.unwrap();
    let read = store.read_all().await.unwrap();
    let micros = |t: Option<chrono::DateTime<Utc>>| t.unwrap().timestamp_micros();
    assert_eq!(micros(read.admin_tokens[0].last_used_at), at.timestamp_micros(), "an older use changes nothing");
    assert_eq!(micros(read.node_tokens[0].last_used_at), at.timestamp_micros());
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    assert!(!changes.has_changed().unwrap());
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
