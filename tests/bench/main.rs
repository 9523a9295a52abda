//! `make bench`: the figures of docs/reference/benchmarks.md, measured on this machine with the real parts. It prints tables and
//! writes nothing. Times are noisy on a small machine: read ratios, and medians over many rounds.
//!
//! Usage: bench [policy] [swap] [http]; without a name all of them.
mod http;
mod policy;
mod stats;
mod swap;

use std::time::Duration;

use anyhow::{Result, ensure};
use system_tests::{documents::limit, swaps::swapping, tidegate::Tidegate, tools};

#[tokio::main]
async fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for name in &wanted {
        ensure!(["policy", "swap", "http"].contains(&name.as_str()), "no benchmark {name}: policy, swap or http");
    }
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    let (tidegate, client) = swapping().await?;
    tidegate.apply(&limit("[{type: Tenant}]", 1_000_000, 1_000_000)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    sizes(&tidegate)?;
    if wants("policy") {
        policy::enforced_at_envoy(&tidegate, &client).await?;
        policy::enforced_at_a_worker(&tidegate).await?;
    }
    if wants("swap") {
        swap::swap(&tidegate, &client).await?;
    }
    if wants("http") {
        http::worker_and_peer(&tidegate).await?;
    }
    let left = tidegate.stop().await?;
    ensure!(left.is_empty(), "left running: {left:?}");
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
