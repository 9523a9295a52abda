//! Order, bounds and honest words.
use std::sync::{Arc, Mutex};

use super::*;

fn queue(places: usize, most: usize, patience_ms: u64) -> Arc<Queue> {
    Arc::new(Queue::new("writes", (places, most), Duration::from_millis(patience_ms)))
}

#[tokio::test]
async fn turns_come_in_the_order_of_asking() {
    let queue = queue(1, 100, 60_000);
    let first = queue.turn().await.ok();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..20 {
        let (queue, order) = (queue.clone(), order.clone());
        tasks.push(tokio::spawn(async move {
            let _turn = queue.turn().await.ok().unwrap();
            order.lock().unwrap().push(n);
        }));
        tokio::task::yield_now().await;
    }
    drop(first);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn one_more_than_may_wait_is_turned_away_at_once_and_one_who_waited_long_enough_too() {
    let queue = queue(1, 2, 50);
    let held = queue.turn().await.ok();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            tokio::spawn({
                let queue = queue.clone();
                async move { queue.turn().await.err().map(|e| e.to_string()) }
            })
        })
        .collect();
    while queue.waiting.load(Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    let Err(StoreError::Busy { what, waiting: before, retry_after_s }) = queue.turn().await else {
        panic!("it got a turn")
    };
    assert_eq!((what, before, retry_after_s), ("writes", 2, 1));
    for task in waiting {
        let said = task.await.unwrap().unwrap();
        assert!(said.contains("too many writes at once"), "{said}");
    }
    drop(held);
    assert!(queue.turn().await.is_ok(), "a place is free again");
}

#[tokio::test]
async fn one_who_leaves_the_queue_takes_no_place_with_it() {
    let queue = queue(1, 1, 60_000);
    let held = queue.turn().await.ok();
    let left = tokio::time::timeout(Duration::from_millis(5), queue.turn()).await;
    assert!(left.is_err());
    assert_eq!(queue.waiting.load(Ordering::Relaxed), 0);
    drop(held);
    assert!(queue.turn().await.is_ok());
}
