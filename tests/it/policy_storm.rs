//! Random valid policy changes under load, half of them adding or removing an Envoy cluster: Envoy rejects none, every request is
//! answered, no stream is cut.
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use system_tests::{
    answers::Answers,
    client::{CHAT_TOKENS, Client},
    documents::{PATIENCE, limit, release, with_examples},
    tidegate::Tidegate,
    tools, wait,
};
use tokio::task::JoinSet;

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

/// A random condition of any type; what it wants is what [`load`] sends now and then.
fn random_match(random: &mut StdRng, n: usize) -> String {
    match random.random_range(0..8) {
        0 => format!("{{type: Header, header: {{name: x-rule-{n}, type: Exact, value: a{n}}}}}"),
        1 => format!("{{type: Header, header: {{name: x-rule-{n}, type: Prefix, value: a}}}}"),
        2 => format!("{{type: Header, header: {{name: x-rule-{n}, type: Regex, value: \"(a|b)[0-9]+\"}}}}"),
        3 => format!("{{type: Header, header: {{name: x-release-{n}, type: Semver, value: \"^1.{n}\"}}}}"),
        4 => format!("{{type: Header, header: {{name: x-rule-{n}, type: Present}}}}"),
        5 => format!("{{type: Tag, tag: {{name: region, type: Exact, value: r{n}}}}}"),
        6 => "{type: Tenant, tenant: {name: acme}}".to_owned(),
        _ => {
            let to = random.random_range(1..9_999);
            format!("{{type: Bucket, bucket: {{header: x-user-id, salt: s{n}, from: 0, to: {to}}}}}")
        }
    }
}

/// The example's release with random rules and weight; the answers stay those of v1 and v2.
fn random_release(random: &mut StdRng) -> String {
    let mut rules = String::new();
    for n in 0..random.random_range(0..6) {
        let to = ["Stable", "Candidate"][random.random_range(0..2)];
        rules.push_str(&format!("    - match: [{}]\n      to: {to}\n", random_match(random, n)));
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
    match random.random_range(0..8) {
        // A key that comes, and goes at once: the gateway's key set changes twice.
        0 => {
            let made = tidegate.ok(&["api-key", "create", "--tenant", "passing", "-o", "json"]).await?;
            let made: serde_json::Value = serde_json::from_str(&made)?;
            let id = made["id"].as_str().with_context(|| format!("no id in {made}"))?;
            tidegate.ok(&["api-key", "revoke", id]).await.map(drop)
        }
        1 | 2 => tidegate.apply(&random_limit(random)).await.map(drop),
        _ => tidegate.apply(&random_release(random)).await.map(drop),
    }
}

/// Limits far above the load, in number, counter, condition and kind at random.
fn random_limit(random: &mut StdRng) -> String {
    let counter = ["[{type: Tenant}]", "[]", "[{type: Header, header: {name: x-user-id}}]"][random.random_range(0..3)];
    let mut text = limit(counter, random.random_range(50_000..100_000), 100_000);
    if random.random_bool(0.5) {
        let n = random.random_range(0..6);
        let condition = random_match(random, n);
        text = text.replace(
            "---\n",
            &format!(
                "    - name: more\n      match: [{condition}]\n      concurrency: {}\n---\n",
                random.random_range(500..1_000)
            ),
        );
    }
    text
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
        // What the random rules look for.
        let (rule, at) = (n % 6, n / 6);
        let names = [format!("x-rule-{rule}"), format!("x-release-{rule}")];
        let values = [format!("user-{n}"), format!("a{rule}"), format!("v1.{rule}.3"), format!("r{rule}")];
        let all = [
            ("x-user-id", values[0].as_str()),
            (&names[0], &values[1]),
            (&names[1], &values[2]),
            ("x-tag-region", &values[3]),
        ];
        let headers = &all[..=at % 4];
        let (tokens, counter, words) = if n % 4 == 0 {
            (96, &tally.streamed, client.stream(question, 96, headers).await)
        } else {
            let answer = client.chat(question, headers).await.and_then(|a| a.expect(200));
            (CHAT_TOKENS, &tally.asked, answer.map(|a| a.words()))
        };
        match words.and_then(|words| answers.check(question, tokens, &words)) {
            Ok(()) => {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => tally.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{error:#}")),
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
    storm(&tidegate, &client, 200).await
}

/// That many random changes under load, and what has to hold meanwhile and afterwards.
pub async fn storm(tidegate: &Tidegate, client: &Client, changes: usize) -> Result<()> {
    let (answers, tally, stop) =
        (Arc::new(Answers::read()?), Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for _ in 0..3 {
        clients.spawn(load(client.clone(), answers.clone(), tally.clone(), stop.clone()));
    }
    let updates = counters(tidegate, "update_success").await?;
    let clusters = [counters(tidegate, "cluster_added").await?, counters(tidegate, "cluster_removed").await?];
    let (mut random, mut extras) = (StdRng::seed_from_u64(SEED), Vec::new());
    for n in 0..changes {
        change(tidegate, &mut random, &mut extras, n).await.with_context(|| format!("change {n} of seed {SEED}"))?;
    }
    wait::until("the last change to be everywhere", PATIENCE, async || tidegate.synced(5).await).await?;
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    let wrong = tally.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure!(wrong.is_empty(), "{} requests went wrong, the first: {:?}", wrong.len(), wrong.first());
    let (asked, streamed) = (tally.asked.load(Ordering::Relaxed), tally.streamed.load(Ordering::Relaxed));
    let applied = counters(tidegate, "update_success").await? - updates;
    println!("{changes} changes, {applied} accepted updates, {asked} answers, {streamed} whole streams");
    let added = counters(tidegate, "cluster_added").await? - clusters[0];
    let removed = counters(tidegate, "cluster_removed").await? - clusters[1];
    println!("{added} clusters added, {removed} removed");
    // Every second change does one or the other; a few may meet in one push and cancel each other.
    let most = changes as u64 * 2 / 5;
    ensure!(added + removed >= most, "half of the changes add or remove a cluster: {added} + {removed}");
    ensure!(counters(tidegate, "update_rejected").await? == 0, "Envoy rejected an update");
    ensure!(applied >= changes as u64 && asked > 50 && streamed > 20, "too little happened");
    Ok(())
}
