//! The wake-up.
use std::time::Duration;

use serde_json::json;
use tidegate_policy::{
    ports::WorkerLease,
    ports::{CredentialStore, FleetStore, ObjectStore},
    snapshot::ObjectRef,
};
use tidegate_store::{Options, PgStore};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{model, pg, put, rest, status};

async fn open(listen: bool, poll_ms: u64) -> (PgStore, PgStore) {
    let url = pg::database();
    let mut options = Options::from_url(&url).unwrap();
    options.listen = listen;
    options.poll_interval = Duration::from_millis(poll_ms);
    let watched = PgStore::connect_with(options).await.unwrap();
    (watched, PgStore::connect(&url).await.unwrap())
}

async fn settled(changes: &mut watch::Receiver<i64>) {
    timeout(Duration::from_secs(5), changes.wait_for(|seq| *seq >= 0)).await.unwrap().unwrap();
    sleep(Duration::from_millis(300)).await;
    changes.mark_unchanged();
}

async fn woken(changes: &mut watch::Receiver<i64>) -> bool {
    timeout(Duration::from_secs(3), changes.changed()).await.is_ok()
}

#[tokio::test]
async fn a_notification_wakes_another_store_at_once() {
    let (watched, writer) = open(true, 600_000).await;
    let mut changes = watched.changes();
    settled(&mut changes).await;
    writer.write(vec![put(&model("a"), json!({}))], &rest(), false).await.unwrap();
    assert!(woken(&mut changes).await, "by NOTIFY: the poll is ten minutes away");
}

#[tokio::test]
async fn polling_wakes_when_nothing_is_notified() {
    let (watched, writer) = open(false, 50).await;
    let mut changes = watched.changes();
    settled(&mut changes).await;
    writer.write(vec![put(&model("a"), json!({}))], &rest(), false).await.unwrap();
    assert!(woken(&mut changes).await);
}

#[tokio::test]
async fn each_fact_that_compile_reads_wakes_and_nothing_else_does() {
    let (watched, writer) = open(false, 30).await;
    let mut changes = watched.changes();
    let uid = writer.write(vec![put(&model("a"), json!({}))], &rest(), false).await.unwrap()[0].0.uid;
    settled(&mut changes).await;
    let lease = WorkerLease {
        node_id: "w".to_owned(),
        incarnation: "i".to_owned(),
        pool: ObjectRef { namespace: "default".to_owned(), name: "p".to_owned() },
        address: ([127, 0, 0, 1], 9).into(),
        ready: true,
        versions: Vec::new(),
        expires_at: chrono::Utc::now(),
    };
    writer.hold(&lease, 10_000).await.unwrap();
    assert!(woken(&mut changes).await, "a new lease");
    writer.add_admin_token(&super::credentials::admin_token("t", 9)).await.unwrap();
    assert!(woken(&mut changes).await, "a token");
    writer.put_statuses(&[status(uid, json!({"arms": {"stable": "v1"}}))]).await.unwrap();
    assert!(woken(&mut changes).await, "an arm in a status");

    writer.hold(&lease, 10_000).await.unwrap();
    writer.put_statuses(&[status(uid, json!({"arms": {"stable": "v1"}, "conditions": []}))]).await.unwrap();
    writer.write(vec![put(&model("a"), json!({}))], &rest(), false).await.unwrap();
    writer.write(vec![put(&model("b"), json!({}))], &rest(), true).await.unwrap();
    sleep(Duration::from_millis(300)).await;
    assert!(!changes.has_changed().unwrap(), "a renewal, a condition, an unchanged write and a dry run");
}
