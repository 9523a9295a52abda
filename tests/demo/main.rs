//! `make demo`: the main job, live and in plain words, on real parts. `--once` exits by itself, non-zero if a claim failed.
mod claims;
mod show;
mod traffic;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Instant};

use anyhow::{Context, Result};
use show::Show;
use system_tests::tidegate::{Place, Tidegate};

#[tokio::main]
async fn main() -> Result<()> {
    let once = std::env::args().skip(1).any(|a| a == "--once");
    let mut show = Show::new(Instant::now());
    show.step("starting Postgres, the control plane, the workers and Envoy");
    let mut earlier = BTreeMap::new();
    let tidegate = tokio::select! {
        started = start(once, &mut earlier) => started?,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("stopped by Ctrl-C"),
    };
    for line in tidegate.printed().lines() {
        show.detail(line);
    }
    let shown = tokio::select! {
        shown = claims::run(&tidegate, &mut show, &earlier) => shown,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("stopped by Ctrl-C")),
    };
    if let Err(error) = &shown {
        show.claim("the demo runs to its end", Err(anyhow::anyhow!("{error:#}")));
    }
    if !once && shown.is_ok() {
        show.stays_up(&tidegate)?;
        tokio::signal::ctrl_c().await?;
    }
    show.step("stopping everything");
    let left = tidegate.stop().await?;
    show.claim("nothing is left running", if left.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("{left:?}")) });
    std::process::exit(show.summary());
}

/// At the documented place; with `--once` on free ports in a temporary directory, so that it can run beside anything.
/// `earlier` gets the length of every log that is there from before.
async fn start(once: bool, earlier: &mut BTreeMap<PathBuf, usize>) -> Result<Tidegate> {
    if once {
        return Tidegate::start().await;
    }
    let data = match std::env::var_os("TIDEGATE_DATA_DIR") {
        Some(dir) => PathBuf::from(dir),
        None if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/tidegate"),
        None => std::env::current_dir()?.join(".tidegate"),
    };
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let scratch = data.join("demo");
    let place = Place { data, scratch, admin: address(9_080), gateway: address(10_000), grpc: address(18_000) };
    *earlier = claims::log_lengths(&place);
    Tidegate::start_at(place).await.context("start on the documented ports")
}
