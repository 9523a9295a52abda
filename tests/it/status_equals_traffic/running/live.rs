//! A system that works, how each fault is done to it, and how it is undone.
use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use system_tests::{client::Client, tidegate::Tidegate, tools, wait};

use super::{
    super::{
        files::{Version, chat},
        look::{Ask, Looker, Seen, condition},
        standing::{document, model, pool},
    },
    PATIENCE,
    fault::Fault::{self, *},
};

const NS: &str = "live";

/// The system that works, and what its documents are.
pub struct Live {
    tidegate: Tidegate,
    client: Client,
    versions: [Version; 2],
    worker_link: PathBuf,
}

/// A process that is stopped, and goes on when this is dropped.
pub struct Stopped(Vec<i32>);

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
    pub async fn start(root: &Path) -> Result<Self> {
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

    fn looker(&self) -> Looker<'_> {
        Looker { tidegate: &self.tidegate, client: &self.client }
    }

    /// What is said before and after some requests, and what became of them.
    pub async fn look(&self) -> Result<Seen> {
        let mut seen = self.looker().look(&[(NS.to_owned(), Ask::Chat)]).await?;
        seen.pop().context("a look")
    }

    /// What is said; nothing is asked of the models.
    pub async fn read(&self) -> Result<Seen> {
        let mut seen = self.looker().look(&[(NS.to_owned(), Ask::Nothing)]).await?;
        seen.pop().context("a look")
    }

    /// Whether the node is connected.
    pub async fn is_connected(&self, node: &str) -> Result<bool> {
        Ok(self.looker().nodes().await?.iter().any(|n| n["nodeId"] == node && n["connected"] == true))
    }

    /// Whether a write is refused with a code that begins so.
    pub async fn refuses_writes(&self, code: &str) -> Result<bool> {
        let body = limit("m").to_string().replace("\"l\"", "\"probe\"");
        let path = format!("/api/v1/namespaces/{NS}/ratelimitpolicies/probe");
        let (status, answer) = self.tidegate.admin("PUT", &path, Some(body)).await?;
        if status < 300 {
            self.delete("ratelimitpolicies", "probe").await?;
        }
        Ok(status >= 500 && answer["code"].as_str().is_some_and(|c| c.starts_with(code)))
    }

    /// Everything is Ready, every request is answered, and the node entries say so.
    pub async fn well(&self, after: &str) -> Result<()> {
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

    pub async fn inject(&self, fault: Fault) -> Result<Option<Stopped>> {
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

    pub async fn undo(&self, fault: Fault) -> Result<()> {
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
}
