//! Starting with something missing or wrong, and bad documents at the front door: a clear error with a stable code and an
//! exit status or a 4xx, and nothing is lost or changed.
use std::{fs, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use system_tests::{
    documents::{PATIENCE, pool, release, with_examples},
    ports,
    tidegate::Said,
    tools, wait,
};
use tokio::process::Command;

async fn run(program: &str, args: &[&str]) -> Result<Said> {
    let mut command = Command::new(tools::program(program)?);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
    Ok(Said::from(output.with_context(|| format!("{program} {args:?} goes on"))??))
}

fn refused(said: &Said, words: &[&str]) -> Result<()> {
    ensure!(said.status.is_some_and(|s| s != 0), "it was not refused: {said:?}");
    let missing: Vec<_> = words.iter().filter(|w| !said.err.contains(**w) && !said.out.contains(**w)).collect();
    ensure!(missing.is_empty(), "the error lacks {missing:?}: {said:?}");
    ensure!(!said.err.contains("panicked"), "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_without_a_database_says_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().to_string_lossy().into_owned();
    let (admin, grpc) = (ports::free()?.to_string(), ports::free()?.to_string());
    let listen = ["--admin-listen", &admin, "--grpc-listen", &grpc];
    let none = run("tidegate", &[&["serve", "--data-dir", &data], &listen[..]].concat()).await?;
    refused(&none, &["TG-1534"])?;
    let url = dir.path().join("url");
    fs::write(&url, "postgres://nobody:secret-word@127.0.0.1:1/none")?;
    let url = url.to_string_lossy();
    let away =
        run("tidegate", &[&["serve", "--data-dir", &data, "--database-url-file", &url], &listen[..]].concat()).await?;
    refused(&away, &["TG-1211"])?;
    ensure!(!format!("{away:?}").contains("secret-word"), "the error shows the password");
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken_at = taken.local_addr()?.to_string();
    let args = [
        "serve",
        "--data-dir",
        &data,
        "--database-url-file",
        &url,
        "--admin-listen",
        &taken_at,
        "--grpc-listen",
        &grpc,
    ];
    refused(&run("tidegate", &args).await?, &["TG-1533", &taken_at])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_wrong_library_or_provider_says_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (token, text) = (path("token"), path("no-library.so"));
    fs::write(&token, format!("tgn_{}", "a".repeat(43)))?;
    fs::write(&text, "this is no library")?;
    let root = tools::example_models().to_string_lossy().into_owned();
    let dylib = tools::onnxruntime()?.to_string_lossy().into_owned();
    let base = ["--node-id", "n", "--pool", "default/p", "--node-token-file", &token, "--model-root", &root];
    for (status, code, more) in [
        (1, "TG-2002", ["--ort-dylib", &text, "--provider", "cpu"]),
        (64, "TG-2100", ["--ort-dylib", "/nowhere/lib.so", "--provider", "cpu"]),
        (1, "TG-2005", ["--ort-dylib", &dylib, "--provider", "cuda"]),
    ] {
        let said = run("tidegate-worker", &[&base[..], &more[..]].concat()).await?;
        ensure!(said.status == Some(status), "{said:?}");
        refused(&said, &[code])?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_documents_and_bad_weights_change_nothing() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    let before = tidegate.admin("GET", "/api/v1/revisions?limit=1", None).await?.1["items"][0]["revision"].clone();
    let huge = format!("# {}\n{}", "x".repeat(10 << 20), release("v1", "v2", 1));
    let cases = [
        ("malformed YAML", "kind: [".to_owned(), "TG-1001"),
        (
            "an unknown kind",
            "apiVersion: tidegate.dev/v1alpha1\nkind: Modle\nmetadata: {name: a}\nspec: {}\n".to_owned(),
            "TG-1004",
        ),
        ("an unknown field", pool("p", "v1", 1).replace("replicas", "replicsa"), "TG-1005"),
        ("a wrong type", pool("p", "v1", 1).replace("replicas: 1", "replicas: many"), "TG-1006"),
        ("a duplicate key", format!("kind: Model\n{}", pool("p", "v1", 1)), "TG-1001"),
        ("a body of 10 MB", huge, "TG-1303"),
        ("a regex that is too large", release("v1", "v2", 1).replace("v2.*", "(a{1000}){1000}"), "TG-1109"),
        ("a Unicode name", pool("größe", "v1", 1), "TG-1008"),
        ("a path outside the version", outside(), "TG-1104"),
    ];
    for (what, body, code) in cases {
        let (status, answer) =
            tidegate.admin("POST", "/api/v1/apply", Some(body)).await.with_context(|| what.to_owned())?;
        ensure!((400..500).contains(&status), "{what}: {status} {answer}");
        ensure!(answer.to_string().contains(code), "{what}: no {code} in {answer}");
    }
    let after = tidegate.admin("GET", "/api/v1/revisions?limit=1", None).await?.1["items"][0]["revision"].clone();
    ensure!(before.is_i64() && before == after, "something was stored: {before} {after}");

    // Weights that are not what the document says: stored, refused by the workers by name, and the old ones go on.
    let manifest = fs::read_to_string(tools::example_models().join("tide-chat/v1/manifest.json"))?;
    let mut files: serde_json::Value = serde_json::from_str::<serde_json::Value>(&manifest)?["files"].take();
    for file in files.as_array_mut().into_iter().flatten().filter(|f| f["path"] == "model.onnx.data") {
        file["sha256"] = "ab".repeat(32).into();
    }
    let broken = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Model", "metadata": {"name": "broken"},
        "spec": {"versions": [{
            "name": "v1", "uri": "file:tide-chat/v1", "task": "Chat", "chatTemplate": "chat_template.jinja", "files": files,
        }]},
    });
    tidegate.apply(&broken.to_string()).await?;
    tidegate.apply(&pool("broken", "v1", 1).replace("tide-chat", "broken")).await?;
    wait::until("the workers to say why", PATIENCE, async || {
        let (_, pool) = tidegate.admin("GET", "/api/v1/namespaces/default/workerpools/broken", None).await?;
        let reasons = pool["status"]["workers"]["reasons"].to_string();
        ensure!(reasons.contains("TG-2017") && reasons.contains("model.onnx.data"), "{pool}");
        Ok(())
    })
    .await?;
    client.chat("What is assert?", &[("x-user-id", "nobody")]).await?.expect(200)?;
    Ok(())
}

/// A Model that names a file outside its folder.
fn outside() -> String {
    let path = "../../../../etc/passwd";
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Model\nmetadata: {{name: outside}}\nspec:\n  versions:\n    - name: v1\n      \
         uri: file:tide-chat/v1\n      task: Chat\n      tokenizer: {path}\n      chatTemplate: {path}\n      files:\n        \
         - {{path: {path}, sha256: {}, size: 799}}\n",
        "ab".repeat(32)
    )
}
