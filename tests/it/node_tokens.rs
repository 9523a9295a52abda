//! A node of `up` whose token ends while it runs gets another by itself: no request fails, nothing is restarted, and new
//! configuration reaches it again.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use system_tests::{
    documents::{PATIENCE, with_examples},
    wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_of_the_gateway_or_a_worker_is_replaced_without_a_restart() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    wait::until("five nodes in sync", PATIENCE, async || tidegate.synced(5).await).await?;
    let before = [tidegate.pids("envoy"), tidegate.pids("tidegate-worker")];
    let stop = Arc::new(AtomicBool::new(false));
    let asked = tokio::spawn({
        let (stop, client) = (stop.clone(), client.clone());
        async move {
            let mut answered = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                client.chat("What is assert?", &[("x-user-id", "nobody")]).await?.expect(200)?;
                answered += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(answered)
        }
    });
    for node in ["gateway-0", "default.chat-stable.0"] {
        let (status, answer) = tidegate.admin("DELETE", &format!("/api/v1/node-tokens/{node}"), None).await?;
        ensure!(status == 204 || status == 200, "{node}: {status} {answer}");
    }
    for name in ["gateway", "default.chat-stable.0"] {
        wait::until(&format!("{name} to be healed"), PATIENCE, async || {
            let printed = tidegate.printed();
            let said = printed.lines().any(|l| l.starts_with(&format!("{name}: its node token had ended")));
            ensure!(said && printed.contains("TG-1548"), "{printed}");
            Ok(())
        })
        .await?;
    }
    wait::until("five nodes in sync again", PATIENCE, async || tidegate.synced(5).await).await?;
    // A key that was made afterwards: the gateway gets new configuration.
    tidegate.client("later").await?;
    stop.store(true, Ordering::Relaxed);
    let answered = asked.await??;
    println!("{answered} answers meanwhile, none failed");
    ensure!(answered > 5, "too little was asked: {answered}");
    let after = [tidegate.pids("envoy"), tidegate.pids("tidegate-worker")];
    ensure!(before == after, "something was restarted: {before:?} {after:?}");
    Ok(())
}
