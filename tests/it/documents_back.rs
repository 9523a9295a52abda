//! What the program writes it reads: backup and restore at the command line, files of every kind, rollbacks that say what they do.
use std::{fs, path::PathBuf, process::Stdio};

use anyhow::{Result, ensure};
use system_tests::{
    documents::release,
    tidegate::{Said, Tidegate},
};

/// Objects beyond one request.
const MANY: usize = 620;

fn limit(namespace: &str, name: &str, rate: usize) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  targetRefs: [{{kind: Model, name: none}}]\n  limits: [{{name: all, requests: {{rate: {rate}, window: 60s}}}}]\n"
    )
}

async fn started() -> Result<Tidegate> {
    // Neither gateway nor workers are needed: only the store is asked.
    Tidegate::start_with(&["--max-workers", "0", "--apply", &system_tests::tools::examples()], &[]).await
}

fn file(tidegate: &Tidegate, name: &str, bytes: impl AsRef<[u8]>) -> Result<String> {
    let path: PathBuf = tidegate.scratch(name);
    fs::write(&path, bytes)?;
    Ok(path.to_string_lossy().into_owned())
}

fn says(said: &Said, status: i32, words: &[&str]) -> Result<()> {
    ensure!(said.status == Some(status), "status is not {status}: {said:?}");
    for word in words {
        ensure!(said.err.contains(word) || said.out.contains(word), "no {word:?} in {said:?}");
    }
    Ok(())
}

/// Every outcome line is `unchanged`, and there is no difference.
async fn unchanged(tidegate: &Tidegate, what: &str, path: &str) -> Result<()> {
    let applied = tidegate.ok(&["apply", "-f", path]).await?;
    let outcomes: Vec<&str> = applied.lines().filter(|l| !l.starts_with("  warning")).collect();
    ensure!(!outcomes.is_empty() && outcomes.iter().all(|l| l.ends_with(" unchanged")), "{what}: {applied}");
    let diff = tidegate.ok(&["diff", "-f", path]).await?;
    ensure!(diff.lines().next() == Some("No differences."), "{what}: {diff}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_output_of_get_applied_again_is_unchanged() -> Result<()> {
    let tidegate = started().await?;
    tidegate.apply(&limit("team-a", "l", 3)).await?;
    let asked: &[&[&str]] = &[
        &["models"],
        &["models", "tide-chat"],
        &["wp"],
        &["rel", "-A"],
        &["rlp", "-A"],
        &["rlp/l", "-n", "team-a"],
        &["all"],
        &["all", "-A"],
    ];
    for arguments in asked {
        for format in ["yaml", "json"] {
            let text = tidegate.ok(&[&["get"], *arguments, &["-o", format]].concat()).await?;
            let path = file(&tidegate, "back", text)?;
            unchanged(&tidegate, &format!("get {arguments:?} -o {format}"), &path).await?;
        }
    }
    let none = tidegate.ok(&["get", "models", "-n", "nobody", "-o", "yaml"]).await?;
    let path = file(&tidegate, "none", none)?;
    ensure!(tidegate.ok(&["apply", "-f", &path]).await?.contains("Nothing to apply"));

    // Names and what goes with them.
    says(&tidegate.cli(&["get", "rlp/l", "-A"]).await?, 64, &["-A lists every namespace"])?;
    says(&tidegate.cli(&["get", "all", "l"]).await?, 64, &["`all` takes no name", "get models l"])?;
    let bare = limit("x", "l2", 1).replace(", namespace: x", "");
    let path = file(&tidegate, "bare.yaml", bare)?;
    says(&tidegate.cli(&["apply", "-n", "team-b", "-f", &path]).await?, 0, &["team-b/l2 created"])?;
    let other = file(&tidegate, "other.yaml", limit("team-a", "l3", 1))?;
    says(&tidegate.cli(&["apply", "-n", "team-b", "-f", &other]).await?, 66, &["TG-1512", "other.yaml", "team-a"])?;
    tidegate.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_many_objects_is_restored() -> Result<()> {
    let tidegate = started().await?;
    let many: Vec<String> = (0..MANY).map(|n| limit(["default", "team-a"][n % 2], &format!("l{n}"), 5)).collect();
    let path = file(&tidegate, "many.yaml", many.join("---\n"))?;
    let made = tidegate.ok(&["apply", "-f", &path]).await?;
    ensure!(made.ends_with(&format!("{MANY} documents: {MANY} created\n")), "{made}");
    let backup = file(&tidegate, "backup.yaml", tidegate.ok(&["get", "all", "-A", "-o", "yaml"]).await?)?;
    let again = tidegate.ok(&["apply", "-f", &backup]).await?;
    ensure!(again.lines().count() == 1 && again.contains(" unchanged"), "{again}");
    ensure!(tidegate.ok(&["diff", "-f", &backup]).await?.starts_with("No differences."));

    tidegate.apply(&limit("default", "l0", 7)).await?;
    tidegate.ok(&["delete", "rlp/l1", "-n", "team-a"]).await?;
    let restored = tidegate.ok(&["apply", "-f", &backup]).await?;
    ensure!(restored.contains("ratelimitpolicy.tidegate.dev/l0 configured"), "{restored}");
    ensure!(restored.contains("ratelimitpolicy.tidegate.dev/team-a/l1 created"), "{restored}");
    ensure!(restored.contains("1 configured, 1 created"), "{restored}");

    // One mistake in the last of many: nothing is written, and its file is named.
    let wrong = many.join("---\n").replace("rate: 5", "rate: 6").replacen("name: l619", "name: L619", 1);
    let path = file(&tidegate, "wrong.yaml", wrong)?;
    says(
        &tidegate.cli(&["apply", "-f", &path]).await?,
        1,
        &["TG-1301", "wrong.yaml (document 620)", "$.metadata.name"],
    )?;
    ensure!(tidegate.ok(&["diff", "-f", &backup]).await?.starts_with("No differences."), "nothing was written");
    let twice = file(&tidegate, "twice.yaml", format!("{}---\n{}", many.join("---\n"), many[3]))?;
    says(
        &tidegate.cli(&["apply", "-f", &twice]).await?,
        66,
        &["RateLimitPolicy team-a/l3", "document 4", "document 621"],
    )?;
    tidegate.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_says_what_it_does_before_it_does_it() -> Result<()> {
    let tidegate = started().await?;
    let revision = async |tidegate: &Tidegate| -> Result<i64> {
        let (_, answer) = tidegate.admin("GET", "/api/v1/revisions?limit=1", None).await?;
        Ok(answer["items"][0]["revision"].as_i64().unwrap_or_default())
    };
    tidegate.apply(&limit("default", "a", 1)).await?;
    tidegate.apply(&limit("team-a", "a", 1)).await?;
    let before = revision(&tidegate).await?.to_string();
    tidegate.apply(&limit("default", "a", 2)).await?;
    tidegate.apply(&limit("team-a", "a", 2)).await?;
    tidegate.apply(&limit("team-a", "new", 1)).await?;
    let last = revision(&tidegate).await?;

    let refused = tidegate.cli(&["rollback", "--to", &before]).await?;
    says(
        &refused,
        64,
        &[
            "--yes",
            "changes 3 objects",
            "namespace default: 1 RateLimitPolicy configured",
            "team-a/new would be deleted",
        ],
    )?;
    says(&tidegate.cli(&["rollback", "rlp/new", "-n", "team-a", "--to", &before]).await?, 64, &["would be deleted"])?;
    ensure!(revision(&tidegate).await? == last, "nothing was done");

    let dry = tidegate.ok(&["rollback", "--to", &before, "--dry-run"]).await?;
    let lines: Vec<&str> = dry.lines().filter(|l| l.contains("rate: ")).map(str::trim).collect();
    ensure!(lines.iter().filter(|l| l.starts_with('-') && l.ends_with("rate: 2")).count() == 2, "{dry}");
    ensure!(lines.iter().filter(|l| l.starts_with('+') && l.ends_with("rate: 1")).count() == 2, "{dry}");
    ensure!(revision(&tidegate).await? == last, "nothing was done");

    let one = tidegate.ok(&["rollback", "-n", "team-a", "--to", &before, "--yes"]).await?;
    ensure!(
        one.contains("team-a/a configured") && one.contains("team-a/new deleted") && one.lines().count() <= 4,
        "{one}"
    );
    let single = tidegate.ok(&["rollback", "rlp", "a", "--to", &before]).await?;
    ensure!(single.contains("ratelimitpolicy.tidegate.dev/a configured"), "{single}");
    let none = tidegate.ok(&["rollback", "--to", &before]).await?;
    ensure!(none == format!("Nothing differs from revision {before}.\n"), "{none}");
    tidegate.stop().await?;
    Ok(())
}

fn wide(text: &str) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_file_goes_through_one_reader() -> Result<()> {
    let tidegate = started().await?;
    let document = release("v1", "v2", 10).replace('\n', "\r\n");
    let windows = file(&tidegate, "windows.yaml", format!("\u{feff}{document}"))?;
    tidegate.ok(&["apply", "-f", &windows]).await?;
    let utf16 = file(&tidegate, "utf16.yaml", wide(&document))?;
    says(&tidegate.cli(&["apply", "-f", &utf16]).await?, 66, &["TG-1512", "utf16.yaml", "UTF-16", "save it as UTF-8"])?;
    says(&tidegate.cli(&["apply", "-f", "/dev/zero"]).await?, 66, &["larger than 256 MiB"])?;
    let twice = file(&tidegate, "twice.yaml", "a: 1\nb: 2\na: 3\n")?;
    let said = tidegate.cli(&["apply", "-f", &twice]).await?;
    says(&said, 66, &["line 3, column 1", "\"a\" stands twice"])?;
    ensure!(!said.err.contains("Policy") && said.err.lines().count() == 2, "{said:?}");

    // One mistake is said once.
    let typo = file(&tidegate, "typo.yaml", document.replace("stable:", "stabel:"))?;
    let said = tidegate.cli(&["apply", "-f", &typo]).await?;
    says(&said, 1, &["error: TG-1301"])?;
    ensure!(said.err.matches("stabel").count() == 1, "{said:?}");

    // The token, as an editor on Windows keeps it.
    let token = fs::read_to_string(tidegate.data().join("admin-token"))?;
    for (name, bytes, status, words) in [
        ("token-bom", format!("\u{feff}{}\r\n", token.trim()).into_bytes(), 0, "NAME"),
        ("token-wide", wide(&token), 77, "UTF-16"),
        ("token-two", format!("{token}\n{token}\n").into_bytes(), 77, "more than one line"),
    ] {
        let path = file(&tidegate, name, bytes)?;
        let said = tidegate.cli(&["get", "models", "--token-file", &path]).await?;
        says(&said, status, &[words])?;
        ensure!(!format!("{said:?}").contains(token.trim()), "the token is shown");
    }

    // Configuration and the URL of the database.
    let program = system_tests::tools::program("tidegate")?;
    let check = |arguments: &[&str]| -> Result<Said> {
        let output =
            std::process::Command::new(&program).arg("check-config").args(arguments).stdin(Stdio::null()).output()?;
        Ok(Said::from(output))
    };
    let config = file(&tidegate, "config.yaml", "\u{feff}maxWorkers: 3\r\nlogFormat: json\r\n")?;
    says(&check(&["--config", &config])?, 0, &["json"])?;
    let config = file(&tidegate, "wide.yaml", wide("maxWorkers: 3\n"))?;
    says(&check(&["--config", &config])?, 64, &["UTF-16"])?;
    let config = file(&tidegate, "twice.yaml", "maxWorkers: 3\nmaxWorkers: 4\n")?;
    says(&check(&["--config", &config])?, 64, &["line 2, column 1", "stands twice"])?;
    let url = file(&tidegate, "url", "\u{feff}postgres://a@b/c\r\n")?;
    says(&check(&["--database-url-file", &url])?, 0, &["url"])?;
    tidegate.stop().await?;
    Ok(())
}
