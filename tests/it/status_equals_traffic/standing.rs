//! Faults that stand in documents or files: a namespace for each, many at a time. Each names the objects that must not be Ready
//! and the words that must be said; a fault without either is a control: it must be Ready and answer.
use std::{collections::BTreeMap, path::Path, time::Duration, time::Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use system_tests::tidegate::Tidegate;

use super::{
    judge,
    look::{Ask, Looker, Seen},
    policies, weights,
};

/// Longest wait until a batch has come to rest; a bound for slow machines.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long `Ready` may say True while requests fail, and how long a cause may be unnamed once a node shows the failure.
const GRACE: Duration = Duration::from_secs(2);
/// Namespaces at a time: each has up to two workers.
const BATCH: usize = 20;

/// One fault and what must be said of it.
pub struct Fault {
    /// Namespace.
    pub name: String,
    pub documents: Vec<Value>,
    pub ask: Ask,
    /// `<plural>/<name>` of the objects that must not be Ready; all others must be.
    pub not_ready: Vec<&'static str>,
    /// One of these must be said.
    pub cause: Vec<&'static str>,
    pub traffic: Traffic,
}

/// What requests must come to once the batch is at rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Traffic {
    /// Every request is answered.
    Works,
    /// None is.
    Fails,
    /// The limit refuses some.
    Limited,
}

impl Fault {
    pub fn new(name: impl Into<String>, documents: Vec<Value>) -> Self {
        let (not_ready, cause) = (Vec::new(), Vec::new());
        Self { name: name.into(), documents, ask: Ask::Chat, not_ready, cause, traffic: Traffic::Works }
    }

    /// These objects must not be Ready, and one of these words must be said.
    pub fn says(self, not_ready: &[&'static str], cause: &[&'static str]) -> Self {
        Self { not_ready: not_ready.to_vec(), cause: cause.to_vec(), ..self }
    }

    pub fn traffic(self, traffic: Traffic) -> Self {
        Self { traffic, ..self }
    }

    pub fn ask(self, ask: Ask) -> Self {
        Self { ask, ..self }
    }

    /// What differs from what must be; empty when all is said.
    fn missing(&self, seen: &Seen) -> Vec<String> {
        let mut missing = Vec::new();
        let not_ready = judge::not_ready(seen);
        for object in &self.not_ready {
            if !not_ready.iter().any(|o| o == object) {
                missing.push(format!("{object} is Ready"));
            }
        }
        for object in not_ready.iter().filter(|o| !self.not_ready.contains(&o.as_str())) {
            missing.push(format!("{object} is not Ready"));
        }
        let said = judge::said(seen).to_lowercase();
        if !self.cause.is_empty() && !self.cause.iter().any(|word| said.contains(&word.to_lowercase())) {
            missing.push(format!("none of {:?} is said", self.cause));
        }
        let answered = seen.answers.iter().filter(|a| a.status == 200).count();
        let limited = seen.answers.iter().filter(|a| a.status == 429).count();
        let all = seen.answers.len();
        let as_expected = match self.traffic {
            Traffic::Works => answered == all,
            Traffic::Fails => answered == 0,
            Traffic::Limited => limited > 0 && limited + answered == all,
        };
        if !as_expected {
            missing.push(format!("{:?} was expected: {:?}", self.traffic, seen.answers));
        }
        missing
    }
}

/// What is known of a fault while its batch runs.
#[derive(Default)]
struct Progress {
    /// Since when each broken promise was seen without a break.
    broken: BTreeMap<String, Instant>,
    /// When a node of it first showed a failure.
    failed: Option<Instant>,
    named: bool,
    /// Promises that stayed broken, and causes that were named late.
    violations: Vec<String>,
    missing: Vec<String>,
    at_rest: bool,
}

impl Progress {
    fn take(&mut self, fault: &Fault, seen: &Seen, since: Duration) {
        let broken = judge::broken(seen);
        self.broken.retain(|what, _| broken.contains(what));
        for what in broken {
            let first = *self.broken.entry(what.clone()).or_insert(seen.at);
            if seen.at - first > GRACE {
                self.violations.push(format!("for {:?}: {what}", seen.at - first));
            }
        }
        let shown = seen.nodes.iter().any(|n| n.to_string().contains("\"Failed\""));
        if shown && self.failed.is_none() {
            self.failed = Some(seen.at);
        }
        self.missing = fault.missing(seen);
        self.named |= !self.missing.iter().any(|m| m.starts_with("none of"));
        if let (false, Some(failed)) = (self.named, self.failed)
            && seen.at - failed > GRACE + since
        {
            self.violations.push(format!(
                "a node failed {:?} ago, and none of {:?} is said",
                seen.at - failed,
                fault.cause
            ));
        }
        self.at_rest = self.missing.is_empty() && self.broken.is_empty();
    }
}

/// Applies a batch, looks until all is as it must be, and takes it away. What is wrong, by fault.
async fn run_batch(looker: &Looker<'_>, batch: &[Fault]) -> Result<Vec<String>> {
    for fault in batch {
        let body = Value::Array(fault.documents.clone()).to_string();
        let (status, answer) = looker.tidegate.admin("POST", "/api/v1/apply", Some(body)).await?;
        if status != 200 {
            return Ok(vec![format!("{}: {status} {answer}", fault.name)]);
        }
    }
    let began = Instant::now();
    let mut progress: Vec<Progress> = batch.iter().map(|_| Progress::default()).collect();
    let mut last = began;
    while began.elapsed() < PATIENCE {
        let open: Vec<usize> = (0..batch.len()).filter(|i| !progress[*i].at_rest).collect();
        if open.is_empty() {
            break;
        }
        let asked: Vec<_> = open.iter().map(|i| (batch[*i].name.clone(), batch[*i].ask)).collect();
        for (place, seen) in open.iter().zip(looker.look(&asked).await?) {
            progress[*place].take(&batch[*place], &seen, seen.at - last);
        }
        last = Instant::now();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut wrong = Vec::new();
    for (fault, progress) in batch.iter().zip(&progress) {
        let all = progress.violations.iter().take(3).chain(progress.missing.iter());
        wrong.extend(all.map(|what| format!("{}: {what}", fault.name)));
    }
    println!("{} faults in {:.1} s, {} wrong", batch.len(), began.elapsed().as_secs_f64(), wrong.len());
    take_away(looker.tidegate, batch).await?;
    Ok(wrong)
}

/// Deletes what a batch made.
async fn take_away(tidegate: &Tidegate, batch: &[Fault]) -> Result<()> {
    for document in batch.iter().flat_map(|f| f.documents.iter().rev()) {
        let (kind, meta) = (document["kind"].as_str().unwrap_or_default(), &document["metadata"]);
        let plural = match kind {
            "ReleasePolicy" => "releasepolicies".to_owned(),
            "RateLimitPolicy" => "ratelimitpolicies".to_owned(),
            other => format!("{}s", other.to_lowercase()),
        };
        let path = format!(
            "/api/v1/namespaces/{}/{plural}/{}",
            meta["namespace"].as_str().unwrap_or_default(),
            meta["name"].as_str().unwrap_or_default()
        );
        tidegate.admin("DELETE", &path, None).await?;
    }
    Ok(())
}

/// A document of a namespace.
pub fn document(kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": kind, "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    })
}

/// The Model `m` with these versions.
pub fn model(namespace: &str, versions: &[Value]) -> Value {
    document("Model", namespace, "m", json!({"versions": versions}))
}

/// A WorkerPool of the Model `m`.
pub fn pool(namespace: &str, name: &str, versions: &[&str], replicas: u32) -> Value {
    let spec = json!({"modelRef": {"name": "m"}, "versions": versions, "replicas": replicas});
    document("WorkerPool", namespace, name, spec)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_documents_or_files_is_named_and_ready_is_true_only_while_requests_succeed() -> Result<()> {
    let root = tempfile::Builder::new().prefix("tidegate-models-").tempdir()?;
    let faults: Vec<Fault> =
        [weights::faults(root.path())?, policies::faults(root.path())?].into_iter().flatten().collect();
    ensure!(faults.len() >= 180, "only {} faults", faults.len());
    ensure!(names_are_unique(&faults), "two faults have one name");
    let (tidegate, client) = start(root.path()).await?;
    let looker = Looker { tidegate: &tidegate, client: &client };
    let only = std::env::var("TIDEGATE_TEST_FAULT").unwrap_or_default();
    let chosen: Vec<Fault> = faults.into_iter().filter(|f| f.name.contains(&only)).collect();
    let mut wrong = Vec::new();
    for batch in chosen.chunks(BATCH) {
        wrong.extend(run_batch(&looker, batch).await?);
    }
    ensure!(wrong.is_empty(), "{} of {} faults:\n{}", wrong.len(), chosen.len(), wrong.join("\n"));
    Ok(())
}

fn names_are_unique(faults: &[Fault]) -> bool {
    let names: std::collections::BTreeSet<&str> = faults.iter().map(|f| f.name.as_str()).collect();
    names.len() == faults.len()
}

async fn start(root: &Path) -> Result<(Tidegate, system_tests::client::Client)> {
    let root = root.to_string_lossy();
    let tidegate = Tidegate::start_with(&["--model-roots", &root, "--max-workers", "64"], &[]).await?;
    let client = tidegate.client("acme").await?;
    Ok((tidegate, client))
}
