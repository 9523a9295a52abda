//! Writes, reads, conflicts, ownership, batches, dry runs.
use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::json;
use tidegate_policy::{
    kinds::Kind,
    ports::{ObjectStore, Outcome, RollbackScope, Source, StoreError, Write},
};
use tidegate_store::{Options, PgStore};

use super::{key, kubernetes, model, pg, put, rest, store};

#[tokio::test]
async fn an_object_is_created_changed_and_left_alone() {
    let store = store().await;
    let m = model("a");
    let first = store.write(vec![put(&m, json!({"n": 1}))], &rest(), false).await.unwrap();
    assert_eq!((first[0].1, first[0].0.revision, first[0].0.generation), (Outcome::Created, 1, 1));
    let same = store.write(vec![put(&m, json!({"n": 1.0}))], &rest(), false).await.unwrap();
    assert_eq!((same[0].1, same[0].0.revision), (Outcome::Unchanged, 1), "1 and 1.0 are the same number");
    let changed = store.write(vec![put(&m, json!({"n": 2}))], &rest(), false).await.unwrap();
    assert_eq!((changed[0].1, changed[0].0.revision, changed[0].0.generation), (Outcome::Configured, 2, 2));
    let labelled = Write { labels: json!({"team": "x"}), ..put(&m, json!({"n": 2})) };
    let labelled = store.write(vec![labelled], &rest(), false).await.unwrap();
    assert_eq!((labelled[0].0.revision, labelled[0].0.generation), (3, 2), "a label is no new generation");
    let read = store.get(&m).await.unwrap();
    assert_eq!((read.uid, read.spec, read.labels), (first[0].0.uid, json!({"n": 2}), json!({"team": "x"})));
    assert_eq!(store.read_all().await.unwrap().revision, 3);
}

#[tokio::test]
async fn concurrent_writers_lose_nothing_and_their_revisions_have_no_gap() {
    let store = store().await;
    let m = model("counter");
    store.write(vec![put(&m, json!({"n": 0}))], &rest(), false).await.unwrap();
    // 20 writers each add 5 to one counter, by compare-and-set.
    let add = || async {
        for _ in 0..5 {
            loop {
                let now = store.get(&m).await.unwrap();
                let next = json!({"n": now.spec["n"].as_i64().unwrap() + 1});
                let write = Write { expected_revision: Some(now.revision), ..put(&m, next) };
                match store.write(vec![write], &rest(), false).await {
                    Ok(_) => break,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
    };
    join_all((0..20).map(|_| add())).await;
    assert_eq!(store.get(&m).await.unwrap().spec, json!({"n": 100}));
    let page = store.history(None, 500, None).await.unwrap();
    let revisions: Vec<i64> = page.items.iter().rev().map(|r| r.revision).collect();
    assert_eq!(revisions, (1..=101).collect::<Vec<i64>>());
    assert!(page.items.windows(2).all(|w| w[0].at >= w[1].at), "times go up with revisions");
}

#[tokio::test]
async fn a_reader_never_sees_a_revision_before_the_one_below_it() {
    let store = store().await;
    let writers = join_all((0..8).map(|w| {
        let store = &store;
        async move {
            for n in 0..10 {
                let m = model(&format!("w{w}"));
                store.write(vec![put(&m, json!({"n": n}))], &rest(), false).await.unwrap();
            }
        }
    }));
    let reader = async {
        loop {
            let page = store.history(None, 500, None).await.unwrap();
            let seen: BTreeSet<i64> = page.items.iter().map(|r| r.revision).collect();
            assert_eq!(seen.len(), usize::try_from(page.revision).unwrap(), "no gap below {}", page.revision);
            if page.revision == 80 {
                break;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), async { tokio::join!(writers, reader) }).await.unwrap();
}

#[tokio::test]
async fn a_write_on_an_old_revision_conflicts() {
    let store = store().await;
    let m = model("a");
    let only_new = Write { expected_revision: Some(0), ..put(&m, json!({"n": 1})) };
    store.write(vec![only_new.clone()], &rest(), false).await.unwrap();
    let again = store.write(vec![only_new], &rest(), false).await.unwrap_err();
    assert!(matches!(again, StoreError::Conflict { expected: 0, actual: 1, .. }), "{again}");
    store.write(vec![put(&m, json!({"n": 2}))], &rest(), false).await.unwrap();
    let stale = Write { expected_revision: Some(1), ..put(&m, json!({"n": 3})) };
    let stale = store.write(vec![stale], &rest(), false).await.unwrap_err();
    assert!(matches!(stale, StoreError::Conflict { expected: 1, actual: 2, .. }), "{stale}");
    let stale = store.delete(&m, Some(1), &rest(), false).await.unwrap_err();
    assert!(matches!(stale, StoreError::Conflict { .. }), "{stale}");
    let gone = Write { expected_revision: Some(7), ..put(&model("b"), json!({})) };
    let gone = store.write(vec![gone], &rest(), false).await.unwrap_err();
    assert!(matches!(gone, StoreError::Conflict { expected: 7, actual: 0, .. }), "{gone}");
    assert_eq!(store.get(&m).await.unwrap().spec, json!({"n": 2}));
}

#[tokio::test]
async fn only_the_owner_writes_until_another_adopts() {
    let store = store().await;
    let m = model("a");
    store.write(vec![put(&m, json!({"n": 1}))], &kubernetes(), false).await.unwrap();
    for refused in [
        store.write(vec![put(&m, json!({"n": 2}))], &rest(), false).await.err(),
        store.delete(&m, None, &rest(), false).await.err(),
    ] {
        let refused = refused.unwrap();
        assert!(matches!(refused, StoreError::OwnedElsewhere { owner: Source::Kubernetes, .. }), "{refused}");
        assert!(refused.to_string().contains("tidegate adopt"), "{refused}");
    }
    let adopted = store.adopt(&m, &rest()).await.unwrap();
    assert_eq!((adopted.source, adopted.revision, adopted.generation), (Source::Rest, 2, 1));
    assert_eq!(store.adopt(&m, &rest()).await.unwrap().revision, 2, "adopting twice changes nothing");
    store.write(vec![put(&m, json!({"n": 2}))], &rest(), false).await.unwrap();
    let refused = store.write(vec![put(&m, json!({"n": 3}))], &kubernetes(), false).await.unwrap_err();
    assert!(matches!(refused, StoreError::OwnedElsewhere { owner: Source::Rest, .. }));
    assert!(matches!(store.adopt(&model("none"), &rest()).await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn a_batch_is_one_revision_or_nothing() {
    let store = store().await;
    let (a, b, c) = (model("a"), model("b"), key(Kind::WorkerPool, "other", "c"));
    let batch = vec![put(&c, json!({"n": 3})), put(&a, json!({"n": 1})), put(&b, json!({"n": 2}))];
    let done = store.write(batch, &rest(), false).await.unwrap();
    assert_eq!(done.iter().map(|d| d.0.key.clone()).collect::<Vec<_>>(), [c.clone(), a.clone(), b.clone()]);
    assert!(done.iter().all(|d| d.0.revision == 1), "one transaction, one revision");

    let failing = Write { expected_revision: Some(99), ..put(&b, json!({"n": 20})) };
    let refused = store.write(vec![put(&a, json!({"n": 10})), failing], &rest(), false).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })));
    assert_eq!(store.get(&a).await.unwrap().spec, json!({"n": 1}));
    let nul = store.write(vec![put(&a, json!({"n": 10})), put(&b, json!({"text": "\0"}))], &rest(), false).await;
    assert!(matches!(nul, Err(StoreError::BadRequest { .. })), "{nul:?}");
    let twice = store.write(vec![put(&a, json!({"n": 4})), put(&a, json!({"n": 5}))], &rest(), false).await;
    assert!(matches!(twice, Err(StoreError::BadRequest { .. })));
    let after = store.read_all().await.unwrap();
    assert_eq!(after.revision, 1);
    assert_eq!(store.history(None, 100, None).await.unwrap().items.len(), 3);
}

#[tokio::test]
async fn a_dry_run_answers_the_same_and_leaves_nothing() {
    let store = store().await;
    let m = model("a");
    let dry = store.write(vec![put(&m, json!({"n": 1}))], &rest(), true).await.unwrap();
    assert_eq!((dry[0].1, dry[0].0.revision), (Outcome::Created, 0), "the next number will be somebody else's");
    assert!(matches!(store.get(&m).await, Err(StoreError::NotFound { .. })));
    store.write(vec![put(&m, json!({"n": 1}))], &rest(), false).await.unwrap();
    let changed = store.write(vec![put(&m, json!({"n": 2}))], &rest(), true).await.unwrap();
    assert_eq!((changed[0].1, changed[0].0.revision), (Outcome::Configured, 1), "what is stored");
    assert_eq!(changed[0].0.spec, json!({"n": 2}));
    assert_eq!(store.delete(&m, None, &rest(), true).await.unwrap().revision, 1);
    store.rollback(1, &RollbackScope::Everything, &rest(), true).await.unwrap();
    assert_eq!(store.get(&m).await.unwrap().revision, 1);
    let page = store.history(None, 10, None).await.unwrap();
    assert_eq!((page.items.len(), page.revision), (1, 1));
}

#[tokio::test]
async fn pages_hold_every_object_once_in_order() {
    let store = store().await;
    let names = ["a", "b-1", "b", "ab", "z9", "m"];
    let mut wanted = Vec::new();
    for namespace in ["default", "a", "z"] {
        for name in names {
            let k = key(Kind::Model, namespace, name);
            store.write(vec![put(&k, json!({}))], &rest(), false).await.unwrap();
            wanted.push((namespace.to_owned(), name.to_owned()));
        }
    }
    store.write(vec![put(&key(Kind::WorkerPool, "a", "a"), json!({}))], &rest(), false).await.unwrap();
    wanted.sort();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(Kind::Model, None, 5, after.as_deref()).await.unwrap();
        assert!(page.items.len() <= 5);
        found.extend(page.items.into_iter().map(|o| (o.key.object.namespace, o.key.object.name)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, wanted);
    assert_eq!(store.list(Kind::Model, Some("z"), 500, None).await.unwrap().items.len(), 6);
    assert!(matches!(store.list(Kind::Model, None, 5, Some("a/b/c")).await, Err(StoreError::BadRequest { .. })));
    assert!(matches!(store.history(None, 5, Some("x")).await, Err(StoreError::BadRequest { .. })));
}

#[tokio::test]
async fn a_page_ends_at_its_bytes_and_the_next_goes_on() {
    let mut options = Options::from_url(&pg::database()).unwrap();
    options.page_bytes = 10_000;
    let store = PgStore::connect_with(options).await.unwrap();
    let names: Vec<String> = (0..40).map(|n| format!("m{n:02}")).collect();
    for name in &names {
        // One is larger than a page may be: it is a page of its own.
        let size = if name == "m20" { 50_000 } else { 2_000 };
        store.write(vec![put(&model(name), json!({"text": "x".repeat(size)}))], &rest(), false).await.unwrap();
    }
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(Kind::Model, None, 500, after.as_deref()).await.unwrap();
        assert!((1..=4).contains(&page.items.len()), "{}", page.items.len());
        listed.extend(page.items.into_iter().map(|o| o.key.object.name));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, names);
    let mut lines = Vec::new();
    loop {
        let page = store.history(None, 500, after.as_deref()).await.unwrap();
        assert!((1..=4).contains(&page.items.len()), "{}", page.items.len());
        lines.extend(page.items.into_iter().map(|r| r.revision));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(lines, (1..=40).rev().collect::<Vec<i64>>());
}
