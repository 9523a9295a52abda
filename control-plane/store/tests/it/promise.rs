//! No write is answered that could be lost, and none is tried where none is taken, whatever is changed while the store is open.
use serde_json::json;
use tidegate_policy::ports::{ApiKey, CredentialStore, ObjectStore, StoreError};
use tidegate_store::PgStore;

use super::{
    credentials::{admin_token, node_token},
    kubernetes, model, pg, put, rest,
};

fn alter(server: &pg::Server, setting: &str, value: &str) {
    server.client("psql", &["-qc", &format!("ALTER SYSTEM SET {setting} = {value}"), "postgres"]);
    server.client("psql", &["-qc", "SELECT pg_reload_conf()", "postgres"]);
}

/// Tries until the server's processes have heard of the change: a reload is a signal. At most a hundred times.
async fn until_refused<T, F: AsyncFnMut() -> Result<T, StoreError>>(mut write: F) -> StoreError {
    for _ in 0..100 {
        if let Err(error) = write().await {
            return error;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it was never refused")
}

#[tokio::test]
async fn a_setting_that_lets_writes_be_lost_fails_every_kind_of_write_with_its_name() {
    let server = pg::Server::start(&[]);
    let store = PgStore::connect(&server.database()).await.unwrap();
    store.write(vec![put(&model("kept"), json!({"n": 0}))], &rest(), false).await.unwrap(); // 1
    for setting in ["fsync", "full_page_writes"] {
        alter(&server, setting, "off");
        let mut n = 0;
        let refused = until_refused(async || {
            n += 1;
            store.write(vec![put(&model("kept"), json!({"n": n, "setting": setting}))], &rest(), false).await
        })
        .await;
        let key = ApiKey {
            id: "k".to_owned(),
            tenant: "acme".to_owned(),
            description: String::new(),
            jwk: json!({"kty": "OKP"}),
            created_at: chrono::Utc::now(),
            expires_at: None,
            revoked_at: None,
        };
        let (admin, node) = (admin_token("a", 2), node_token("n", 1));
        let before = store.read_all().await.unwrap();
        let all = [
            refused,
            store.write(vec![put(&model("new"), json!({}))], &rest(), false).await.unwrap_err(),
            store.delete(&model("kept"), None, &rest(), false).await.unwrap_err(),
            store.adopt(&model("kept"), &kubernetes()).await.unwrap_err(),
            store.add_api_key(&key).await.unwrap_err(),
            store.put_node_token(&node).await.unwrap_err(),
            store.add_admin_token(&admin).await.unwrap_err(),
            store.add_node_token(&node).await.unwrap_err(),
            store.ready().await.unwrap_err(),
        ];
        for error in all {
            let StoreError::Unfit { code, why } = &error else { panic!("{error:?}") };
            assert_eq!(*code, "TG-1212", "{why}");
            assert!(why.contains(&format!("{setting} = off")), "{why}");
        }
        let after = store.read_all().await.unwrap();
        assert_eq!((after.revision, after.objects.len()), (before.revision, 1), "a refused write leaves nothing");
        assert!(after.api_keys.is_empty() && after.node_tokens.is_empty() && after.admin_tokens.is_empty());
        // What writes nothing promises nothing.
        let spec = after.objects[0].spec.clone();
        store.write(vec![put(&model("kept"), spec)], &rest(), false).await.unwrap();
        store.write(vec![put(&model("new"), json!({}))], &rest(), true).await.unwrap();
        alter(&server, setting, "on");
        for attempt in 0.. {
            match store.write(vec![put(&model("kept"), json!({"back": setting}))], &rest(), false).await {
                Ok(_) => break,
                Err(error) if attempt > 100 => panic!("{error}"),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_becomes_read_only_is_named_as_that() {
    let server = pg::Server::start(&[]);
    let store = PgStore::connect(&server.database()).await.unwrap();
    alter(&server, "default_transaction_read_only", "on");
    let mut n = 0;
    let refused = until_refused(async || {
        n += 1;
        store.write(vec![put(&model("a"), json!({"n": n}))], &rest(), false).await
    })
    .await;
    assert!(matches!(&refused, StoreError::Unfit { code: "TG-1213", .. }), "{refused:?}");
    assert!(store.read_all().await.is_ok(), "it can be read");
}
