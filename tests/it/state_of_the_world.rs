//! An Envoy that speaks the state-of-the-world variant of ADS, as older proxies and gRPC clients do: it gets the same, through changes
//! and a restart of the control plane.
use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result, ensure};
use system_tests::{
    documents::{PATIENCE, both_answer, release, with_examples},
    tidegate::Tidegate,
    tools, wait,
};

use crate::policy_storm::storm;

/// A program that `up` runs instead of Envoy: it makes the variant the other one in the bootstrap, and becomes Envoy.
fn envoy(dir: &tempfile::TempDir) -> Result<String> {
    let script = dir.path().join("envoy");
    let real = tools::envoy()?;
    fs::write(
        &script,
        format!(
            "#!/bin/sh\nfor file; do :; done\nsed 's/\"DELTA_GRPC\"/\"GRPC\"/' \"$file\" > \"${{file%.json}}-sotw.json\"\n\
             exec {} --disable-hot-restart --log-level warn -c \"${{file%.json}}-sotw.json\"\n",
            real.display()
        ),
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script.to_string_lossy().into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_speaks_state_of_the_world_gets_every_change_and_comes_back() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (tidegate, client) = with_examples(&["--envoy-bin", &envoy(&dir)?]).await?;
    let dump = tidegate.envoy_admin("/config_dump").await?;
    ensure!(dump.contains("\"api_type\": \"GRPC\"") && !dump.contains("DELTA_GRPC"), "it speaks delta: {dump}");
    storm(&tidegate, &client, 60).await?;

    let old = tidegate.pids("tidegate serve");
    Tidegate::kill_9(*old.first().context("no `tidegate serve` runs")?)?;
    wait::until("a new control plane with every node in sync", PATIENCE, async || {
        let new = tidegate.pids("tidegate serve");
        ensure!(!new.is_empty() && new != old, "it is not back yet");
        tidegate.synced(5).await
    })
    .await?;
    tidegate.apply(&release("v1", "v2", 0)).await?;
    both_answer(&client).await?;
    let rejected = tidegate.envoy_admin("/stats?filter=update_rejected$").await?;
    let rejected: Vec<_> = rejected.lines().filter(|l| !l.ends_with(": 0")).collect();
    ensure!(rejected.is_empty(), "{rejected:?}");
    Ok(())
}
