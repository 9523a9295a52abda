//! Faults that are done to the parts of a system that works, one after the other, under traffic; each is undone, and all must be
//! well again before the next.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use system_tests::{client::Client, tidegate::Tidegate, tools, wait};

use super::{
    files::{Version, chat},
    judge,
    look::{Ask, Looker, Seen, condition},
    standing::{document, model, pool},
};

const NS: &str = "live";
/// How long `Ready` may say True, and a cause may be unnamed, once requests fail.
const GRACE: Duration = Duration::from_secs(2);
/// How long a part that hangs may be taken for one that works: what the documentation of conditions states.
const HANG: Duration = Duration::from_secs(12);
/// How long a worker that died without a word, and does not come back, is taken for one that works: the term of its lease, as
/// the documentation of conditions states, and the interval of the looks.
const LEASE: Duration = Duration::from_millis(7500);
/// Longest wait for a cause, or until all is well again; a bound for slow machines.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    CanaryScaledToZero,
    CanaryDeleted,
    CanaryGetsABadVersion,
    CandidateLeavesTheModel,
    CandidateIsAnotherName,
    StableIsAnotherName,
    ModelDeleted,
    LimitMovesToATypo,
    PoolBeyondMaxWorkers,
    WorkerKilled,
    WorkerHangs,
    WorkerCannotStart,
    FilesGoneAndWorkerKilled,
    FilesChangedAndWorkerKilled,
    WorkerTokenRevoked,
    GatewayKilled,
    GatewayHangs,
    GatewayTokenRevoked,
    ServeKilled,
    PostgresHangs,
    PostgresReadOnly,
}
use Fault::*;

/// What must be said: by an object that is not Ready, by a node, or by `/readyz` and the answer to a write.
enum Named {
    /// `<plural>/<name>` is not Ready, and one of the words is said.
    Object(&'static str, &'static [&'static str]),
    /// The node's entry has one of the words, or it is shown as not connected.
    Node(&'static str),
    /// A write is refused with this code.
    Write(&'static str),
    /// Nothing: all is as before within the grace.
    Nothing,
}

impl Fault {
    fn named(self) -> Named {
        match self {
            CanaryScaledToZero | CanaryDeleted => Named::Object("releasepolicies/r", &["v2"]),
            CanaryGetsABadVersion => Named::Object("workerpools/q", &["TG-2017"]),
            CandidateLeavesTheModel => Named::Object("releasepolicies/r", &["no version v2"]),
            CandidateIsAnotherName | StableIsAnotherName => Named::Object("releasepolicies/r", &["v9"]),
            ModelDeleted => Named::Object("workerpools/p", &["does not exist"]),
            LimitMovesToATypo => Named::Object("ratelimitpolicies/l", &["does not exist"]),
            PoolBeyondMaxWorkers => Named::Object("workerpools/q", &["max-workers"]),
            WorkerKilled => Named::Nothing,
            WorkerHangs => Named::Object("workerpools/q", &["0 of 1"]),
            WorkerCannotStart => Named::Object("workerpools/q", &["0 of 1", "times in a row"]),
            FilesGoneAndWorkerKilled => Named::Object("workerpools/q", &["TG-2014", "TG-2013"]),
            FilesChangedAndWorkerKilled => Named::Object("workerpools/q", &["TG-2017", "TG-2016"]),
            WorkerTokenRevoked => Named::Nothing,
            GatewayKilled | GatewayTokenRevoked => Named::Nothing,
            GatewayHangs => Named::Node("gateway-0"),
            ServeKilled => Named::Nothing,
            PostgresHangs => Named::Write("TG-12"),
            PostgresReadOnly => Named::Write("TG-12"),
        }
    }

    /// What may pass before requests of a part that hangs are seen to fail.
    fn grace(self) -> Duration {
        match self {
            WorkerHangs | GatewayHangs => HANG,
            WorkerCannotStart => LEASE,
            _ => GRACE,
        }
    }
}

const ALL: [Fault; 21] = [
    CanaryScaledToZero,
    CanaryDeleted,
    CanaryGetsABadVersion,
    CandidateLeavesTheModel,
    CandidateIsAnotherName,
    StableIsAnotherName,
    ModelDeleted,
    LimitMovesToATypo,
    PoolBeyondMaxWorkers,
    WorkerKilled,
    WorkerHangs,
    FilesGoneAndWorkerKilled,
    FilesChangedAndWorkerKilled,
    WorkerTokenRevoked,
    GatewayKilled,
    GatewayHangs,
    GatewayTokenRevoked,
    ServeKilled,
    PostgresHangs,
    PostgresReadOnly,
    // Last of all: its worker is started ever more slowly, and the next fault would wait for it.
    WorkerCannotStart,
];

/// The system that works, and what its documents are.
struct Live {
    tidegate: Tidegate,
    client: Client,
    versions: [Version; 2],
    worker_link: PathBuf,
}

/// A process that is stopped, and goes on when this is dropped.
struct Stopped(Vec<i32>);

impl Stopped {
    fn stop(pids: Vec<i32>) -> Result<Self> {
        for pid in &pids {
            signal(*pid, Signal::STOP)?;
        }
        Ok(Self(pids))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = signal(*pid, Signal::CONT);
        }
    }
}

fn signal(pid: i32, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_raw(pid).context("pid 0")?, signal)?)
}

fn release(stable: &str, candidate: &str) -> Value {
    let header = json!({"type": "Header", "header": {"name": "X-Gray-Tag", "type": "Exact", "value": "v2"}});
    let spec = json!({
        "targetRef": {"kind": "Model", "name": "m"}, "stable": stable, "candidate": candidate,
        "steps": [{"weight": 50}], "rules": [{"match": [header], "to": "Candidate"}],
        "assignment": {"header": "x-user-id"},
    });
    document("ReleasePolicy", NS, "r", spec)
}

/// Far above what is asked here.
fn limit(target: &str) -> Value {
    let spec = json!({
        "targetRefs": [{"kind": "Model", "name": target}],
        "limits": [{"name": "n", "requests": {"rate": 100_000, "window": "1s"}}],
    });
    document("RateLimitPolicy", NS, "l", spec)
}

impl Live {
    async fn start(root: &Path) -> Result<Self> {
        let versions = [chat(root, NS, "v1", "v1")?, chat(root, NS, "v2", "v2")?];
        let worker_link = root.join("tidegate-worker");
        std::os::unix::fs::symlink(tools::program("tidegate-worker")?, &worker_link)?;
        let (roots, link) = (root.to_string_lossy(), worker_link.to_string_lossy());
        let flags = ["--model-roots", &roots, "--max-workers", "4", "--worker-bin", &link];
        let tidegate = Tidegate::start_with(&flags, &[]).await?;
        let client = tidegate.client("acme").await?;
        let live = Self { tidegate, client, versions, worker_link };
        live.apply(&live.documents()).await?;
        live.well("the start").await?;
        Ok(live)
    }

    fn documents(&self) -> Vec<Value> {
        let [v1, v2] = &self.versions;
        vec![
            model(NS, &[v1.spec.clone(), v2.spec.clone()]),
            pool(NS, "p", &["v1"], 2),
            pool(NS, "q", &["v2"], 1),
            release("v1", "v2"),
            limit("m"),
        ]
    }

    async fn apply(&self, documents: &[Value]) -> Result<()> {
        let body = Value::Array(documents.to_vec()).to_string();
        let (status, answer) = self.tidegate.admin("POST", "/api/v1/apply", Some(body)).await?;
        ensure!(status == 200, "{status} {answer}");
        Ok(())
    }

    async fn delete(&self, plural: &str, name: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/{NS}/{plural}/{name}");
        let (status, answer) = self.tidegate.admin("DELETE", &path, None).await?;
        ensure!(status == 200, "{status} {answer}");
        Ok(())
    }

    async fn look(&self) -> Result<Seen> {
        let looker = Looker { tidegate: &self.tidegate, client: &self.client };
        let mut seen = looker.look(&[(NS.to_owned(), Ask::Chat)]).await?;
        seen.pop().context("a look")
    }

    /// Everything is Ready, every request is answered, and the node entries say so.
    async fn well(&self, after: &str) -> Result<()> {
        wait::until(&format!("all to be well after {after}"), PATIENCE, async || {
            let seen = self.look().await?;
            ensure!(seen.after.len() == 5, "{:?}", seen.after.keys());
            for (name, object) in &seen.after {
                ensure!(condition(object, "Ready").0 == "True", "{name}: {}", object["status"]);
            }
            ensure!(seen.answers.iter().all(|a| a.status == 200), "{:?}", seen.answers);
            Ok(())
        })
        .await
    }

    /// The pids of the workers of a pool.
    fn workers(&self, pool: &str) -> Vec<i32> {
        self.tidegate.pids(&format!("{NS}.{pool}."))
    }

    /// Each statement by itself, in one session.
    async fn sql(&self, statements: &[&str]) -> Result<()> {
        let url = fs::read_to_string(self.tidegate.data().join("run/database-url"))?;
        let mut command = tokio::process::Command::from(tools::postgres("psql")?);
        command.arg("--dbname").arg(url.trim());
        for statement in statements {
            command.arg("--command").arg(statement);
        }
        let output = command.output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    async fn inject(&self, fault: Fault) -> Result<Option<Stopped>> {
        let [v1, v2] = &self.versions;
        match fault {
            CanaryScaledToZero => self.apply(&[pool(NS, "q", &["v2"], 0)]).await?,
            CanaryDeleted => self.delete("workerpools", "q").await?,
            CanaryGetsABadVersion => {
                let bad = v2.clone().with("name", json!("v3")).say("model.onnx", "sha256", json!("0".repeat(64)));
                let versions = [v1.spec.clone(), v2.spec.clone(), bad.spec];
                self.apply(&[model(NS, &versions), pool(NS, "q", &["v3"], 1)]).await?;
            }
            CandidateLeavesTheModel => self.apply(&[model(NS, std::slice::from_ref(&v1.spec))]).await?,
            CandidateIsAnotherName => self.apply(&[release("v1", "v9")]).await?,
            StableIsAnotherName => self.apply(&[release("v9", "v2")]).await?,
            ModelDeleted => self.delete("models", "m").await?,
            LimitMovesToATypo => self.apply(&[limit("mm")]).await?,
            PoolBeyondMaxWorkers => self.apply(&[pool(NS, "q", &["v2"], 3)]).await?,
            WorkerKilled => self.kill("q")?,
            WorkerHangs => return Ok(Some(Stopped::stop(self.workers("q"))?)),
            WorkerCannotStart => {
                fs::remove_file(&self.worker_link)?;
                std::os::unix::fs::symlink("/bin/false", &self.worker_link)?;
                self.kill("q")?;
            }
            FilesGoneAndWorkerKilled => {
                fs::rename(&v2.dir, v2.dir.with_extension("away"))?;
                self.kill("q")?;
            }
            FilesChangedAndWorkerKilled => {
                let template = v2.dir.join("chat_template.jinja");
                fs::rename(&template, v2.dir.join("kept"))?;
                fs::write(&template, "{{ messages[0].content }}")?;
                self.kill("q")?;
            }
            WorkerTokenRevoked => self.revoke(&format!("{NS}.q.0")).await?,
            GatewayKilled => self.tidegate.pids("envoy.json").iter().try_for_each(|pid| signal(*pid, Signal::KILL))?,
            GatewayHangs => return Ok(Some(Stopped::stop(self.tidegate.pids("envoy.json"))?)),
            GatewayTokenRevoked => self.revoke("gateway-0").await?,
            ServeKilled => {
                self.tidegate.pids("tidegate serve").iter().try_for_each(|pid| signal(*pid, Signal::KILL))?
            }
            PostgresHangs => return Ok(Some(Stopped::stop(self.tidegate.pids("postgres"))?)),
            PostgresReadOnly => {
                let on = "ALTER SYSTEM SET default_transaction_read_only = on";
                self.sql(&[on, "SELECT pg_reload_conf()"]).await?;
            }
        }
        Ok(None)
    }

    fn kill(&self, pool: &str) -> Result<()> {
        let pids = self.workers(pool);
        ensure!(!pids.is_empty(), "no worker of {pool} runs");
        pids.iter().try_for_each(|pid| signal(*pid, Signal::KILL))
    }

    async fn revoke(&self, node: &str) -> Result<()> {
        let (status, answer) = self.tidegate.admin("DELETE", &format!("/api/v1/node-tokens/{node}"), None).await?;
        ensure!(status == 200 || status == 204, "{status} {answer}");
        Ok(())
    }

    async fn undo(&self, fault: Fault) -> Result<()> {
        let [_, v2] = &self.versions;
        match fault {
            WorkerCannotStart => {
                fs::remove_file(&self.worker_link)?;
                std::os::unix::fs::symlink(tools::program("tidegate-worker")?, &self.worker_link)?;
            }
            FilesGoneAndWorkerKilled => fs::rename(v2.dir.with_extension("away"), &v2.dir)?,
            FilesChangedAndWorkerKilled => fs::rename(v2.dir.join("kept"), v2.dir.join("chat_template.jinja"))?,
            PostgresReadOnly => {
                let off = "SET default_transaction_read_only = off";
                let reset = "ALTER SYSTEM RESET default_transaction_read_only";
                self.sql(&[off, reset, "SELECT pg_reload_conf()"]).await?;
            }
            _ => {}
        }
        wait::until("the documents to be as they were", PATIENCE, async || {
            self.apply(&self.documents()).await?;
            // A write that was answered with an error may have been done all the same.
            let path = format!("/api/v1/namespaces/{NS}/ratelimitpolicies/probe");
            let (status, answer) = self.tidegate.admin("DELETE", &path, None).await?;
            ensure!(status == 200 || status == 404, "{status} {answer}");
            Ok(())
        })
        .await
    }

    /// Whether what must be said is said now.
    async fn is_named(&self, named: &Named, seen: &Seen) -> Result<bool> {
        Ok(match named {
            Named::Nothing => true,
            Named::Object(object, words) => {
                let not_ready = judge::not_ready(seen).iter().any(|o| o == object);
                let said = judge::said(seen).to_lowercase();
                not_ready && words.iter().any(|w| said.contains(&w.to_lowercase()))
            }
            Named::Node(node) => {
                let looker = Looker { tidegate: &self.tidegate, client: &self.client };
                let nodes = looker.nodes().await?;
                nodes.iter().any(|n| n["nodeId"] == *node && n["connected"] == false)
            }
            Named::Write(code) => {
                let body = limit("m").to_string();
                let path = format!("/api/v1/namespaces/{NS}/ratelimitpolicies/probe?dryRun=false");
                let (status, answer) =
                    self.tidegate.admin("PUT", &path, Some(body.replace("\"l\"", "\"probe\""))).await?;
                let refused = status >= 500 && answer["code"].as_str().is_some_and(|c| c.starts_with(code));
                if status < 300 {
                    self.delete("ratelimitpolicies", "probe").await?;
                }
                refused
            }
        })
    }

    /// Injects, watches, and says what was wrong.
    async fn watch(&self, fault: Fault) -> Result<Vec<String>> {
        let stopped = self.inject(fault).await?;
        let (began, named) = (Instant::now(), fault.named());
        let mut wrong = Vec::new();
        let mut failing: Option<Instant> = None;
        let mut since: BTreeMap<String, Instant> = BTreeMap::new();
        let mut named_at = None;
        // A cause that nobody can wait for is watched for the grace and a little more.
        let least = fault.grace() + Duration::from_secs(2);
        while began.elapsed() < PATIENCE && (named_at.is_none() || began.elapsed() < least) {
            if let Named::Write(_) = named {
                if named_at.is_none() && self.is_named(&named, &empty()).await? {
                    named_at = Some(Instant::now());
                }
                if named_at.is_some() {
                    break;
                }
                continue;
            }
            // While `serve` is away there is no status to ask.
            let Ok(seen) = self.look().await else { continue };
            if failing.is_none() && seen.answers.iter().any(|a| a.status != 200 && a.status != 429) {
                failing = Some(seen.at);
            }
            if named_at.is_none() && self.is_named(&named, &seen).await? {
                named_at = Some(seen.at);
            }
            let broken = judge::broken(&seen);
            since.retain(|what, _| broken.contains(what));
            for what in broken {
                let first = *since.entry(what.clone()).or_insert(seen.at);
                if seen.at - first > fault.grace() {
                    wrong.push(format!("for {:?}: {what}", seen.at - first));
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        match (named_at, failing) {
            (None, _) => wrong.push("the cause was never named".to_owned()),
            (Some(named), Some(failing)) if named.saturating_duration_since(failing) > fault.grace() => {
                wrong.push(format!("requests failed {:?} before the cause was named", named - failing));
            }
            (Some(_), _) => {}
        }
        wrong.dedup();
        wrong.truncate(4);
        println!(
            "{fault:?}: named after {:?}, failing after {:?}",
            named_at.map(|t| t - began),
            failing.map(|t| t - began)
        );
        drop(stopped);
        self.undo(fault).await?;
        self.well(&format!("{fault:?}")).await?;
        Ok(wrong.into_iter().map(|w| format!("{fault:?}: {w}")).collect())
    }
}

fn empty() -> Seen {
    Seen { at: Instant::now(), before: BTreeMap::new(), answers: Vec::new(), after: BTreeMap::new(), nodes: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_a_running_part_is_named_and_ready_is_true_only_while_requests_succeed() -> Result<()> {
    let root = tempfile::Builder::new().prefix("tidegate-models-").tempdir()?;
    let live = Live::start(root.path()).await?;
    let only = std::env::var("TIDEGATE_TEST_FAULT").unwrap_or_default();
    let mut wrong = Vec::new();
    for fault in ALL.into_iter().filter(|f| format!("{f:?}").contains(&only)) {
        wrong.extend(live.watch(fault).await?);
    }
    ensure!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
