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
    // Every write that was answered: object, number, and the revision that it was said to be.
    let answered = Arc::new(Mutex::new(Vec::<(String, i64, i64)>::new()));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writers: Vec<_> = (0..6)
        .map(|w| {
            let (store, answered, stop) = (store.clone(), Arc::clone(&answered), Arc::clone(&stop));
            tokio::spawn(async move {
                let name = format!("w{w}");
                let mut n = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    n += 1;
                    match store.write(vec![put(&model(&name), json!({"n": n}))], &rest(), false).await {
                        Ok(done) => answered.lock().unwrap().push((name.clone(), n, done[0].0.revision)),
                        Err(_) => sleep(Duration::from_millis(20)).await,
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
    // Each revision is one write here; a number that was lost and given again would be another write's.
    let mut history = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.history(None, 500, after.as_deref()).await.unwrap();
        let said = |spec: &Option<serde_json::Value>| spec.as_ref().unwrap()["n"].as_i64().unwrap();
        history.extend(page.items.into_iter().map(|r| (r.revision, (said(&r.spec), r.key.object.name))));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(history.len(), usize::try_from(all.revision).unwrap(), "no revision is missing");
    let answered = std::mem::take(&mut *answered.lock().unwrap());
    for writer in 0..6 {
        let got_on = answered.iter().filter(|(name, ..)| *name == format!("w{writer}")).count();
        assert!(got_on > 3, "w{writer} was answered {got_on} times");
    }
    for (name, n, revision) in answered {
        assert_eq!(history.get(&revision), Some(&(n, name)), "an answered write is what it was said to be");
    }
    for object in &all.objects {
        let last = (object.spec["n"].as_i64().unwrap(), object.key.object.name.clone());
        assert_eq!(history.get(&object.revision), Some(&last), "what is in force is the end of the history");
    }

    // The wake-up outlives it all.
    sleep(Duration::from_millis(500)).await;
    changes.mark_unchanged();
    store.write(vec![put(&model("after"), json!({}))], &rest(), false).await.unwrap();
    tokio::time::timeout(Duration::from_secs(8), changes.changed()).await.unwrap().unwrap();
}
