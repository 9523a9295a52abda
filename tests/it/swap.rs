//! New weights under load: every answer during 50 swaps is the greedy reference of the version that its header names, and
//! no worker is restarted.
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use system_tests::{
    answers::Answers,
    client::{CHAT_TOKENS, Client},
    swaps::{loads, swap_to, swapping, worker_addresses},
};
use tokio::task::JoinSet;

const SWAPS: usize = 50;
const CLIENTS: usize = 4;

#[derive(Default)]
struct Seen {
    by_version: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

async fn ask_until(stop: Arc<AtomicBool>, client: Client, answers: Arc<Answers>, number: usize) -> Seen {
    let (mut seen, questions) = (Seen::default(), answers.questions());
    for (n, question) in questions.iter().cycle().skip(number * 5).enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let user = format!("user-{number}");
        // Every third as a stream: those are the ones that a swap would cut.
        let (tokens, answer) = if n % 3 == 0 {
            (48, client.stream(question, 48, &[("x-user-id", &user)]).await)
        } else {
            let answer = client.chat(question, &[("x-user-id", &user)]).await.and_then(|a| a.expect(200));
            (CHAT_TOKENS, answer.map(|a| a.words()))
        };
        match answer.and_then(|words| answers.check(question, tokens, &words).map(|()| words.version)) {
            Ok(version) => *seen.by_version.entry(version).or_default() += 1,
            Err(error) => seen.wrong.push(format!("{error:#}")),
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_during_fifty_swaps_is_the_reference_of_the_version_in_its_header() -> Result<()> {
    let (tidegate, client) = swapping().await?;
    let answers = Arc::new(Answers::read()?);
    let workers = tidegate.pids("tidegate-worker");
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(ask_until(stop.clone(), client.clone(), answers.clone(), number));
    }
    for n in 0..SWAPS {
        let version = ["v2", "v1"][n % 2];
        swap_to(&tidegate, &client, version).await.with_context(|| format!("swap {n}"))?;
    }
    stop.store(true, Ordering::Relaxed);
    let mut total: BTreeMap<String, usize> = BTreeMap::new();
    for seen in clients.join_all().await {
        ensure!(seen.wrong.is_empty(), "{} wrong, the first: {:?}", seen.wrong.len(), seen.wrong.first());
        for (version, count) in seen.by_version {
            *total.entry(version).or_default() += count;
        }
    }
    println!("{SWAPS} swaps, answers by version {total:?}");
    ensure!(total.len() == 2 && total.values().all(|n| *n >= 50), "both versions must have answered often: {total:?}");
    ensure!(tidegate.pids("tidegate-worker") == workers, "a worker was restarted");
    for worker in worker_addresses(&tidegate, "default/chat-stable").await? {
        let loads = loads(&worker).await?;
        ensure!(loads > SWAPS as u64, "{worker} loaded weights only {loads} times in {SWAPS} swaps");
    }
    Ok(())
}
