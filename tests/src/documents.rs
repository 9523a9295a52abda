//! YAML documents about the example model, made from the few numbers that vary, and the wait until they are in force.
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    client::{CHAT_MODEL, Client},
    tidegate::Tidegate,
    tools, wait,
};

/// Longest wait for a policy to be in force; a bound for slow machines, not a measurement.
pub const PATIENCE: Duration = Duration::from_secs(30);

const HEAD: &str = "apiVersion: tidegate.dev/v1alpha1\nkind: ";

/// The release of the example model.
pub fn release(stable: &str, candidate: &str, weight: u32) -> String {
    format!(
        "{HEAD}ReleasePolicy\nmetadata: {{name: chat}}\nspec:\n  targetRef: {{kind: Model, name: {CHAT_MODEL}}}\n  \
         stable: {stable}\n  candidate: {candidate}\n  rules:\n    \
         - match: [{{type: Header, header: {{name: X-Gray-Tag, type: Regex, value: \"v2.*\"}}}}]\n      to: Candidate\n  \
         steps: [{{weight: {weight}}}]\n  assignment: {{header: x-user-id}}\n---\n"
    )
}

/// A release without a candidate: everybody sees one version.
pub fn everybody(version: &str) -> String {
    format!(
        "{HEAD}ReleasePolicy\nmetadata: {{name: chat}}\nspec:\n  targetRef: {{kind: Model, name: {CHAT_MODEL}}}\n  \
         stable: {version}\n---\n"
    )
}

/// One of the pools of the example model.
pub fn pool(name: &str, version: &str, replicas: u32) -> String {
    format!(
        "{HEAD}WorkerPool\nmetadata: {{name: {name}}}\nspec:\n  modelRef: {{name: {CHAT_MODEL}}}\n  versions: [{version}]\n  \
         replicas: {replicas}\n---\n"
    )
}

/// A limit on the example model; `counters` is YAML, such as `[{type: Tenant}]`.
pub fn limit(counters: &str, rate: u64, burst: u64) -> String {
    format!(
        "{HEAD}RateLimitPolicy\nmetadata: {{name: chat-limits}}\nspec:\n  targetRefs: [{{kind: Model, name: {CHAT_MODEL}}}]\n  \
         scope: Local\n  limits:\n    - name: per-tenant\n      counters: {counters}\n      \
         requests: {{rate: {rate}, window: 1s, burst: {burst}}}\n---\n"
    )
}

/// An instance with the documents of `examples/` applied, and a client of tenant `acme`; both versions answer, and the limit is
/// far above what a test asks.
///
/// # Errors
/// When a part does not start, or the examples are not in force in time.
pub async fn with_examples(flags: &[&str]) -> Result<(Tidegate, Client)> {
    with_examples_and(flags, &[]).await
}

/// As [`with_examples`], with variables in the environment of `up`.
///
/// # Errors
/// As there.
pub async fn with_examples_and(flags: &[&str], variables: &[(&str, &str)]) -> Result<(Tidegate, Client)> {
    let tidegate = Tidegate::start_with(flags, variables).await?;
    tidegate.ok(&["apply", "-f", &tools::examples()]).await?;
    let client = tidegate.client("acme").await?;
    tidegate.apply(&limit("[{type: Tenant}]", 100_000, 100_000)).await?;
    both_answer(&client).await?;
    Ok((tidegate, client))
}

/// Waits until the release of `examples/` is in force: without a tag v1 answers, with `X-Gray-Tag: v2` it is v2.
///
/// # Errors
/// When it is not in time.
pub async fn both_answer(client: &Client) -> Result<()> {
    wait::until("both versions to answer", PATIENCE, async || {
        for (tag, version) in [("none", "v1"), ("v2", "v2")] {
            let headers = [("x-gray-tag", tag), ("x-user-id", "nobody")];
            let answer = client.chat("What is assert?", &headers).await?.expect(200)?;
            ensure!(answer.version() == version, "{} answered for {version}", answer.version());
        }
        Ok(())
    })
    .await
}
