//! How long after its answer a write is in force, at the gateway and at a worker.
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use system_tests::{
    client::{CHAT_MODEL, Client, chat_body},
    documents::PATIENCE,
    tidegate::Tidegate,
};

use crate::stats::{ms, print};

const ROUNDS: usize = 100;

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

/// From the answer of the write to the first request that is routed by it.
pub async fn enforced_at_envoy(tidegate: &Tidegate, client: &Client) -> Result<()> {
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
pub async fn enforced_at_a_worker(tidegate: &Tidegate) -> Result<()> {
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
