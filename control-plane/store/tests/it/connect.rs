//! Opening the store.
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::Connection;
use tidegate_policy::{
    kinds::Kind,
    ports::{ObjectStore, Outcome},
    validate,
};
use tidegate_store::{ConnectError, PgStore};

use super::{key, pg, put, rest};

#[tokio::test]
async fn a_server_that_may_lose_answered_writes_is_refused() {
    for (setting, name) in [("fsync=off", "fsync"), ("full_page_writes=off", "full_page_writes")] {
        let server = pg::Server::start(&[setting]);
        let refused = PgStore::connect(&server.database()).await.unwrap_err();
        assert!(matches!(&refused, ConnectError::NotDurable { setting, .. } if *setting == name), "{refused}");
        assert_eq!(refused.code(), "TG-1212");
        assert!(refused.to_string().contains(&format!("set {name} = on")), "{refused}");
    }
}

#[tokio::test]
async fn a_lowered_synchronous_commit_is_raised_for_our_sessions() {
    let server = pg::Server::start(&["synchronous_commit=off"]);
    PgStore::connect(&server.database()).await.unwrap().ready().await.unwrap();
}

#[tokio::test]
async fn a_read_only_database_is_refused() {
    let server = pg::Server::start(&["default_transaction_read_only=on"]);
    let url = server.url("postgres");
    assert_eq!(PgStore::connect(&url).await.unwrap_err().code(), "TG-1213");
}

#[test]
fn the_newest_server_is_found_and_an_unpacked_one_gets_its_libraries() {
    let tools = tempfile::tempdir().unwrap();
    let lib = tools.path().join("postgres/usr/lib");
    for dir in ["postgresql/9/bin", "postgresql/15/bin", "postgresql/16/bin", "postgresql/common", "x86_64-linux-gnu"] {
        std::fs::create_dir_all(lib.join(dir)).unwrap();
    }
    let found = pg::versions(&lib.join("postgresql"));
    assert_eq!(found, ["16", "15", "9"].map(|v| lib.join("postgresql").join(v).join("bin")));
    let libraries = pg::libraries(&found[0].join("postgres"), tools.path()).unwrap();
    assert_eq!(std::env::split_paths(&libraries).next(), Some(lib.join("x86_64-linux-gnu")));
    assert_eq!(pg::libraries("/usr/lib/postgresql/16/bin/postgres".as_ref(), tools.path()), None);
}

#[tokio::test]
async fn replicas_that_start_together_migrate_once() {
    let url = pg::database();
    let all = futures::future::join_all((0..6).map(|_| PgStore::connect(&url))).await;
    for store in all {
        store.unwrap().ready().await.unwrap();
    }
}

#[tokio::test]
async fn stored_pools_that_became_invalid_are_made_valid_by_a_revision() {
    let url = pg::database();
    let store = PgStore::connect(&url).await.unwrap();
    let spec = |timeouts: Value, labels: Value| json!({"modelRef": {"name": "chat"}, "versions": ["v1"], "timeouts": timeouts, "labels": labels});
    let zeros = ["0ms", "0s", "0m", "0h"];
    let mut pools =
        zeros.map(|zero| (zero, spec(json!({"inference": "9s", "drain": zero}), json!({"zone": "a"})))).to_vec();
    pools.push(("labels", spec(json!({"inference": "9s", "drain": "20s"}), json!({"zone": "a"}))));
    pools.push(("valid", spec(json!({"inference": "9s", "drain": "10ms"}), json!({}))));
    let pool = |name: &str| key(Kind::WorkerPool, "default", name);
    let batch = pools.iter().map(|(name, spec)| put(&pool(name), spec.clone())).collect();
    store.write(batch, &rest(), false).await.unwrap(); // 1
    // As it was before that migration.
    let mut by_hand = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = 3").execute(&mut by_hand).await.unwrap();
    let store = PgStore::connect(&url).await.unwrap();
    for (name, was) in pools {
        let now = store.get(&pool(name)).await.unwrap();
        assert!(validate::parse_stored(Kind::WorkerPool, &now.spec).is_ok(), "{name}: {}", now.spec);
        let drain = if zeros.contains(&name) { &json!("1ms") } else { &was["timeouts"]["drain"] };
        assert_eq!(now.spec["timeouts"], json!({"inference": "9s", "drain": drain}));
        let (revision, generation) = if name == "valid" { (1, 1) } else { (2, 2) };
        assert_eq!((now.revision, now.generation), (revision, generation), "{name}");
        let last = store.history(Some(&pool(name)), 1, None).await.unwrap().items.remove(0);
        assert_eq!((last.revision, last.spec), (revision, Some(now.spec)), "the history says what the object is");
        assert_eq!(last.outcome, if name == "valid" { Outcome::Created } else { Outcome::Configured });
    }
    assert_eq!(store.read_all().await.unwrap().revision, 2);
}

#[tokio::test]
async fn an_absent_server_and_a_bad_address_are_told_apart_and_no_password_is_shown() {
    let started = Instant::now();
    let absent = PgStore::connect("postgres://u:hunter2@localhost/db?host=/nonexistent").await.unwrap_err();
    assert_eq!(absent.code(), "TG-1211");
    assert!(started.elapsed() < Duration::from_secs(11));
    let bad = PgStore::connect("http://u:hunter2@localhost").await.unwrap_err();
    assert_eq!(bad.code(), "TG-1210");
    for error in [absent, bad] {
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
