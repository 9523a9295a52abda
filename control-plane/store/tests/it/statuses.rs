//! Statuses: what a batch writes, and what it leaves alone.
use serde_json::json;
use tidegate_policy::ports::{ObjectStore as _, StatusWrite};

use crate::{model, pg, put, rest, status, store};

#[tokio::test]
async fn a_status_makes_no_revision_and_reaches_only_its_own_object() {
    let store = store().await;
    let m = model("a");
    let uid = store.write(vec![put(&m, json!({}))], &rest(), false).await.unwrap()[0].0.uid;
    let x = [status(uid, json!({"x": 1}))];
    assert_eq!(store.put_statuses(&x).await.unwrap(), [uid]);
    assert_eq!(store.put_statuses(&x).await.unwrap(), [uid], "it is there already");
    let other = [status(uuid::Uuid::new_v4(), json!({"x": 2}))];
    assert!(store.put_statuses(&other).await.unwrap().is_empty(), "another uid is another object");
    let read = store.get(&m).await.unwrap();
    assert_eq!((read.status, read.revision, read.generation), (json!({"x": 1}), 1, 1));
    let changed = store.write(vec![put(&m, json!({"n": 1}))], &rest(), false).await.unwrap();
    assert_eq!(changed[0].0.status, json!({"x": 1}), "a new spec keeps the status until a new one is written");
}

#[tokio::test]
async fn a_batch_is_written_around_a_row_that_somebody_holds() {
    let url = pg::database();
    let store = tidegate_store::PgStore::connect(&url).await.unwrap();
    let names: Vec<_> = (0..300).map(|n| model(&format!("m{n}"))).collect();
    let writes = names.iter().map(|name| put(name, json!({}))).collect();
    let made = store.write(writes, &rest(), false).await.unwrap();
    let batch: Vec<StatusWrite> = made.iter().map(|(o, _)| status(o.uid, json!({"at": o.key.object.name}))).collect();

    let holder = sqlx::PgPool::connect(&url).await.unwrap();
    let mut tx = holder.begin().await.unwrap();
    sqlx::query("SELECT FROM objects WHERE name = 'm7' FOR UPDATE").execute(&mut *tx).await.unwrap();
    let written = store.put_statuses(&batch).await.unwrap();
    assert_eq!(written.len(), 299, "not waited for");
    assert!(!written.contains(&made[7].0.uid));
    tx.rollback().await.unwrap();
    assert_eq!(store.put_statuses(&batch).await.unwrap().len(), 300);
    for (name, write) in names.iter().zip(&batch) {
        assert_eq!(store.get(name).await.unwrap().status, write.status, "each its own");
    }
}
