//! The control plane is away for longer than any back-off grows by itself, and a key is revoked meanwhile: the gateway is back within
//! the stated bound, and with it the revocation.
use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use system_tests::{client::Client, documents::PATIENCE, tidegate::Tidegate, tools, wait};

/// How long the control plane is away. Envoy's own back-off would have grown to a wait of up to 16 s.
const OUTAGE: Duration = Duration::from_secs(15);
/// The stated bound is 1 s and the time of a connection; the rest is for a slow machine.
const BACK: Duration = Duration::from_secs(4);

/// Revokes every key of the tenant in the database, as another replica of the control plane would.
async fn revoke(tidegate: &Tidegate, tenant: &str) -> Result<()> {
    let url = fs::read_to_string(tidegate.data().join("run/database-url"))?;
    let sql = format!("UPDATE api_keys SET revoked_at = now() WHERE tenant = '{tenant}'");
    let mut psql = tokio::process::Command::from(tools::postgres("psql")?);
    let output = psql.args(["-qc", &sql, "--dbname", url.trim()]).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_revoked_during_an_outage_stops_working_within_the_bound() -> Result<()> {
    let tidegate = Tidegate::start().await?;
    let client: Client = tidegate.client("acme").await?;
    let began = Instant::now();
    let mut revoked = false;
    while began.elapsed() < OUTAGE {
        for pid in tidegate.pids("tidegate serve") {
            // It may have ended by itself in this moment.
            let _ = Tidegate::kill_9(pid);
        }
        if !revoked && began.elapsed() > OUTAGE / 3 {
            revoke(&tidegate, "acme").await?;
            revoked = true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(client.get("/v1/models").await?.status != 401, "the gateway heard of the revocation: there was no outage");
    wait::until("the control plane to be ready", PATIENCE, async || {
        let (status, _) = tidegate.admin("GET", "/readyz", None).await?;
        ensure!(status == 200, "readyz {status}");
        Ok(())
    })
    .await?;
    let ready = Instant::now();
    wait::until("the revoked key to be refused", PATIENCE, async || {
        let status = client.get("/v1/models").await?.status;
        ensure!(status == 401, "status {status}");
        Ok(())
    })
    .await?;
    println!("in force {} ms after the control plane was ready", ready.elapsed().as_millis());
    ensure!(ready.elapsed() < BACK, "the gateway came back only after {:?}", ready.elapsed());
    tidegate.pids("envoy").first().context("the gateway lived through it")?;
    Ok(())
}
