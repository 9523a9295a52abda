//! Local limits: what the whole fleet admits stays within the stated bound, also while the numbers change.
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, stream};
use system_tests::{
    client::{Client, chat_body},
    documents::{PATIENCE, limit, with_examples},
    swaps::worker_addresses,
    tidegate::Tidegate,
    wait,
};

const QUESTION: &str = "What is assert?";

/// Asks `count` times, 16 at a time; how many were admitted, and whether each refusal said when to come back.
async fn admitted(client: &Client, count: usize) -> Result<usize> {
    admitted_with(client, count, &[]).await
}

async fn admitted_with(client: &Client, count: usize, more: &[(&str, &str)]) -> Result<usize> {
    let asked = stream::iter(0..count).map(|n| async move {
        let user = format!("user-{n}");
        let headers = [&[("x-user-id", user.as_str())], more].concat();
        client.send("/v1/chat/completions", &chat_body(QUESTION, 1, false), &headers).await
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

/// A bound as the status states it: `<burst> + <rate>*t/<window>ms`.
#[derive(Debug)]
struct Stated {
    burst: u64,
    rate: u64,
    window_ms: u64,
}

impl Stated {
    /// The bound that stands before `place` in the text.
    fn before(place: &str, text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split(place).next().context("words")?.rsplitn(4, ' ').collect();
        let [rate, "+", burst, _] = words.as_slice() else { bail!("no bound before {place:?} in {text}") };
        let (rate, window) = rate.split_once("*t/").with_context(|| text.to_owned())?;
        let window_ms = window.trim_end_matches("ms").parse()?;
        Ok(Self { burst: burst.parse()?, rate: rate.parse()?, window_ms })
    }

    /// What it allows in a time that began before the first request.
    fn within(&self, time: Duration) -> u64 {
        self.burst + self.rate * u64::try_from(time.as_millis()).unwrap_or(u64::MAX) / self.window_ms + 1
    }
}

/// What the policy says of itself once it is in force everywhere.
async fn stated(tidegate: &Tidegate) -> Result<String> {
    wait::until("the bound in the status", PATIENCE, async || {
        let (_, policy) =
            tidegate.admin("GET", "/api/v1/namespaces/default/ratelimitpolicies/chat-limits", None).await?;
        let conditions = policy["status"]["conditions"].as_array().into_iter().flatten();
        let programmed = conditions.filter(|c| c["type"] == "Programmed" && c["status"] == "True").count();
        let bound = policy["status"]["bounds"][0].as_str().unwrap_or_default().to_owned();
        ensure!(programmed == 1 && bound.contains("20 + 2*t/1000ms in any t"), "{policy}");
        Ok(bound)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_admits_no_more_than_the_bound_that_the_status_states() -> Result<()> {
    let (tidegate, _) = with_examples(&[]).await?;
    let client = tidegate.client("counted").await?;
    // Slow enough that refill hardly matters: 20 at once, 2 a second.
    tidegate.apply(&limit("[{type: Tenant}]", 2, 20)).await?;
    let stated = stated(&tidegate).await?;
    println!("the status says: {stated}");
    let began = Instant::now();
    let by_gateway = admitted(&client, 200).await? as u64;
    let bound = Stated::before(" in the fleet", &stated)?;
    let allowed = bound.within(began.elapsed());
    ensure!((bound.burst..=allowed).contains(&by_gateway), "{by_gateway} admitted, {allowed} allowed: {bound:?}");

    // Past the gateway, each worker still holds its own: whoever reaches them all never gets more than the last bound.
    let mut in_all = by_gateway;
    for pool in ["default/chat-stable", "default/chat-canary"] {
        for address in worker_addresses(&tidegate, pool).await? {
            let direct = Client::new(format!("http://{address}"), None)?;
            in_all += admitted_with(&direct, 60, &[("x-tidegate-tenant", "counted")]).await? as u64;
        }
    }
    let bound = Stated::before(" at the workers", &stated)?;
    let allowed = bound.within(began.elapsed());
    println!("{by_gateway} admitted by the gateway, {in_all} in all, {allowed} allowed");
    ensure!((bound.burst..=allowed).contains(&in_all), "{in_all} admitted, {allowed} allowed: {bound:?}");

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
