//! 200 random valid policy changes under load, half of them adding or removing an Envoy cluster: Envoy rejects none, every
//! request is answered, no stream is cut.
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use system_tests::{answers::Answers, client::Client, tidegate::Tidegate, tools, wait};
use tokio::task::JoinSet;

use crate::documents::{PATIENCE, limit, release, with_examples};

const CHANGES: usize = 200;
const SEED: u64 = 7;

/// A Model of its own with one version: one more cluster.
fn extra_model(n: usize) -> Result<String> {
    let manifest = std::fs::read_to_string(tools::example_models().join("tide-chat/v1/manifest.json"))?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
    let document = serde_json::json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Model", "metadata": {"name": format!("extra-{n}")},
        "spec": {"versions": [{
            "name": "v1", "uri": "file:tide-chat/v1", "task": "Chat", "chatTemplate": "chat_template.jinja", "files": manifest["files"],
        }]},
    });
    Ok(document.to_string())
}

/// A pool without workers that makes the extra model's version routed.
fn extra_pool(n: usize) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: WorkerPool\nmetadata: {{name: extra-{n}}}\nspec:\n  \
         modelRef: {{name: extra-{n}}}\n  versions: [v1]\n  replicas: 0\n"
    )
}

/// The example's release with random rules and weight; the answers stay those of v1 and v2.
fn random_release(random: &mut StdRng) -> String {
    let tag = |random: &mut StdRng| ["Exact", "Prefix"][random.random_range(0..2)];
    let mut rules = String::new();
    for n in 0..random.random_range(0..6) {
        let to = ["Stable", "Candidate"][random.random_range(0..2)];
        rules.push_str(&format!(
            "    - match: [{{type: Header, header: {{name: x-rule-{n}, type: {}, value: a{n}}}}}]\n      to: {to}\n",
            tag(random)
        ));
    }
    let base = release("v1", "v2", random.random_range(0..=100));
    base.replace("  steps:", &format!("{rules}  steps:"))
}

async fn change(tidegate: &Tidegate, random: &mut StdRng, extras: &mut Vec<usize>, n: usize) -> Result<()> {
    if n.is_multiple_of(2) {
        if extras.len() > 6 || (!extras.is_empty() && random.random_bool(0.5)) {
            let gone = extras.swap_remove(random.random_range(0..extras.len()));
            tidegate.ok(&["delete", "workerpool", &format!("extra-{gone}")]).await?;
            tidegate.ok(&["delete", "model", &format!("extra-{gone}")]).await?;
        } else {
            extras.push(n);
            tidegate.apply(&format!("{}\n---\n{}", extra_model(n)?, extra_pool(n))).await?;
        }
        return Ok(());
    }
    let text = match random.random_range(0..3) {
        0 => limit("[{type: Tenant}]", random.random_range(50_000..100_000), 100_000),
        _ => random_release(random),
    };
    tidegate.apply(&text).await.map(drop)
}

#[derive(Default)]
struct Tally {
    asked: AtomicUsize,
    streamed: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

async fn load(client: Client, answers: Arc<Answers>, tally: Arc<Tally>, stop: Arc<AtomicBool>) {
    let questions = answers.questions();
    for (n, question) in questions.iter().cycle().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let user = format!("user-{n}");
        if n % 4 == 0 {
            match client.stream(question, 96, &[("x-user-id", &user)]).await {
                Ok(s) if s.done && s.error.is_none() => {
                    tally.streamed.fetch_add(1, Ordering::Relaxed);
                }
                other => tally.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(format!("stream: {other:?}")),
            }
            continue;
        }
        match client.chat(question, &[("x-user-id", &user)]).await.and_then(|a| a.expect(200)) {
            Ok(a) if answers.agrees(a.version(), question, &a.text()) => {
                tally.asked.fetch_add(1, Ordering::Relaxed);
            }
            other => tally.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{other:?}")),
        }
    }
}

/// Sum of every counter of Envoy whose name ends with `suffix`.
async fn counters(tidegate: &Tidegate, suffix: &str) -> Result<u64> {
    let stats = tidegate.envoy_admin(&format!("/stats?filter={suffix}$")).await?;
    stats.lines().map(|l| l.rsplit_once(": ").context("a counter")?.1.parse::<u64>().context("a number")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_rejects_none_of_200_random_changes_and_no_request_notices() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    let (answers, tally, stop) =
        (Arc::new(Answers::read()?), Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for _ in 0..3 {
        clients.spawn(load(client.clone(), answers.clone(), tally.clone(), stop.clone()));
    }
    let updates = counters(&tidegate, "update_success").await?;
    let (mut random, mut extras) = (StdRng::seed_from_u64(SEED), Vec::new());
    for n in 0..CHANGES {
        change(&tidegate, &mut random, &mut extras, n).await.with_context(|| format!("change {n} of seed {SEED}"))?;
    }
    wait::until("the last change to be everywhere", PATIENCE, async || {
        let (_, nodes) = tidegate.admin("GET", "/api/v1/nodes", None).await?;
        let types =
            nodes["items"].as_array().into_iter().flatten().flat_map(|n| n["types"].as_array().into_iter().flatten());
        ensure!(types.clone().all(|t| t["state"] == "SYNCED"), "{nodes}");
        Ok(())
    })
    .await?;
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    let wrong = tally.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure!(wrong.is_empty(), "{} requests went wrong, the first: {:?}", wrong.len(), wrong.first());
    let (asked, streamed) = (tally.asked.load(Ordering::Relaxed), tally.streamed.load(Ordering::Relaxed));
    let applied = counters(&tidegate, "update_success").await? - updates;
    println!("{CHANGES} changes, {applied} accepted updates, {asked} answers, {streamed} whole streams");
    ensure!(counters(&tidegate, "update_rejected").await? == 0, "Envoy rejected an update");
    ensure!(applied >= CHANGES as u64 && asked > 50 && streamed > 20, "too little happened");
    Ok(())
}
