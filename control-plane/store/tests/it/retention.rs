//! What of the history is kept, and what can still be gone back to.
use chrono::{Duration, Utc};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tidegate_policy::ports::{ObjectStore, Outcome, RollbackScope, StoreError};
use tidegate_store::{HISTORY_DAYS, HISTORY_LINES, PgStore};

use super::{model, pg, put, rest, store};

async fn revisions(store: &PgStore, name: &str) -> Vec<i64> {
    let page = store.history(Some(&model(name)), 500, None).await.unwrap();
    page.items.iter().rev().map(|r| r.revision).collect()
}

async fn write_times(store: &PgStore, name: &str, times: i64) {
    for n in 0..times {
        store.write(vec![put(&model(name), json!({"n": n}))], &rest(), false).await.unwrap();
    }
}

#[track_caller]
fn refused(result: Result<Vec<(tidegate_policy::ports::StoredObject, Outcome)>, StoreError>, from: i64) {
    let Err(StoreError::BadRequest { what }) = result else { panic!("{result:?}") };
    assert!(what.starts_with(&format!("the history is kept from revision {from} on")), "{what}");
}

#[tokio::test]
async fn old_lines_go_except_the_last_of_each_object_that_exists() {
    let store = store().await;
    write_times(&store, "a", HISTORY_LINES + 3).await; // 1..=103
    write_times(&store, "b", 1).await; // 104
    write_times(&store, "c", 2).await; // 105, 106
    store.delete(&model("c"), None, &rest(), false).await.unwrap(); // 107
    assert_eq!(store.prune_history(Utc::now()).await.unwrap(), 0, "everything is young");
    let later = Utc::now() + Duration::days(HISTORY_DAYS + 1);
    assert_eq!(store.prune_history(later).await.unwrap(), 3 + 3);
    assert_eq!(revisions(&store, "a").await, (4..=HISTORY_LINES + 3).collect::<Vec<i64>>());
    assert_eq!(revisions(&store, "b").await, [104]);
    assert!(revisions(&store, "c").await.is_empty(), "an object that is gone has no last lines");
    assert_eq!(store.prune_history(later).await.unwrap(), 0);

    refused(store.rollback(106, &RollbackScope::Everything, &rest(), true).await, 107);
    assert!(
        store.rollback(107, &RollbackScope::Everything, &rest(), false).await.unwrap().is_empty(),
        "nothing differs"
    );
    refused(store.rollback(3, &RollbackScope::Object(model("a")), &rest(), true).await, 107);
    refused(store.rollback(105, &RollbackScope::Object(model("c")), &rest(), true).await, 107);
    let back = store.rollback(50, &RollbackScope::Object(model("a")), &rest(), false).await.unwrap();
    assert_eq!((back[0].1, &back[0].0.spec), (Outcome::Configured, &json!({"n": 49})), "its line is still there");
}

#[tokio::test]
async fn what_an_object_was_when_the_kept_days_began_stays() {
    let store = store().await;
    write_times(&store, "a", HISTORY_LINES + 10).await;
    let lines = store.history(Some(&model("a")), 500, None).await.unwrap().items;
    let eighth = lines.iter().find(|line| line.revision == 8).unwrap().at;
    // Lines 1 to 7 are older than the kept days, and each has a hundred lines after it.
    assert_eq!(store.prune_history(eighth + Duration::days(HISTORY_DAYS)).await.unwrap(), 6);
    assert_eq!(revisions(&store, "a").await[0], 7);
    refused(store.rollback(6, &RollbackScope::Everything, &rest(), true).await, 7);
    let back = store.rollback(7, &RollbackScope::Everything, &rest(), false).await.unwrap();
    assert_eq!(back[0].0.spec, json!({"n": 6}));
}

/// Another writer, from here on in the way of all others.
async fn writer(url: &str) -> PgConnection {
    let mut writer = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT FROM store_revision FOR UPDATE").execute(&mut writer).await.unwrap();
    writer
}

#[tokio::test]
async fn what_stays_is_looked_through_without_a_lock() {
    let url = pg::database();
    let store = PgStore::connect(&url).await.unwrap();
    write_times(&store, "a", 1).await;
    let mut by_hand = PgConnection::connect(&url).await.unwrap();
    let filled = sqlx::query(
        "WITH made AS (
             INSERT INTO objects (kind, namespace, name, uid, generation, revision, created_at, source, labels, annotations, spec)
             SELECT kind, namespace, 'o' || n, gen_random_uuid(), 1, 2, created_at, source, labels, annotations, spec
             FROM objects, generate_series(1, 200) n RETURNING *
         )
         INSERT INTO revisions (revision, kind, namespace, name, at, author, source, outcome, uid, generation, labels, annotations, spec)
         SELECT r, kind, namespace, name, created_at, 'x', source, 'Configured', uid, 1, labels, annotations, spec
         FROM made, generate_series(2, 1 + $1) r",
    );
    filled.bind(HISTORY_LINES).execute(&mut by_hand).await.unwrap();
    let later = Utc::now() + Duration::days(HISTORY_DAYS + 1);
    let in_the_way = writer(&url).await;
    assert_eq!(store.prune_history(later).await.unwrap(), 0);
    drop(in_the_way);
}

#[tokio::test]
async fn an_object_that_comes_back_while_its_lines_are_found_keeps_them() {
    let url = pg::database();
    let store = PgStore::connect(&url).await.unwrap();
    write_times(&store, "a", 2).await; // 1, 2
    store.delete(&model("a"), None, &rest(), false).await.unwrap(); // 3
    write_times(&store, "b", HISTORY_LINES + 1).await;
    let later = Utc::now() + Duration::days(HISTORY_DAYS + 1);
    let mut in_the_way = writer(&url).await;
    let pruning = tokio::spawn({
        let store = store.clone();
        async move { store.prune_history(later).await }
    });
    let mut by_hand = PgConnection::connect(&url).await.unwrap();
    let waits =
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut by_hand).await.unwrap() {
        tokio::task::yield_now().await;
    }
    sqlx::raw_sql(
        "INSERT INTO objects (kind, namespace, name, uid, generation, revision, created_at, source, labels, annotations, spec)
         SELECT kind, namespace, 'a', gen_random_uuid(), 1, 1, created_at, source, labels, annotations, spec FROM objects;
         COMMIT",
    )
    .execute(&mut in_the_way)
    .await
    .unwrap();
    assert_eq!(pruning.await.unwrap().unwrap(), 1, "the first line of b");
    assert_eq!(revisions(&store, "a").await, [1, 2, 3]);
}
