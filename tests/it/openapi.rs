//! The contract of the admin API, as tools that know nothing of Tidegate read it: Spectral lints the document, a client that is
//! generated from it does the work of a day, and schemathesis asks whatever it allows. Against a real server and a real Postgres.
use std::{collections::BTreeMap, path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use system_tests::{tidegate::Tidegate, tools};
use tokio::process::Command;

/// The seed of schemathesis: a failure can be had again.
const SEED: &str = "20261130";

/// Runs a program to its end; its output, or an error with it.
async fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{:?} ended with {}:\n{said}", command.as_std().get_program(), output.status);
    Ok(said)
}

/// Python with the tools on its path.
fn python() -> Result<Command> {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", tools::api_tools()?).env("PYTHONDONTWRITEBYTECODE", "1").env("NO_COLOR", "1");
    Ok(command)
}

/// The document as it is served, in a file.
async fn served(tidegate: &Tidegate) -> Result<std::path::PathBuf> {
    let (status, document) = tidegate.admin("GET", "/openapi.json", None).await?;
    ensure!(status == 200, "{status}: {document}");
    let path = tidegate.scratch("openapi.json");
    std::fs::write(&path, document.to_string())?;
    Ok(path)
}

fn token(tidegate: &Tidegate) -> Result<String> {
    Ok(std::fs::read_to_string(tidegate.data().join("admin-token"))?.trim().to_owned())
}

fn script(name: &str) -> std::path::PathBuf {
    tools::repository().join("tests/it/openapi").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn spectral_finds_nothing_in_the_document() -> Result<()> {
    let tidegate = Tidegate::start().await?;
    let ruleset = tools::repository().join("tests/tools/spectral/ruleset.yaml");
    let mut spectral = Command::new(tools::node()?);
    spectral.arg(tools::spectral()?).arg("lint").arg(served(&tidegate).await?).arg("--ruleset").arg(ruleset);
    let said = run(spectral.args(["--fail-severity", "error", "--format", "text"])).await?;
    ensure!(!said.contains(" error "), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_does_everything_with_every_kind() -> Result<()> {
    let tidegate = Tidegate::start().await?;
    let package = tidegate.scratch("tidegate_admin");
    let document = served(&tidegate).await?;
    let generated = generate(&document, &package).await?;
    // This generator knows JSON only, and takes every operation by it.
    let lines = |what: &str| generated.lines().filter(|line| line.contains(what)).count();
    let left_out = lines("WARNING") + lines("Unable") - lines("Unsupported content type application/yaml");
    ensure!(left_out == 0, "the generator left something out:\n{generated}");
    let path = std::env::join_paths([tools::api_tools()?, tidegate.scratch("")])?;
    let mut client = python()?;
    client.arg(script("generated_client.py")).env("PYTHONPATH", path);
    client
        .env("TIDEGATE_OPENAPI", &document)
        .env("TIDEGATE_URL", format!("http://{}", tidegate.place().admin))
        .env("TIDEGATE_TOKEN", token(&tidegate)?);
    let said = run(&mut client).await?;
    ensure!(said.trim_end().ends_with("all good"), "{said}");
    Ok(())
}

async fn generate(document: &Path, package: &Path) -> Result<String> {
    let mut generator = python()?;
    generator.args(["-m", "openapi_python_client", "generate", "--meta", "none", "--path"]).arg(document);
    run(generator.arg("--output-path").arg(package).arg("--config").arg(script("generator.yaml"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_no_fault_and_really_writes() -> Result<()> {
    // The pools that it makes up may start one worker.
    let tidegate = Tidegate::start_with(&["--max-workers", "1"], &[]).await?;
    let mut explorer = python()?;
    explorer
        .arg(script("explore.py"))
        .arg("--config-file")
        .arg(script("schemathesis.toml"))
        .args([
            "run",
            &format!("http://{}/openapi.json", tidegate.place().admin),
            "--seed",
            SEED,
            "--max-examples",
            "5",
        ])
        .args([
            "--phases",
            "coverage,fuzzing",
            "--exclude-path",
            "/metrics",
            "--exclude-path-regex",
            "admin-tokens|/tokens",
        ])
        .env("TIDEGATE_TOKEN", token(&tidegate)?)
        .current_dir(tidegate.scratch(""));
    let said = run(&mut explorer).await?;
    let outcomes = history(&tidegate).await?;
    let created: usize = outcomes.iter().filter(|((_, what), _)| what == "Created").map(|(_, n)| n).sum();
    let kinds: Vec<_> = outcomes.keys().filter(|(_, what)| what == "Created").map(|(kind, _)| kind.as_str()).collect();
    ensure!(created >= 200 && kinds.len() == 4, "only {created} objects were created ({outcomes:?}):\n{said}");
    Ok(())
}

/// How often each thing happened to each kind, by the history.
async fn history(tidegate: &Tidegate) -> Result<BTreeMap<(String, String), usize>> {
    let mut found = BTreeMap::new();
    let mut next = String::new();
    loop {
        let (status, page) = tidegate.admin("GET", &format!("/api/v1/revisions?limit=500{next}"), None).await?;
        ensure!(status == 200, "{status}: {page}");
        for line in page["items"].as_array().context("no items")? {
            let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
            *found.entry((text("kind"), text("outcome"))).or_default() += 1;
        }
        match &page["metadata"]["continue"] {
            Value::String(after) => next = format!("&continue={after}"),
            _ => return Ok(found),
        }
    }
}
