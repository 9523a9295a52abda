//! One large request for embeddings and many small ones, with the real model through the gateway: the small ones do not wait until
//! the large one is done, and what cannot end in time is refused with the size that can.
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use system_tests::{
    client::{Answer, Client},
    documents::{PATIENCE, with_examples},
    wait,
};

/// The most that OpenAI's API takes in one request.
const TEXTS: usize = 2_048;
/// More than any of the small requests may take. Alone one takes some 10 ms; a row of the large one takes as long.
const SMALL: Duration = Duration::from_secs(2);
/// The pool's time-out of a request.
const DEADLINE: Duration = Duration::from_secs(30);

fn body(texts: usize) -> Value {
    let text =
        |n| format!("text {n} of a large request that somebody sends to fill an index of short sentences at night");
    json!({"model": "all-minilm-l6-v2", "input": (0..texts).map(text).collect::<Vec<_>>()})
}

async fn embed(client: &Client, body: &Value) -> Result<(Answer, Duration)> {
    let begun = Instant::now();
    let answer = client.send("/v1/embeddings", body, &[]).await?;
    Ok((answer, begun.elapsed()))
}

/// The large request's answer: all rows in order. When the pace does not allow it (also when the machine becomes slower meanwhile), it
/// is refused before its deadline with the size that fits; then half of that is sent.
async fn large(client: &Client) -> Result<String> {
    let mut texts = TEXTS;
    let (answer, took) = loop {
        let (answer, took) = embed(client, &body(texts)).await?;
        if !matches!(answer.status, 413 | 429) {
            break (answer, took);
        }
        ensure!(took < DEADLINE, "refused after {took:?}");
        let said = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        let numbers = said.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<usize>().ok());
        let fits = numbers.filter(|n| (2..texts).contains(n)).max().with_context(|| format!("no size in {said:?}"))?;
        texts = fits / 2;
    };
    let answer = answer.expect(200)?.json();
    let rows = answer["data"].as_array().context("rows")?;
    ensure!(rows.len() == texts && rows.iter().enumerate().all(|(i, row)| row["index"] == i), "{} rows", rows.len());
    Ok(format!("{texts} texts in {took:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_request_does_not_wait_for_a_large_one() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    let other = tidegate.client("globex").await?;
    let small = json!({"model": "all-minilm-l6-v2", "input": "word"});
    for client in [&client, &other] {
        wait::until("embeddings to be answered", PATIENCE, async || embed(client, &small).await?.0.expect(200)).await?;
    }
    let bulk = {
        let client = client.clone();
        tokio::spawn(async move { large(&client).await })
    };
    // Of the same tenant and of another, in turn.
    let mut waits = Vec::new();
    while !bulk.is_finished() {
        let client = if waits.len() % 2 == 0 { &client } else { &other };
        let (answer, took) = embed(client, &small).await?;
        answer.expect(200)?;
        waits.push(took);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let bulk = bulk.await??;
    waits.sort();
    let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    println!("{bulk}; {} small requests beside it: median {median:?}, longest {longest:?}", waits.len());
    ensure!(waits.len() >= 5 && longest < SMALL, "{bulk}; {} small ones waited up to {longest:?}", waits.len());
    Ok(())
}
