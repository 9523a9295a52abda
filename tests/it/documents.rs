//! YAML documents that the tests apply, made from the few numbers that vary.
use std::time::Duration;

use anyhow::{Result, ensure};
use system_tests::{client::Client, tidegate::Tidegate, tools, wait};

/// Longest wait for a policy to be in force; a bound for slow machines, not a measurement.
pub const PATIENCE: Duration = Duration::from_secs(30);

const HEAD: &str = "apiVersion: tidegate.dev/v1alpha1\nkind: ";

/// The release of the example model.
pub fn release(stable: &str, candidate: &str, weight: u32) -> String {
    format!(
        "{HEAD}ReleasePolicy\nmetadata: {{name: chat}}\nspec:\n  targetRef: {{kind: Model, name: tide-chat}}\n  \
         stable: {stable}\n  candidate: {candidate}\n  rules:\n    \
         - match: [{{type: Header, header: {{name: X-Gray-Tag, type: Regex, value: \"v2.*\"}}}}]\n      to: Candidate\n  \
         steps: [{{weight: {weight}}}]\n  assignment: {{header: x-user-id}}\n---\n"
    )
}

/// A release without a candidate: everybody sees one version.
pub fn everybody(version: &str) -> String {
    format!(
        "{HEAD}ReleasePolicy\nmetadata: {{name: chat}}\nspec:\n  targetRef: {{kind: Model, name: tide-chat}}\n  \
         stable: {version}\n---\n"
    )
}

/// One of the pools of the example model.
pub fn pool(name: &str, version: &str, replicas: u32) -> String {
    format!(
        "{HEAD}WorkerPool\nmetadata: {{name: {name}}}\nspec:\n  modelRef: {{name: tide-chat}}\n  versions: [{version}]\n  \
         replicas: {replicas}\n---\n"
    )
}

/// A limit on the example model; `counters` is YAML, such as `[{type: Tenant}]`.
pub fn limit(counters: &str, rate: u64, burst: u64) -> String {
    format!(
        "{HEAD}RateLimitPolicy\nmetadata: {{name: chat-limits}}\nspec:\n  targetRefs: [{{kind: Model, name: tide-chat}}]\n  \
         scope: Local\n  limits:\n    - name: per-tenant\n      counters: {counters}\n      \
         requests: {{rate: {rate}, window: 1s, burst: {burst}}}\n---\n"
    )
}

/// An instance with the documents of `examples/` applied, and a client of tenant `acme`; both versions answer.
pub async fn with_examples(flags: &[&str]) -> Result<(Tidegate, Client)> {
    let tidegate = Tidegate::start_with(flags).await?;
    tidegate.ok(&["apply", "-f", &tools::repository().join("examples").to_string_lossy()]).await?;
    let client = tidegate.client("acme").await?;
    // The tests ask more than the example's limits allow.
    tidegate.apply(&limit("[{type: Tenant}]", 100_000, 100_000)).await?;
    wait::until("both versions to answer", PATIENCE, async || {
        for (headers, version) in [
            ([("x-gray-tag", "none"), ("x-user-id", "nobody")], "v1"),
            ([("x-gray-tag", "v2"), ("x-user-id", "nobody")], "v2"),
        ] {
            let answer = client.chat("What is assert?", &headers).await?.expect(200)?;
            ensure!(answer.version() == version, "{} answered for {version}", answer.version());
        }
        Ok(())
    })
    .await?;
    Ok((tidegate, client))
}
