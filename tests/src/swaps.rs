//! Swaps of the example model's weights at running workers, each a real load: the version that was left is gone before the next.
use anyhow::{Context, Result, ensure};

use crate::{
    client::Client,
    documents::{PATIENCE, everybody, pool, with_examples_and},
    tidegate::Tidegate,
    wait,
};

/// As [`with_examples_and`]; the workers let go of a version that is no longer wanted after half a second, not two.
///
/// # Errors
/// As there.
pub async fn swapping() -> Result<(Tidegate, Client)> {
    with_examples_and(&[], &[("TIDEGATE_WORKER_LINGER", "500ms")]).await
}

/// Moves the stable pool and everybody to `version`; returns when it answers and no stable worker has another one loaded.
///
/// # Errors
/// When it is not so in time.
pub async fn swap_to(tidegate: &Tidegate, client: &Client, version: &str) -> Result<()> {
    tidegate.apply(&format!("{}{}", pool("chat-stable", version, 2), everybody(version))).await?;
    wait::until("the new weights to answer", PATIENCE, async || {
        let answer = client.chat("What is assert?", &[("x-user-id", "probe")]).await?.expect(200)?;
        ensure!(answer.version() == version, "{} still answers", answer.version());
        Ok(())
    })
    .await?;
    wait::until("the old weights to be gone", PATIENCE, async || {
        let (status, nodes) = tidegate.admin("GET", "/api/v1/nodes", None).await?;
        ensure!(status == 200, "{status}: {nodes}");
        for node in nodes["items"].as_array().context("items")?.iter().filter(|n| n["pool"] == "default/chat-stable") {
            let versions = node["worker"]["versions"].as_array().context("versions")?;
            ensure!(versions.len() == 1 && versions[0]["name"] == version, "{versions:?}");
        }
        Ok(())
    })
    .await
}

/// Where the workers of a pool (`namespace/name`) listen, `ip:port`.
///
/// # Errors
/// When the pool has none.
pub async fn worker_addresses(tidegate: &Tidegate, pool: &str) -> Result<Vec<String>> {
    let (_, nodes) = tidegate.admin("GET", "/api/v1/nodes", None).await?;
    let nodes = nodes["items"].as_array().context("items")?.iter().filter(|n| n["pool"] == pool);
    let addresses: Vec<String> = nodes.filter_map(|n| n["worker"]["address"].as_str().map(str::to_owned)).collect();
    ensure!(!addresses.is_empty(), "pool {pool} has no worker");
    Ok(addresses)
}

/// How often the worker at `ip:port` has loaded weights with success.
///
/// # Errors
/// When it does not say.
pub async fn loads(address: &str) -> Result<u64> {
    let metrics = Client::new(format!("http://{address}"), None)?.get("/metrics").await?.expect(200)?.body;
    let mut lines = metrics.lines().filter(|l| l.starts_with("tidegate_model_loads_total{"));
    let line = lines.find(|l| l.contains("outcome=\"ok\"")).with_context(|| metrics.clone())?;
    Ok(line.rsplit(' ').next().context("a number")?.parse()?)
}
