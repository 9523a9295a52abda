//! Local limits: what the whole fleet admits stays within the stated bound, also while the numbers change.
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, stream};
use system_tests::{client::Client, wait};

use crate::documents::{PATIENCE, limit, with_examples};

const QUESTION: &str = "What is assert?";

/// Asks `count` times, 16 at a time; how many were admitted, and whether each refusal said when to come back.
async fn admitted(client: &Client, count: usize) -> Result<usize> {
    let asked = stream::iter(0..count).map(|n| async move {
        let user = format!("user-{n}");
        let body = system_tests::client::chat_body(QUESTION, 1, false);
        client.send("/v1/chat/completions", &body, &[("x-user-id", &user)]).await
    });
    let mut admitted = 0;
    for answer in asked.buffer_unordered(16).collect::<Vec<_>>().await {
        let answer = answer?;
        match answer.status {
            200 => admitted += 1,
            429 => {
                let wait: u64 = answer.header("retry-after").parse().with_context(|| format!("{answer:?}"))?;
                ensure!(wait >= 1, "{answer:?}");
                ensure!(answer.json()["error"]["message"].is_string(), "{answer:?}");
            }
            other => anyhow::bail!("status {other}: {}", answer.body),
        }
    }
    Ok(admitted)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_admits_no_more_than_the_bound_that_the_status_states() -> Result<()> {
    let (tidegate, _) = with_examples(&[]).await?;
    let client = tidegate.client("counted").await?;
    // Slow enough that refill hardly matters: 20 at once, 2 a second.
    tidegate.apply(&limit("[{type: Tenant}]", 2, 20)).await?;
    let stated = wait::until("the bound in the status", PATIENCE, async || {
        let (_, policy) =
            tidegate.admin("GET", "/api/v1/namespaces/default/ratelimitpolicies/chat-limits", None).await?;
        let bounds = policy["status"]["bounds"].to_string();
        ensure!(bounds.contains("20 + 2") || bounds.contains("20"), "{policy}");
        let programmed = policy["status"]["conditions"].as_array().into_iter().flatten();
        let programmed = programmed.filter(|c| c["type"] == "Programmed" && c["status"] == "True").count();
        ensure!(programmed == 1, "{policy}");
        Ok(bounds)
    })
    .await?;
    println!("the status says: {stated}");
    let began = Instant::now();
    let got = admitted(&client, 200).await?;
    let refill = began.elapsed().as_millis() as usize * 2 / 1_000 + 1;
    // One gateway admits at most burst + refill, whatever the three workers would.
    ensure!((20..=20 + refill).contains(&got), "{got} admitted in {:?}", began.elapsed());

    tidegate.apply(&limit("[{type: Tenant}]", 2, 1_000)).await?;
    wait::until("the raised limit to help", PATIENCE, async || {
        let answer = client.chat(QUESTION, &[]).await?;
        ensure!(answer.status == 200, "{}", answer.status);
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lowered_limit_refuses_within_a_second_without_a_restart() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    let workers = tidegate.pids("tidegate-worker");
    for round in 0..3 {
        tidegate.apply(&limit("[{type: Tenant}]", 1, 1)).await?;
        let began = Instant::now();
        while client.chat(QUESTION, &[("x-user-id", "nobody")]).await?.status != 429 {
            ensure!(began.elapsed() < Duration::from_secs(1), "round {round}: no refusal after {:?}", began.elapsed());
        }
        tidegate.apply(&limit("[{type: Tenant}]", 10_000, 10_000)).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        ensure!(admitted(&client, 100).await? == 100, "round {round}: the raised limit still refuses");
    }
    ensure!(tidegate.pids("tidegate-worker") == workers, "a worker was restarted");
    Ok(())
}
