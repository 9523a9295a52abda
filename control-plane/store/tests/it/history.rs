//! The history and the way back.
use serde_json::json;
use sqlx::Connection;
use tidegate_policy::ports::{ObjectStore, Outcome, RollbackScope, Source, StoreError};
use tidegate_store::PgStore;

use super::{kubernetes, model, pg, put, rest, store};

#[tokio::test]
async fn a_rollback_restores_by_new_revisions() {
    let store = store().await;
    let (a, b, c) = (model("a"), model("b"), model("c"));
    store.write(vec![put(&a, json!({"n": 1})), put(&b, json!({"n": 1}))], &rest(), false).await.unwrap(); // 1
    store.write(vec![put(&a, json!({"n": 2}))], &rest(), false).await.unwrap(); // 2
    let old_b = store.delete(&b, None, &rest(), false).await.unwrap(); // 3
    store.write(vec![put(&c, json!({"n": 1}))], &rest(), false).await.unwrap(); // 4

    let back = store.rollback(1, &RollbackScope::Everything, &rest(), false).await.unwrap();
    let said: Vec<_> = back.iter().map(|(o, outcome)| (o.key.object.name.as_str(), *outcome, o.revision)).collect();
    assert_eq!(said, [("a", Outcome::Configured, 5), ("b", Outcome::Created, 5), ("c", Outcome::Deleted, 5)]);
    assert_eq!(store.get(&a).await.unwrap().spec, json!({"n": 1}));
    assert_ne!(store.get(&b).await.unwrap().uid, old_b.uid, "what was deleted comes back as a new object");
    assert!(matches!(store.get(&c).await, Err(StoreError::NotFound { .. })));
    let page = store.history(None, 100, None).await.unwrap();
    assert_eq!((page.items.len(), page.revision), (8, 5), "nothing is taken out of the history");

    assert!(
        store.rollback(1, &RollbackScope::Everything, &rest(), false).await.unwrap().is_empty(),
        "nothing differs any more"
    );
    assert_eq!(store.read_all().await.unwrap().revision, 5);
}

#[tokio::test]
async fn a_rollback_of_one_object_leaves_the_others() {
    let store = store().await;
    let (a, b) = (model("a"), model("b"));
    store.write(vec![put(&a, json!({"n": 1})), put(&b, json!({"n": 1}))], &rest(), false).await.unwrap();
    store.write(vec![put(&a, json!({"n": 2})), put(&b, json!({"n": 2}))], &rest(), false).await.unwrap();
    let back = store.rollback(1, &RollbackScope::Object(a.clone()), &rest(), false).await.unwrap();
    assert_eq!((back.len(), back[0].1), (1, Outcome::Configured));
    assert_eq!(store.get(&a).await.unwrap().spec, json!({"n": 1}));
    assert_eq!(store.get(&b).await.unwrap().spec, json!({"n": 2}));
    assert_eq!(
        store.rollback(1, &RollbackScope::Object(a.clone()), &rest(), false).await.unwrap()[0].1,
        Outcome::Unchanged
    );
    assert!(matches!(
        store.rollback(1, &RollbackScope::Object(model("x")), &rest(), false).await,
        Err(StoreError::NotFound { .. })
    ));
    for wrong in [0, -1, 99] {
        assert!(matches!(
            store.rollback(wrong, &RollbackScope::Everything, &rest(), false).await,
            Err(StoreError::BadRequest { .. })
        ));
    }
}

#[tokio::test]
async fn a_rollback_of_a_namespace_leaves_the_others() {
    let store = store().await;
    let of = |namespace: &str, name: &str| {
        let mut key = model(name);
        key.object.namespace = namespace.to_owned();
        key
    };
    let keys = [of("one", "a"), of("two", "a"), of("one", "b")];
    for n in 1..=2 {
        let writes = keys.iter().map(|key| put(key, json!({"n": n}))).collect();
        store.write(writes, &rest(), false).await.unwrap();
    }
    let scope = RollbackScope::Namespace("one".to_owned());
    let back = store.rollback(1, &scope, &rest(), false).await.unwrap();
    assert_eq!(back.iter().map(|(o, _)| o.key.clone()).collect::<Vec<_>>(), [keys[0].clone(), keys[2].clone()]);
    for (key, n) in keys.iter().zip([1, 2, 1]) {
        assert_eq!(store.get(key).await.unwrap().spec, json!({"n": n}), "{key}");
    }
    let stale = store.rollback_on(2, 2, &scope, &rest()).await.unwrap_err();
    assert!(matches!(stale, StoreError::Conflict { .. }), "somebody wrote meanwhile: {stale}");
    let nobody = store.rollback(1, &RollbackScope::Namespace("three".to_owned()), &rest(), false).await.unwrap_err();
    assert!(matches!(nobody, StoreError::NotFound { .. }), "a typo is no success: {nobody}");
}

#[tokio::test]
async fn a_rollback_of_one_object_is_stopped_only_by_who_writes_that_object() {
    let store = store().await;
    let (a, b) = (model("a"), model("b"));
    for n in 1..=2 {
        store.write(vec![put(&a, json!({"n": n}))], &rest(), false).await.unwrap(); // 1, 2
    }
    store.write(vec![put(&b, json!({}))], &rest(), false).await.unwrap(); // 3
    let stale = store.rollback_on(1, 1, &RollbackScope::Object(a.clone()), &rest()).await.unwrap_err();
    assert!(matches!(stale, StoreError::Conflict { expected: 1, actual: 2, .. }), "{stale}");
    let stale = store.rollback_on(2, 1, &RollbackScope::Everything, &rest()).await.unwrap_err();
    assert!(matches!(stale, StoreError::Conflict { expected: 2, actual: 3, .. }), "{stale}");
    assert_eq!(
        store.rollback_on(2, 1, &RollbackScope::Object(a.clone()), &rest()).await.unwrap()[0].0.spec,
        json!({"n": 1})
    );
    store.delete(&a, None, &rest(), false).await.unwrap(); // 5
    store.write(vec![put(&b, json!({"n": 1}))], &rest(), false).await.unwrap(); // 6
    let gone = store.rollback_on(4, 1, &RollbackScope::Object(a.clone()), &rest()).await.unwrap_err();
    assert!(matches!(gone, StoreError::Conflict { expected: 4, actual: 0, .. }), "{gone}");
    assert_eq!(
        store.rollback_on(0, 1, &RollbackScope::Object(a.clone()), &rest()).await.unwrap()[0].1,
        Outcome::Created
    );
}

#[tokio::test]
async fn a_rollback_touches_only_what_its_author_owns() {
    let store = store().await;
    let (mine, theirs) = (model("mine"), model("theirs"));
    store.write(vec![put(&mine, json!({"n": 1}))], &rest(), false).await.unwrap(); // 1
    store.write(vec![put(&theirs, json!({"n": 1}))], &kubernetes(), false).await.unwrap(); // 2
    store.write(vec![put(&mine, json!({"n": 2}))], &rest(), false).await.unwrap(); // 3
    store.rollback(2, &RollbackScope::Everything, &rest(), false).await.unwrap(); // theirs does not differ: allowed; 4
    store.write(vec![put(&theirs, json!({"n": 2}))], &kubernetes(), false).await.unwrap(); // 5
    store.write(vec![put(&mine, json!({"n": 3}))], &rest(), false).await.unwrap(); // 6
    let refused = store.rollback(1, &RollbackScope::Everything, &rest(), false).await.unwrap_err();
    assert!(matches!(refused, StoreError::OwnedElsewhere { owner: Source::Kubernetes, .. }), "{refused}");
    let refused = store.rollback(4, &RollbackScope::Everything, &rest(), false).await.unwrap_err();
    assert!(matches!(refused, StoreError::OwnedElsewhere { .. }), "{refused}");
    assert_eq!(store.get(&mine).await.unwrap().spec, json!({"n": 3}), "all or nothing");
    assert_eq!(store.read_all().await.unwrap().revision, 6);
}

#[tokio::test]
async fn pages_of_the_history_hold_every_line_once_newest_first() {
    let store = store().await;
    for n in 0..4 {
        let batch = (0..5).map(|i| put(&model(&format!("m{i}")), json!({"n": n}))).collect();
        store.write(batch, &rest(), false).await.unwrap();
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.history(None, 3, after.as_deref()).await.unwrap();
        found.extend(page.items.into_iter().map(|r| (r.revision, r.key.object.name)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let wanted: Vec<(i64, String)> = (1..=4).rev().flat_map(|r| (0..5).map(move |i| (r, format!("m{i}")))).collect();
    assert_eq!(found, wanted);
    let one = store.history(Some(&model("m3")), 100, None).await.unwrap();
    assert_eq!(one.items.iter().map(|r| r.revision).collect::<Vec<_>>(), [4, 3, 2, 1]);
    assert_eq!((one.items[0].author.as_str(), one.items[0].outcome), ("tester", Outcome::Configured));
}

#[tokio::test]
async fn the_history_cannot_be_changed_even_by_hand() {
    let url = pg::database();
    let store = PgStore::connect(&url).await.unwrap();
    store.write(vec![put(&model("a"), json!({}))], &rest(), false).await.unwrap();
    let mut by_hand = sqlx::PgConnection::connect(&url).await.unwrap();
    for sql in ["UPDATE revisions SET author = 'x'", "DELETE FROM revisions", "TRUNCATE revisions"] {
        let refused = sqlx::query(sql).execute(&mut by_hand).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
    assert_eq!(store.history(None, 10, None).await.unwrap().items.len(), 1);
}
