//! The official OpenAI Python client, unmodified, with nothing but a base URL and an API key.
use anyhow::{Result, ensure};
use system_tests::{documents::with_examples, tools};

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_works_unmodified() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    let script = tools::repository().join("tests/it/openai_client.py");
    let output = tokio::process::Command::new("python3")
        .arg(script)
        .env("PYTHONPATH", tools::openai_client()?)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("OPENAI_BASE_URL", format!("http://{}/v1", tidegate.place().gateway))
        .env("OPENAI_API_KEY", client.key().unwrap_or_default())
        .output()
        .await?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{out}\n{err}");
    ensure!(out.trim_end().ends_with("all good"), "{out}");
    Ok(())
}
