//! New weights under load: every answer during 50 swaps is the greedy reference of the version that its header names, and
//! no worker is restarted.
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Result, ensure};
use system_tests::{answers::Answers, client::Client, wait};
use tokio::task::JoinSet;

use crate::documents::{PATIENCE, everybody, pool, with_examples};

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
        let answer = if n % 3 == 0 {
            let streamed = client.stream(question, 48, &[("x-user-id", &user)]).await;
            streamed.and_then(|s| {
                ensure!(s.done && s.error.is_none(), "the stream ended early: {s:?}");
                Ok((s.version, s.text))
            })
        } else {
            let answer = client.chat(question, &[("x-user-id", &user)]).await.and_then(|a| a.expect(200));
            answer.map(|a| (a.version().to_owned(), a.text()))
        };
        match answer {
            Ok((version, text)) if answers.agrees(&version, question, &text) => {
                *seen.by_version.entry(version).or_default() += 1
            }
            Ok((version, text)) => seen.wrong.push(format!("{question}: header {version}, text {text:?}")),
            Err(error) => seen.wrong.push(format!("{question}: {error:#}")),
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_during_fifty_swaps_is_the_reference_of_the_version_in_its_header() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    let answers = Arc::new(Answers::read()?);
    let workers = tidegate.pids("tidegate-worker");
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(ask_until(stop.clone(), client.clone(), answers.clone(), number));
    }
    for n in 0..SWAPS {
        let version = ["v2", "v1"][n % 2];
        tidegate.apply(&format!("{}{}", pool("chat-stable", version, 2), everybody(version))).await?;
        wait::until("the new weights to answer", PATIENCE, async || {
            let answer = client.chat("What is assert?", &[("x-user-id", "probe")]).await?.expect(200)?;
            ensure!(answer.version() == version, "swap {n}: {} still answers", answer.version());
            Ok(())
        })
        .await?;
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
    Ok(())
}
