//! Faults that are done to the parts of a system that works, one after the other, under traffic; each is undone, and all must be
//! well again before the next.
mod fault;
mod live;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use self::{
    fault::{FAULTS, Fault, Named},
    live::Live,
};
use super::judge;

/// How long `Ready` may say True, and a cause may be unnamed, once requests fail.
const GRACE: Duration = Duration::from_secs(2);
/// Longest wait for a cause, or until all is well again; a bound for slow machines.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether what must be said is said now.
async fn is_named(live: &Live, named: Named) -> Result<bool> {
    Ok(match named {
        Named::Nothing => true,
        Named::Object(object, words) => {
            let seen = live.read().await?;
            let said = judge::said(&seen).to_lowercase();
            let not_ready = judge::not_ready(&seen).iter().any(|o| o == object);
            not_ready && words.iter().any(|w| said.contains(&w.to_lowercase()))
        }
        Named::Node(node) => !live.is_connected(node).await?,
        Named::Write(code) => live.refuses_writes(code).await?,
    })
}

/// When it is said. While `serve` is away there is nobody to ask.
async fn named_at(live: &Live, named: Named) -> Option<Instant> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if is_named(live, named).await.unwrap_or(false) {
            return Some(Instant::now());
        }
        tokio::time::sleep(PAUSE).await;
    }
    None
}

/// What the requests said so far.
#[derive(Default)]
struct Traffic {
    failing: Option<Instant>,
    /// Promises that were broken, and since when.
    since: BTreeMap<String, Instant>,
    wrong: Vec<String>,
}

impl Traffic {
    /// Asks until it is dropped.
    async fn watch(&mut self, live: &Live) {
        loop {
            let Ok(seen) = live.look().await else { continue };
            let failed = judge::first_failure(&seen);
            self.failing = self.failing.or(failed);
            let broken = judge::broken(&seen);
            self.since.retain(|what, _| broken.contains(what));
            for what in broken {
                let first = *self.since.entry(what.clone()).or_insert(failed.unwrap_or(seen.at));
                if seen.at - first > GRACE {
                    self.wrong.push(format!("for {:?}: {what}", seen.at - first));
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Injects, watches, and says what was wrong.
async fn watch(live: &Live, (fault, named): (Fault, Named)) -> Result<Vec<String>> {
    let stopped = live.inject(fault).await?;
    let (began, mut traffic) = (Instant::now(), Traffic::default());
    // Requests go on for the grace and a little more after it was said, so that a promise broken then is seen.
    let said = async {
        let at = named_at(live, named).await;
        tokio::time::sleep(GRACE * 2).await;
        at
    };
    let at = tokio::select! {
        at = said => at,
        () = traffic.watch(live) => None,
    };
    let Traffic { failing, mut wrong, .. } = traffic;
    match (at, failing) {
        (None, _) => wrong.push("the cause was never named".to_owned()),
        (Some(at), Some(failing)) if at.saturating_duration_since(failing) > GRACE => {
            wrong.push(format!("requests failed {:?} before the cause was named", at - failing));
        }
        (Some(_), _) => {}
    }
    wrong.truncate(4);
    let after = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(began));
    println!("{fault:?}: named after {:?}, failing after {:?}", after(at), after(failing));
    drop(stopped);
    live.undo(fault).await?;
    live.well(&format!("{fault:?}")).await?;
    Ok(wrong.into_iter().map(|w| format!("{fault:?}: {w}")).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_a_running_part_is_named_and_ready_is_true_only_while_requests_succeed() -> Result<()> {
    let root = tempfile::Builder::new().prefix("tidegate-models-").tempdir()?;
    let live = Live::start(root.path()).await?;
    let only = std::env::var("TIDEGATE_TEST_FAULT").unwrap_or_default();
    let mut wrong = Vec::new();
    for (fault, named) in FAULTS.into_iter().filter(|(fault, _)| format!("{fault:?}").contains(&only)) {
        wrong.extend(watch(&live, (fault, named)).await?);
    }
    ensure!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
