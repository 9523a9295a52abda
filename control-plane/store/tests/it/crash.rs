//! Crashes of the database in the middle of writes.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;
use tidegate_policy::ports::{ObjectStore, StoreError};
use tidegate_store::PgStore;
use tokio::time::sleep;

use super::{model, pg, put, rest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answered_write_is_lost_when_the_database_is_killed() {
    let mut server = pg::Server::start(&[]);
    let store = PgStore::connect(&server.database()).await.unwrap();
    let mut changes = store.changes();
    // Per object, the last number that was answered, and the last that was tried.
    let answered = Arc::new(Mutex::new(BTreeMap::<String, (i64, i64)>::new()));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..6)
        .map(|w| {
            let (store, answered, stop) = (store.clone(), Arc::clone(&answered), Arc::clone(&stop));
            tokio::spawn(async move {
                let name = format!("w{w}");
                let mut n = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    n += 1;
                    answered.lock().unwrap().entry(name.clone()).or_default().1 = n;
                    if store.write(vec![put(&model(&name), json!({"n": n}))], &rest(), false).await.is_ok() {
                        answered.lock().unwrap().entry(name.clone()).or_default().0 = n;
                    } else {
                        sleep(Duration::from_millis(20)).await;
                    }
                }
            })
        })
        .collect();
    for _ in 0..3 {
        sleep(Duration::from_millis(400)).await;
        server.kill();
        let asked = Instant::now();
        assert!(matches!(store.read_all().await, Err(StoreError::Unavailable(_))));
        assert!(asked.elapsed() < Duration::from_secs(4), "a read fails fast: {:?}", asked.elapsed());
        server.restart();
    }
    sleep(Duration::from_millis(400)).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let all = store.read_all().await.unwrap();
    let answered = answered.lock().unwrap().clone();
    assert!(answered.values().all(|(done, _)| *done > 3), "each writer got on: {answered:?}");
    for (name, (done, tried)) in &answered {
        let stored = all.objects.iter().find(|o| &o.key.object.name == name).unwrap().spec["n"].as_i64().unwrap();
        assert!(stored >= *done && stored <= *tried, "{name}: stored {stored}, answered {done}, tried {tried}");
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut after = None;
    loop {
        let page = store.history(None, 500, after.as_deref()).await.unwrap();
        seen.extend(page.items.iter().map(|r| r.revision));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), usize::try_from(all.revision).unwrap(), "no revision is missing");

    // The wake-up outlives it all.
    sleep(Duration::from_millis(500)).await;
    changes.mark_unchanged();
    store.write(vec![put(&model("after"), json!({}))], &rest(), false).await.unwrap();
    tokio::time::timeout(Duration::from_secs(8), changes.changed()).await.unwrap().unwrap();
}
