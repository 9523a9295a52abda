//! What status says is what requests get: faults of documents, files, fleet and nodes, with status and the gateway asked side by
//! side. No wait here measures anything: each is for a condition to come, or for it to stay.
use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use system_tests::{
    client::Client,
    documents::{PATIENCE, with_examples},
    ports,
    tidegate::Tidegate,
    tools, wait,
};

const HEAD: &str = "apiVersion: tidegate.dev/v1alpha1\nkind: ";

/// A Model and its pool `NAME` of so many workers; `file` replaces the one line of the embedding model's configuration.
fn served(name: &str, uri: &str, sha256: &str, replicas: u32) -> String {
    format!(
        "{HEAD}Model\nmetadata: {{name: {name}}}\nspec:\n  versions:\n    - name: v1\n      uri: file:{uri}\n      task: Chat\n      \
         tokenizer: tokenizer.json\n      chatTemplate: chat_template.jinja\n      files:\n        \
         - {{path: chat_template.jinja, sha256: {sha256}, size: 219}}\n        \
         - {{path: model.onnx, sha256: {sha256}, size: 30302}}\n        \
         - {{path: tokenizer.json, sha256: {sha256}, size: 126444}}\n---\n{}",
        pool(name, name, replicas)
    )
}

fn pool(name: &str, model: &str, replicas: u32) -> String {
    format!(
        "{HEAD}WorkerPool\nmetadata: {{name: {name}}}\nspec: {{modelRef: {{name: {model}}}, versions: [v1], replicas: {replicas}}}\n---\n"
    )
}

fn limit(name: &str, target: &str) -> String {
    format!(
        "{HEAD}RateLimitPolicy\nmetadata: {{name: {name}}}\nspec:\n  targetRefs: [{{kind: Model, name: {target}}}]\n  \
         limits: [{{name: few, requests: {{rate: 1, window: 1h}}}}]\n---\n"
    )
}

async fn object(tidegate: &Tidegate, path: &str) -> Result<Value> {
    let (status, object) = tidegate.admin("GET", &format!("/api/v1/namespaces/default/{path}"), None).await?;
    ensure!(status == 200, "{path}: {status} {object}");
    Ok(object)
}

fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == name)
}

/// Waits until a condition is False, or True, with that reason and a message that names `says`.
async fn says(tidegate: &Tidegate, path: &str, (name, holds, reason): (&str, bool, &str), says: &str) -> Result<()> {
    wait::until(&format!("{path} to say {name}={holds} {reason}"), PATIENCE, async || {
        let object = object(tidegate, path).await?;
        let found = condition(&object, name).with_context(|| format!("no {name} in {object}"))?;
        let wanted = if holds { "True" } else { "False" };
        ensure!(found["status"] == wanted && found["reason"] == reason, "{object:#}");
        ensure!(found["message"].as_str().unwrap_or_default().contains(says), "{found} does not name {says}");
        Ok(())
    })
    .await
}

async fn ready(tidegate: &Tidegate, path: &str) -> Result<()> {
    wait::until(&format!("{path} to be ready"), PATIENCE, async || {
        let object = object(tidegate, path).await?;
        ensure!(condition(&object, "Ready").is_some_and(|c| c["status"] == "True"), "{object:#}");
        Ok(())
    })
    .await
}

async fn answers(client: &Client, model: &str) -> Result<u16> {
    let body = serde_json::json!({"model": model, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1});
    Ok(client.send("/v1/chat/completions", &body, &[]).await?.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_ready_only_while_it_does_what_it_says_and_says_why_not() -> Result<()> {
    // The examples take four workers; each fault below that asks for one gets it, up to seven.
    let (tidegate, client) = with_examples(&["--max-workers", "7"]).await?;
    for path in ["models/tide-chat", "workerpools/chat-stable", "releasepolicies/chat", "ratelimitpolicies/chat-limits"]
    {
        ready(&tidegate, path).await?;
    }

    // A limit whose target does not exist limits nothing.
    tidegate.apply(&limit("typo", "tide-chatt")).await?;
    says(&tidegate, "ratelimitpolicies/typo", ("ResolvedRefs", false, "RefNotFound"), "default/tide-chatt").await?;
    says(&tidegate, "ratelimitpolicies/typo", ("Programmed", false, "NoTarget"), "").await?;
    says(&tidegate, "ratelimitpolicies/typo", ("Ready", false, "TargetNotFound"), "default/tide-chatt").await?;
    let table = tidegate.ok(&["get", "rlp", "typo"]).await?;
    ensure!(table.contains("False") && table.contains("TargetNotFound") && table.contains("tide-chatt"), "{table}");

    // A wrong digest, and a directory that is not there: nobody answers, and both say so.
    tidegate.apply(&served("bad-digest", "tide-chat/v1", &"ab".repeat(32), 1)).await?;
    tidegate.apply(&served("no-files", "tide-chat/nowhere", &"ab".repeat(32), 1)).await?;
    for (name, code) in [("bad-digest", "TG-20"), ("no-files", "TG-20")] {
        says(&tidegate, &format!("workerpools/{name}"), ("Ready", false, "VersionFailed"), code).await?;
        says(&tidegate, &format!("models/{name}"), ("Ready", false, "NotServed"), code).await?;
        ensure!(answers(&client, name).await? == 503, "{name} answers although it is not ready");
    }
    let nodes = tidegate.ok(&["proxy-status"]).await?;
    ensure!(nodes.contains("v1 FAILED") && nodes.contains("default.bad-digest.0 v1: TG-20"), "{nodes}");

    // A model that no pool serves, and a pool of no replicas.
    tidegate.apply(&served("alone", "tide-chat/v1", &"ab".repeat(32), 0)).await?;
    says(&tidegate, "workerpools/alone", ("Ready", true, "ScaledToZero"), "").await?;
    says(&tidegate, "models/alone", ("Ready", false, "NotServed"), "0 replicas").await?;
    tidegate.ok(&["delete", "wp", "alone"]).await?;
    says(&tidegate, "models/alone", ("Ready", false, "NoWorkerPool"), "503").await?;
    ensure!(answers(&client, "alone").await? == 503, "a model without a pool answers");

    // Beyond --max-workers: six run.
    tidegate.apply(&pool("many", "tide-chat", 3)).await?;
    says(&tidegate, "workerpools/many", ("Ready", false, "MaxWorkers"), "--max-workers, which is 7").await?;
    tidegate.ok(&["delete", "wp", "many"]).await?;
    tidegate.ok(&["delete", "wp", "bad-digest"]).await?;

    // The others go on to be ready: nothing of this is theirs.
    for path in ["models/tide-chat", "releasepolicies/chat", "ratelimitpolicies/chat-limits"] {
        ready(&tidegate, path).await?;
    }
    ensure!(answers(&client, "tide-chat").await? == 200, "the good model does not answer");
    a_worker_that_dies_again_and_again(&tidegate).await?;
    nodes_that_are_not_here(&tidegate).await
}

async fn a_worker_that_dies_again_and_again(tidegate: &Tidegate) -> Result<()> {
    wait::until("the pool to say that its worker's process ends", PATIENCE, async || {
        for pid in tidegate.pids("--node-id default.embed.0 ") {
            let _ = Tidegate::kill_9(pid);
        }
        let pool = object(tidegate, "workerpools/embed").await?;
        let ready = condition(&pool, "Ready").context("no Ready")?;
        let says = ready["message"].as_str().unwrap_or_default();
        ensure!(ready["reason"] == "NotStarted" && says.contains("default.embed.0"), "{ready}");
        let model = object(tidegate, "models/all-minilm-l6-v2").await?;
        let ready = condition(&model, "Ready").context("no Ready")?;
        ensure!(ready["status"] == "False" && ready["reason"] == "NotServed", "{ready}");
        Ok(())
    })
    .await?;
    ready(tidegate, "workerpools/embed").await?;
    ready(tidegate, "models/all-minilm-l6-v2").await
}

/// Tokens nobody uses, tokens nobody knows, a worker that is turned away.
async fn nodes_that_are_not_here(tidegate: &Tidegate) -> Result<()> {
    tidegate.ok(&["node-token", "create", "--node-id", "gateway-9", "--role", "gateway"]).await?;
    wait::until("the unused token to be seen", PATIENCE, async || {
        let nodes = tidegate.ok(&["proxy-status"]).await?;
        let line = nodes.lines().find(|line| line.starts_with("gateway-9 ")).with_context(|| nodes.clone())?;
        ensure!(line.contains("NEVER_CONNECTED"), "{line}");
        Ok(())
    })
    .await?;

    // It says that it is reached at an address that it does not call from.
    tidegate.apply(&pool("by-hand", "tide-chat", 1)).await?;
    let token = tidegate.scratch("by-hand.token");
    let made = ["node-token", "create", "--node-id", "by-hand", "--role", "worker", "--pool", "default/by-hand"];
    std::fs::write(&token, tidegate.ok(&made).await?)?;
    let mut worker = Worker::start(tidegate, "by-hand", &token, "192.0.2.1:9")?;
    let refused = "by-hand is refused: TG-1413";
    wait::until("the pool to name the refusal", PATIENCE, async || {
        let pool = object(tidegate, "workerpools/by-hand").await?;
        ensure!(pool["status"]["workers"]["reasons"].to_string().contains(refused), "{pool:#}");
        Ok(())
    })
    .await?;
    let nodes = tidegate.ok(&["proxy-status"]).await?;
    ensure!(nodes.contains("REFUSED") && nodes.contains("by-hand is refused (Fleet): TG-1413"), "{nodes}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let log = worker.log()?;
    let told = log.lines().filter(|line| line.contains("TG-1413")).count();
    ensure!(told == 1, "its own log says it {told} times:\n{log}");

    // The token ends: whoever comes with it is named.
    tidegate.ok(&["node-token", "revoke", "by-hand"]).await?;
    wait::until("the ended token to be named", PATIENCE, async || {
        let nodes = tidegate.ok(&["proxy-status"]).await?;
        let named = nodes.lines().any(|line| line.starts_with("by-hand is refused") && line.contains("TG-1409"));
        ensure!(named, "{nodes}");
        Ok(())
    })
    .await?;
    worker.stop();
    std::fs::write(&token, "tgn_nobody")?;
    let mut stranger = Worker::start(tidegate, "stranger", &token, "127.0.0.1:9")?;
    wait::until("the stranger to be seen", PATIENCE, async || {
        let nodes = tidegate.ok(&["proxy-status"]).await?;
        ensure!(nodes.contains("a caller from 127.0.0.1 is refused") && nodes.contains("TG-1401"), "{nodes}");
        Ok(())
    })
    .await?;
    stranger.stop();
    Ok(())
}

/// A worker that was started by hand.
struct Worker {
    child: Child,
    log: std::path::PathBuf,
}

impl Worker {
    fn start(tidegate: &Tidegate, node: &str, token: &std::path::Path, advertise: &str) -> Result<Self> {
        let log = tidegate.scratch(&format!("{node}.log"));
        let out = std::fs::File::create(&log)?;
        let mut command = Command::new(tools::program("tidegate-worker")?);
        command.args(["--node-id", node, "--pool", "default/by-hand", "--engine", "fake", "--advertise", advertise]);
        command.arg("--node-token-file").arg(token).arg("--listen").arg(ports::free()?.to_string());
        command.arg("--control-plane").arg(format!("http://{}", tidegate.place().grpc));
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        Ok(Self { child: command.spawn().context("start a worker")?, log })
    }

    fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}
