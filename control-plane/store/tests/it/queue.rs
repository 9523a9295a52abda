//! Many at once: nobody is told that the store cannot be used while it can, and what the control plane itself needs goes on.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tidegate_policy::{
    ports::{FleetStore, LeaseOutcome, LeasedVersion, ObjectStore, StoreError, VersionState, WorkerLease},
    snapshot::ObjectRef,
};
use tidegate_store::{Options, PgStore};

use super::{model, pg, put, rest};

fn lease() -> WorkerLease {
    WorkerLease {
        node_id: "w1".to_owned(),
        incarnation: "1".to_owned(),
        pool: ObjectRef { namespace: "default".to_owned(), name: "chat".to_owned() },
        address: "127.0.0.1:9".parse().unwrap(),
        ready: true,
        versions: vec![LeasedVersion {
            name: "v1".to_owned(),
            state: VersionState::Serving,
            error: String::new(),
            outdated: false,
        }],
        expires_at: chrono::Utc::now(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_writers_at_many_objects_are_all_answered_and_leases_never_wait_for_them() {
    let store = PgStore::connect(&pg::database()).await.unwrap();
    for batch in 0..10 {
        let many = (0..500).map(|n| put(&model(&format!("m{batch}-{n}")), json!({"n": n}))).collect();
        store.write(many, &rest(), false).await.unwrap();
    }
    let (stop, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let keeper = tokio::spawn({
        let (store, stop, held) = (store.clone(), stop.clone(), held.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                assert!(matches!(store.hold(&lease(), 5_000).await, Ok(LeaseOutcome::Held { .. })));
                store.ready().await.unwrap();
                held.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let writers = (0..50).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            store.write(vec![put(&model(&format!("w{n}")), json!({"n": n}))], &rest(), false).await?;
            // A page, as a person would read.
            store.list(tidegate_policy::kinds::Kind::Model, None, 100, None).await?;
            Ok::<_, StoreError>(())
        })
    });
    for done in futures::future::join_all(writers).await {
        done.unwrap().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    keeper.await.unwrap();
    assert!(held.load(Ordering::Relaxed) > 5);
    assert_eq!(store.read_all().await.unwrap().revision, 10 + 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_a_write_is_told_how_many_wait_and_nothing_is_done() {
    let url = pg::database();
    let mut options = Options::from_url(&url).unwrap();
    let long = Duration::from_secs(60);
    (options.queue, options.patience, options.call_timeout) = (3, long, long);
    (options.lock_timeout, options.statement_timeout) = (long, long);
    let store = PgStore::connect_with(options).await.unwrap();
    // Somebody else holds the row that every writer needs.
    let mut by_hand = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT FROM store_revision FOR UPDATE").execute(&mut by_hand).await.unwrap();
    let writers: Vec<_> = (0..12)
        .map(|n| {
            let store = store.clone();
            let name = format!("w{n}");
            tokio::spawn(
                async move { store.write(vec![put(&model(&name), json!({}))], &rest(), false).await.map(|_| name) },
            )
        })
        .collect();
    // The last of them is turned away at once, while the first still waits for the row.
    let mut results = Vec::new();
    while writers.iter().filter(|w| w.is_finished()).count() < 12 - 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sqlx::raw_sql("COMMIT").execute(&mut by_hand).await.unwrap();
    for writer in writers {
        results.push(writer.await.unwrap());
    }
    let (done, turned_away): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), turned_away.len()), (4, 8));
    for error in turned_away.into_iter().map(Result::unwrap_err) {
        let StoreError::Busy { what: "writes", waiting: 3, retry_after_s: 1.. } = &error else { panic!("{error:?}") };
        assert!(error.to_string().starts_with("too many writes at once: 3 are waiting; nothing was done"), "{error}");
    }
    let all = store.read_all().await.unwrap();
    let mut stored: Vec<String> = all.objects.into_iter().map(|o| o.key.object.name).collect();
    let mut done: Vec<String> = done.into_iter().map(Result::unwrap).collect();
    stored.sort();
    done.sort();
    assert_eq!(stored, done);
}
