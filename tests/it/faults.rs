//! kill -9 of each part in turn, in the middle of writes and requests: no answered write is lost, requests that had not
//! begun succeed elsewhere, only the open streams of a killed worker end, with an error, and all is in sync again in 5 s.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use system_tests::{
    answers::Answers,
    client::{CHAT_TOKENS, Client},
    documents::{PATIENCE, both_answer, with_examples},
    swaps::worker_addresses,
    tidegate::Tidegate,
    wait,
};
use tokio::task::JoinSet;

/// A write that was answered: the object, the revision that the answer names, and what was written.
#[derive(Debug, Clone)]
struct Written {
    name: String,
    revision: u64,
    rate: u64,
}

/// Writers of policies and askers of questions, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    /// Every write that was answered.
    answered: Arc<Mutex<Vec<Written>>>,
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
                    let answer = tidegate.admin("PUT", &path(&name), Some(policy(&name, rate))).await;
                    if let Ok((200..=299, stored)) = answer {
                        let revision = stored["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok());
                        let written = Written { name, revision: revision.unwrap_or_default(), rate };
                        answered.lock().unwrap_or_else(PoisonError::into_inner).push(written);
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
                    match answer.and_then(|a| answers.check(question, CHAT_TOKENS, &a.words())) {
                        Ok(()) => *asked.lock().unwrap_or_else(PoisonError::into_inner) += 1,
                        Err(error) => {
                            failures.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{error:#}"))
                        }
                    }
                }
            });
        }
        load
    }

    async fn stop(mut self) -> (usize, Vec<String>, Vec<Written>) {
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

/// Every answered write is in the history, at the revision that its answer named, as it was written.
async fn all_kept(tidegate: &Tidegate, answered: &[Written]) -> Result<()> {
    let mut kept = BTreeMap::new();
    for name in answered.iter().map(|w| &w.name).collect::<BTreeSet<_>>() {
        let all = format!("/api/v1/revisions?kind=RateLimitPolicy&namespace=default&name={name}&limit=500");
        let mut page = all.clone();
        loop {
            let (status, answer) = tidegate.admin("GET", &page, None).await?;
            ensure!(status == 200, "{status}: {answer}");
            for item in answer["items"].as_array().context("items")? {
                let rate = item["spec"]["limits"][0]["requests"]["rate"].as_u64();
                kept.insert((name.clone(), item["revision"].as_u64().context("revision")?), rate);
            }
            let Some(next) = answer["metadata"]["continue"].as_str() else { break };
            page = format!("{all}&continue={next}");
        }
    }
    for write in answered {
        let found = kept.get(&(write.name.clone(), write.revision));
        ensure!(found == Some(&Some(write.rate)), "{write:?} was answered, kept is {found:?}");
    }
    Ok(())
}

/// A worker of the pool that answers most requests here, proven to have answered some.
async fn busy_worker(tidegate: &Tidegate) -> Result<i32> {
    let pids = tidegate.pids("chat-stable");
    for address in worker_addresses(tidegate, "default/chat-stable").await? {
        let metrics = Client::new(format!("http://{address}"), None)?.get("/metrics").await?.expect(200)?.body;
        ensure!(metrics.contains("tidegate_requests_total{"), "{address} has answered nothing: {metrics}");
    }
    pids.into_iter().min().context("no stable worker runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_any_part_loses_no_answered_write_and_no_request_that_had_not_begun() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    let (tidegate, answers) = (Arc::new(tidegate), Arc::new(Answers::read()?));
    wait::until("five nodes in sync", PATIENCE, async || tidegate.synced(5).await).await?;
    for (part, needle) in [("serve", "tidegate serve"), ("a worker", "tidegate-worker"), ("Postgres", "postgres")] {
        let load = Load::start(&tidegate, &client, &answers);
        tokio::time::sleep(Duration::from_millis(700)).await;
        let before = tidegate.pids(needle);
        let victim = match part {
            "a worker" => busy_worker(&tidegate).await?,
            _ => *before.iter().min().with_context(|| format!("{part} does not run"))?,
        };
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
        wait::until("everything in sync again", PATIENCE, async || tidegate.synced(5).await).await?;
        println!("{part}: in sync {} ms after it was back", back.elapsed().as_millis());
        ensure!(back.elapsed() < Duration::from_secs(5), "{part}: in sync only after {:?}", back.elapsed());
        wait::until("the policies to be programmed", PATIENCE, async || programmed(&tidegate).await).await?;
        tokio::time::sleep(Duration::from_millis(700)).await;
        let (asked, failures, answered) = load.stop().await;
        println!("{part}: {asked} answers, {} failures, {} answered writes", failures.len(), answered.len());
        ensure!(failures.is_empty(), "{part}: {} of {asked} failed, the first: {:?}", failures.len(), failures.first());
        ensure!(asked > 20 && answered.len() > 20, "{part}: too little was tried: {asked}, {}", answered.len());
        all_kept(&tidegate, &answered).await.with_context(|| part.to_owned())?;
    }
    Ok(())
}

/// The release that is in force says so.
async fn programmed(tidegate: &Tidegate) -> Result<()> {
    let (status, release) = tidegate.admin("GET", "/api/v1/namespaces/default/releasepolicies/chat", None).await?;
    let conditions = release["status"]["conditions"].as_array().into_iter().flatten();
    let programmed = conditions.filter(|c| c["type"] == "Programmed" && c["status"] == "True").count();
    ensure!(status == 200 && programmed == 1, "{release}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_open_streams_of_a_killed_worker_end_and_with_an_error() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    let answers = Answers::read()?;
    let (long_v1, long_v2) = (answers.longest("v1").context("v1")?, answers.longest("v2").context("v2")?);
    // Whether a stream is still open when the signal arrives is a race: several rounds, and at least one must have cut some.
    let mut cut = 0;
    for round in 0..10 {
        both_answer(&client).await?;
        let canary = tidegate.pids("chat-canary");
        let [canary] = canary.as_slice() else { bail!("one canary worker expected: {canary:?}") };
        let user = [("x-user-id", "nobody")];
        let beside = futures::future::try_join_all((0..3).map(|_| client.open(long_v1, 64, &user))).await?;
        let theirs =
            futures::future::try_join_all((0..3).map(|_| client.open(long_v2, 256, &[("x-gray-tag", "v2")]))).await?;
        Tidegate::kill_9(*canary)?;
        for stream in theirs {
            match stream.finish().await {
                Ok(s) if s.done && s.error.is_none() => answers.check(long_v2, 256, &s.words)?,
                Ok(s) => {
                    ensure!(s.error.is_some(), "round {round}: a stream ended in silence: {s:?}");
                    cut += 1;
                }
                Err(_) => cut += 1,
            }
        }
        for stream in beside {
            let streamed = stream.finish().await.context("a stream of another worker was cut")?;
            ensure!(streamed.done && streamed.error.is_none(), "a stream of another worker was cut: {streamed:?}");
            answers.check(long_v1, 64, &streamed.words)?;
        }
        if cut > 0 {
            println!("round {round}: {cut} streams of the killed worker ended with an error, the others were whole");
            return Ok(());
        }
    }
    bail!("the worker always died too late to cut a stream");
}
