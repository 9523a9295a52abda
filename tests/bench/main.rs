//! `make bench`: the figures of docs/reference/benchmarks.md, measured on this machine with the real parts. It prints tables and
//! writes nothing. Times are noisy on a small machine: read ratios, and medians over many rounds.
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use system_tests::{
    client::{CHAT_MODEL, Client, chat_body},
    tidegate::Tidegate,
    tools, wait,
};

const ROUNDS: usize = 60;
const SWAPS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<()> {
    let tidegate = Tidegate::start().await?;
    tidegate.ok(&["apply", "-f", &tools::repository().join("examples").to_string_lossy()]).await?;
    let client = tidegate.client("bench").await?;
    wait::until("both versions to answer", PATIENCE, async || {
        let tagged = client.chat("What is assert?", &[("x-gray-tag", "v2")]).await?.expect(200)?;
        let plain = client.chat("What is assert?", &[("x-user-id", "nobody")]).await?.expect(200)?;
        ensure!((tagged.version(), plain.version()) == ("v2", "v1"), "not yet");
        Ok(())
    })
    .await?;
    tidegate.apply(&limit(1_000_000)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    sizes(&tidegate)?;
    enforced_at_envoy(&tidegate, &client).await?;
    enforced_at_a_worker(&tidegate).await?;
    swap(&tidegate, &client).await?;
    let left = tidegate.stop().await?;
    ensure!(left.is_empty(), "left running: {left:?}");
    Ok(())
}

fn limit(rate: u64) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{name: chat-limits}}\nspec:\n  \
         targetRefs: [{{kind: Model, name: {CHAT_MODEL}}}]\n  limits:\n    - name: per-tenant\n      \
         counters: [{{type: Tenant}}]\n      requests: {{rate: {rate}, window: 1s, burst: {rate}}}\n"
    )
}

fn release(tag_to: &str) -> Value {
    serde_json::json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "ReleasePolicy", "metadata": {"name": "chat"},
        "spec": {
            "targetRef": {"kind": "Model", "name": CHAT_MODEL}, "stable": "v1", "candidate": "v2",
            "rules": [{"match": [{"type": "Header", "header": {"name": "x-bench", "type": "Present"}}], "to": tag_to}],
            "steps": [{"weight": 0}],
        },
    })
}

fn print(name: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let at = |q: f64| times.get(((times.len() - 1) as f64 * q).round() as usize).copied().unwrap_or_default();
    println!("{name:<44} p50 {:>7.1} ms   p99 {:>7.1} ms   n {}", at(0.5), at(0.99), times.len());
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

/// From the answer of the write to the first request that is routed by it.
async fn enforced_at_envoy(tidegate: &Tidegate, client: &Client) -> Result<()> {
    let (mut from_answer, mut write) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let to = ["Candidate", "Stable"][round % 2];
        let wanted = to.to_ascii_lowercase();
        let began = Instant::now();
        let (status, body) = tidegate
            .admin("PUT", "/api/v1/namespaces/default/releasepolicies/chat", Some(release(to).to_string()))
            .await?;
        ensure!(status < 300, "{status}: {body}");
        write.push(ms(began));
        let answered = Instant::now();
        loop {
            let body = chat_body("What is assert?", 1, false);
            let answer = client.send("/v1/chat/completions", &body, &[("x-bench", "1")]).await?.expect(200)?;
            if answer.arm() == wanted {
                break;
            }
            ensure!(answered.elapsed() < PATIENCE, "never enforced");
        }
        from_answer.push(ms(answered));
    }
    print("policy write, request to answer", write);
    print("policy answered -> routed so by Envoy", from_answer);
    Ok(())
}

/// From the answer of the write to the first 429 of a worker that is asked directly.
async fn enforced_at_a_worker(tidegate: &Tidegate) -> Result<()> {
    let (_, nodes) = tidegate.admin("GET", "/api/v1/nodes", None).await?;
    let address = nodes["items"].as_array().into_iter().flatten().find(|n| n["pool"] == "default/chat-stable");
    let address = address.and_then(|n| n["worker"]["address"].as_str()).context("a worker")?;
    let direct = Client::new(format!("http://{address}"), None)?;
    let mut times = Vec::new();
    let path = "/api/v1/namespaces/default/ratelimitpolicies/chat-limits";
    let json = |rate: u64, window: &str| {
        serde_json::json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "RateLimitPolicy", "metadata": {"name": "chat-limits"},
            "spec": {"targetRefs": [{"kind": "Model", "name": CHAT_MODEL}],
                "limits": [{"name": "all", "requests": {"rate": rate, "window": window, "burst": rate}}]},
        })
    };
    for _ in 0..ROUNDS {
        for (rate, window, wanted) in [(1, "1h", 429), (1_000_000, "1s", 200)] {
            let (status, body) = tidegate.admin("PUT", path, Some(json(rate, window).to_string())).await?;
            ensure!(status < 300, "{status}: {body}");
            let answered = Instant::now();
            while direct.send("/v1/chat/completions", &chat_body("What is assert?", 1, false), &[]).await?.status
                != wanted
            {
                ensure!(answered.elapsed() < PATIENCE, "never enforced");
            }
            times.push(ms(answered));
        }
    }
    print("limit answered -> enforced by a worker", times);
    Ok(())
}

fn pool(version: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: WorkerPool\nmetadata: {{name: chat-stable}}\nspec:\n  \
         modelRef: {{name: {CHAT_MODEL}}}\n  versions: [{version}]\n  replicas: 2\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: ReleasePolicy\nmetadata: {{name: chat}}\nspec:\n  \
         targetRef: {{kind: Model, name: {CHAT_MODEL}}}\n  stable: {version}\n"
    )
}

/// Latency of requests while weights are swapped again and again, against the same load before, in one run.
async fn swap(tidegate: &Tidegate, client: &Client) -> Result<()> {
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
    for n in 0..SWAPS {
        let version = ["v2", "v1"][n % 2];
        tidegate.apply(&pool(version)).await?;
        wait::until("the swap", PATIENCE, async || {
            let answer = client.chat("What is assert?", &[("x-user-id", "probe")]).await?.expect(200)?;
            ensure!(answer.version() == version, "not yet");
            Ok(())
        })
        .await?;
    }
    let during = take().into_iter().collect::<Result<Vec<f64>>>()?;
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    print("request of 8 tokens, no swap", before);
    print(&format!("request of 8 tokens, during {SWAPS} swaps"), during);
    Ok(())
}

/// Programs on disk and processes at rest.
fn sizes(tidegate: &Tidegate) -> Result<()> {
    for program in ["tidegate", "tidegate-worker"] {
        let bytes = std::fs::metadata(tools::program(program)?)?.len();
        println!("program {program:<36} {:>7.1} MB", bytes as f64 / 1e6);
    }
    for (name, needle) in [
        ("tidegate serve", "tidegate serve"),
        ("worker, tide-chat", "chat-canary"),
        ("worker, MiniLM", "embed"),
        ("envoy", "envoy"),
    ] {
        let resident = tidegate.pids(needle).into_iter().filter_map(Tidegate::resident_kib).max().unwrap_or_default();
        println!("resident at rest, {name:<26} {:>7.1} MB", resident as f64 / 1e3);
    }
    Ok(())
}
