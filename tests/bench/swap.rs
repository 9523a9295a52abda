//! What a swap of weights costs the requests that flow meanwhile.
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use system_tests::{
    client::{Client, chat_body},
    documents::limit,
    swaps::{loads, swap_to, worker_addresses},
    tidegate::Tidegate,
};

use crate::stats::{ms, print};

const SWAPS: usize = 20;

/// Latency of requests while weights are swapped again and again, against the same load before, in one run.
pub async fn swap(tidegate: &Tidegate, client: &Client) -> Result<()> {
    let (stop, times) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..2 {
        let (client, stop, times) = (client.clone(), stop.clone(), times.clone());
        clients.spawn(async move {
            let user = format!("user-{number}");
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let body = chat_body("What is assert?", 8, false);
                let answer = client.send("/v1/chat/completions", &body, &[("x-user-id", &user)]).await;
                let took = answer.and_then(|a| a.expect(200)).map(|_| ms(began));
                times.lock().unwrap_or_else(PoisonError::into_inner).push(took);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
    let take = || std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
    tokio::time::sleep(Duration::from_secs(8)).await;
    let before = take().into_iter().collect::<Result<Vec<f64>>>()?;
    // As many writes by the same command line and as many probes, without weights: what is left is the price of the swap itself.
    for n in 0..SWAPS {
        let rate = 1_000_000 + n as u64;
        tidegate.apply(&limit("[{type: Tenant}]", rate, rate)).await?;
        client.chat("What is assert?", &[("x-user-id", "probe")]).await?.expect(200)?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let writes = take().into_iter().collect::<Result<Vec<f64>>>()?;
    for n in 0..SWAPS {
        swap_to(tidegate, client, ["v2", "v1"][n % 2]).await?;
    }
    let during = take().into_iter().collect::<Result<Vec<f64>>>()?;
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    print("request of 8 tokens, nothing changes", before);
    print(&format!("request of 8 tokens, during {SWAPS} other writes"), writes);
    print(&format!("request of 8 tokens, during {SWAPS} swaps"), during);
    for worker in worker_addresses(tidegate, "default/chat-stable").await? {
        println!("loads of weights at {worker} so far: {}", loads(&worker).await?);
    }
    Ok(())
}
