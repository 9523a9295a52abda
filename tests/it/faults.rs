//! kill -9 of each part in turn, in the middle of writes and requests: no answered write is lost, requests that had not
//! begun succeed elsewhere, only the open streams of a killed worker end, with an error, and all is in sync again in 5 s.
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use system_tests::{answers::Answers, client::Client, tidegate::Tidegate, wait};
use tokio::task::JoinSet;

use crate::documents::{PATIENCE, with_examples};

/// Writers of policies and askers of questions, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    /// Objects by name, with the last weight whose write was answered.
    answered: Arc<Mutex<BTreeMap<String, u64>>>,
    failures: Arc<Mutex<Vec<String>>>,
    asked: Arc<Mutex<usize>>,
    tasks: JoinSet<()>,
}

impl Load {
    fn start(tidegate: &Arc<Tidegate>, client: &Client, answers: &Arc<Answers>) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            answered: Arc::default(),
            failures: Arc::default(),
            asked: Arc::default(),
            tasks: JoinSet::new(),
        };
        for number in 0..2 {
            let (stop, tidegate, answered) = (load.stop.clone(), tidegate.clone(), load.answered.clone());
            load.tasks.spawn(async move {
                let mut rate = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    rate += 1;
                    let name = format!("written-{number}");
                    // A refused or unanswered write promises nothing; an answered one does.
                    if let Ok((200..=299, _)) = tidegate.admin("PUT", &path(&name), Some(policy(&name, rate))).await {
                        answered.lock().unwrap_or_else(PoisonError::into_inner).insert(name, rate);
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        }
        for number in 0..3 {
            let (stop, client, answers) = (load.stop.clone(), client.clone(), answers.clone());
            let (failures, asked) = (load.failures.clone(), load.asked.clone());
            load.tasks.spawn(async move {
                let user = format!("asker-{number}");
                for question in answers.questions().iter().cycle().skip(number * 3) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let answer = client.chat(question, &[("x-user-id", &user)]).await.and_then(|a| a.expect(200));
                    match answer {
                        Ok(a) if answers.agrees(a.version(), question, &a.text()) => {
                            *asked.lock().unwrap_or_else(PoisonError::into_inner) += 1
                        }
                        Ok(a) => failures.lock().unwrap_or_else(PoisonError::into_inner).push(format!(
                            "{} said {:?}",
                            a.version(),
                            a.text()
                        )),
                        Err(error) => {
                            failures.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{error:#}"))
                        }
                    }
                }
            });
        }
        load
    }

    async fn stop(mut self) -> (usize, Vec<String>, BTreeMap<String, u64>) {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        (
            asked,
            self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        )
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/namespaces/default/ratelimitpolicies/{name}")
}

fn policy(name: &str, rate: u64) -> String {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "RateLimitPolicy", "metadata": {"name": name},
        "spec": {
            "targetRefs": [{"kind": "Model", "name": "all-minilm-l6-v2"}],
            "limits": [{"name": "n", "requests": {"rate": rate, "window": "1s", "burst": 100_000}}],
        },
    })
    .to_string()
}

/// Every node that was there is connected and SYNCED.
async fn synced(tidegate: &Tidegate, nodes: usize) -> Result<()> {
    let (status, answer) = tidegate.admin("GET", "/api/v1/nodes", None).await?;
    ensure!(status == 200, "{status}");
    let items = answer["items"].as_array().context("items")?;
    let good = items.iter().filter(|node| {
        let types = node["types"].as_array().map(Vec::as_slice).unwrap_or_default();
        node["connected"] == true && !types.is_empty() && types.iter().all(|t| t["state"] == "SYNCED")
    });
    let good = good.count();
    ensure!(good >= nodes, "{good} of {nodes} nodes in sync: {answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_any_part_loses_no_answered_write_and_no_request_that_had_not_begun() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    let (tidegate, answers) = (Arc::new(tidegate), Arc::new(Answers::read()?));
    wait::until("five nodes in sync", PATIENCE, async || synced(&tidegate, 5).await).await?;
    for (part, needle) in [("serve", "tidegate serve"), ("a worker", "tidegate-worker"), ("Postgres", "postgres")] {
        let load = Load::start(&tidegate, &client, &answers);
        tokio::time::sleep(Duration::from_millis(700)).await;
        let before = tidegate.pids(needle);
        let victim = *before.iter().min().with_context(|| format!("{part} does not run"))?;
        Tidegate::kill_9(victim)?;
        let back = wait::until(&format!("{part} to be back"), PATIENCE, async || {
            let now = tidegate.pids(needle);
            ensure!(!now.contains(&victim) && now.len() >= before.len().min(4), "{now:?}");
            if needle == "tidegate-worker" {
                return Ok(Instant::now());
            }
            let (status, _) = tidegate.admin("GET", "/readyz", None).await?;
            ensure!(status == 200, "readyz {status}");
            Ok(Instant::now())
        })
        .await?;
        wait::until("everything in sync again", PATIENCE, async || synced(&tidegate, 5).await).await?;
        println!("{part}: in sync {} ms after it was back", back.elapsed().as_millis());
        ensure!(back.elapsed() < Duration::from_secs(5), "{part}: in sync only after {:?}", back.elapsed());
        tokio::time::sleep(Duration::from_millis(700)).await;
        let (asked, failures, answered) = load.stop().await;
        println!("{part}: {asked} answers, {} failures, {} writers", failures.len(), answered.len());
        ensure!(failures.is_empty(), "{part}: {} of {asked} failed, the first: {:?}", failures.len(), failures.first());
        ensure!(asked > 20 && answered.len() == 2, "{part}: too little was tried: {asked}, {answered:?}");
        for (name, rate) in answered {
            let (status, stored) = tidegate.admin("GET", &path(&name), None).await?;
            let kept = stored["spec"]["limits"][0]["requests"]["rate"].as_u64().unwrap_or_default();
            ensure!(status == 200 && kept >= rate, "{part}: {name} was answered at {rate}, kept is {kept}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_of_a_killed_worker_ends_with_an_error_and_not_in_silence() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    let canary = tidegate.pids("chat-canary");
    let [canary] = canary.as_slice() else { bail!("one canary worker expected: {canary:?}") };
    let mut streams = JoinSet::new();
    for _ in 0..24 {
        let client = client.clone();
        streams.spawn(async move { client.stream("What is binary?", 200, &[("x-gray-tag", "v2")]).await });
    }
    tokio::time::sleep(Duration::from_millis(40)).await;
    Tidegate::kill_9(*canary)?;
    let (mut cut, mut whole) = (0, 0);
    for outcome in streams.join_all().await {
        match outcome {
            Ok(streamed) if streamed.done && streamed.finish_reason.is_some() => whole += 1,
            Ok(streamed) => ensure!(streamed.error.is_some(), "a stream ended in silence: {streamed:?}"),
            Err(_) => cut += 1,
        }
    }
    println!("{cut} streams ended with an error, {whole} were whole");
    ensure!(cut > 0, "the worker died too late to cut a stream");
    Ok(())
}
