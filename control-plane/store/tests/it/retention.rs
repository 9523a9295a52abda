//! What of the history is kept, and what can still be gone back to.
use chrono::{Duration, Utc};
use serde_json::json;
use tidegate_policy::ports::{ObjectStore, Outcome, StoreError};
use tidegate_store::{HISTORY_DAYS, HISTORY_LINES, PgStore};

use super::{model, put, rest, store};

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

    refused(store.rollback(106, None, &rest(), true).await, 107);
    assert!(store.rollback(107, None, &rest(), false).await.unwrap().is_empty(), "nothing differs");
    refused(store.rollback(3, Some(&model("a")), &rest(), true).await, 107);
    refused(store.rollback(105, Some(&model("c")), &rest(), true).await, 107);
    let back = store.rollback(50, Some(&model("a")), &rest(), false).await.unwrap();
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
    refused(store.rollback(6, None, &rest(), true).await, 7);
    let back = store.rollback(7, None, &rest(), false).await.unwrap();
    assert_eq!(back[0].0.spec, json!({"n": 6}));
}
