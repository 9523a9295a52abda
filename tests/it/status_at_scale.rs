//! Ten thousand objects at once, as after a restore: every one gets its status, in few transactions. Transactions are counted, not
//! seconds.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use system_tests::{tidegate::Tidegate, tools, wait};

const OBJECTS: u32 = 10_000;
/// A bound for slow machines, not a measurement.
const LONG: Duration = Duration::from_secs(240);

/// What a statement answers, as the owner of the database.
async fn sql(tidegate: &Tidegate, statement: &str) -> Result<String> {
    let url = std::fs::read_to_string(tidegate.data().join("run/database-url"))?;
    let mut command = tokio::process::Command::from(tools::postgres("psql")?);
    command.args([
        "--no-psqlrc",
        "--quiet",
        "--tuples-only",
        "--no-align",
        "--set",
        "ON_ERROR_STOP=1",
        "--single-transaction",
    ]);
    let output = command.arg("--command").arg(statement).arg(url.trim()).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

async fn number(tidegate: &Tidegate, statement: &str) -> Result<u64> {
    let answer = sql(tidegate, statement).await?;
    answer.parse().with_context(|| format!("{statement} answers {answer:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_statuses_are_written_in_few_transactions() -> Result<()> {
    const COMMITS: &str = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    let tidegate = Tidegate::start().await?;
    let before = number(&tidegate, COMMITS).await?;
    let insert = format!(
        "UPDATE store_revision SET revision = revision + 1;
         INSERT INTO objects (kind, namespace, name, uid, generation, revision, created_at, source, labels, annotations, spec)
         SELECT 'ReleasePolicy', 'default', 'many-' || n, gen_random_uuid(), 1, (SELECT revision FROM store_revision), now(), 'Rest',
                '{{}}', '{{}}', '{{\"targetRef\": {{\"kind\": \"Model\", \"name\": \"nowhere\"}}, \"stable\": \"v1\"}}'
         FROM generate_series(1, {OBJECTS}) n;
         UPDATE store_changes SET seq = seq + 1;
         SELECT pg_notify('tidegate_changes', '')"
    );
    sql(&tidegate, &insert).await?;
    wait::until("every object to have a status", LONG, async || {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let with = "SELECT count(*) FROM objects WHERE status ->> 'observedGeneration' = '1'";
        let written = number(&tidegate, with).await?;
        ensure!(written == u64::from(OBJECTS), "{written} of {OBJECTS}");
        Ok(())
    })
    .await?;
    // What Postgres counts comes a little late.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let commits = number(&tidegate, COMMITS).await? - before;
    println!("{OBJECTS} statuses in {commits} transactions, those of everything else included");
    ensure!(commits < u64::from(OBJECTS) / 5, "{commits} transactions for {OBJECTS} statuses");
    let ready = "SELECT count(*) FROM objects WHERE status @> '{\"conditions\": [{\"type\": \"Ready\", \"status\": \"False\", \"reason\": \"TargetNotFound\"}]}'";
    ensure!(number(&tidegate, ready).await? == u64::from(OBJECTS), "not all say why they are not ready");
    Ok(())
}
