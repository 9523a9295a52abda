//! The six claims of the demo, each tried for real.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use system_tests::{
    answers::Answers,
    client::Client,
    documents::{PATIENCE, both_answer, everybody, limit, pool, release},
    tidegate::{Place, Tidegate},
    tools, wait,
};

use crate::{show::Show, traffic::Traffic};

const QUESTION: &str = "What is assert?";

/// Tries them in order.
///
/// `earlier`: how long each log was before.
pub async fn run(tidegate: &Tidegate, show: &mut Show, earlier: &BTreeMap<PathBuf, usize>) -> Result<()> {
    let answers = Arc::new(Answers::read()?);
    show.step("applying examples/*.yaml");
    for line in tidegate.ok(&["apply", "-f", &tools::examples()]).await?.lines() {
        show.detail(line);
    }
    let client = tidegate.client("acme").await?;
    show.keep_key(tidegate, client.key().unwrap_or_default())?;
    both_answer(&client).await?;
    canary(tidegate, show, &client).await?;
    explain(tidegate, show, &client).await?;
    limits(tidegate, show, &client).await?;
    swap(tidegate, show, (&client, &answers)).await?;
    mistakes(tidegate, show).await?;
    restart(tidegate, show, (&client, &answers)).await?;
    quiet(tidegate, show, (&client, earlier))
}

async fn canary(tidegate: &Tidegate, show: &mut Show, client: &Client) -> Result<()> {
    show.step("who sees which version: by header tag, and by a sticky share of the users");
    let plain = client.chat(QUESTION, &[("x-user-id", "nobody")]).await?.expect(200)?;
    show.detail(&format!("no tag                → {} says: {}", plain.version(), plain.text()));
    let tagged = client.chat(QUESTION, &[("X-Gray-Tag", "v2.1")]).await?.expect(200)?;
    show.detail(&format!("X-Gray-Tag: v2.1      → {} says: {}", tagged.version(), tagged.text()));
    let seen = (plain.version(), plain.arm(), tagged.version(), tagged.arm());
    let right = seen == ("v1", "stable", "v2", "candidate");
    show.claim(
        "without a tag v1 answers, with X-Gray-Tag: v2.1 it is v2",
        right.then_some(()).context(format!("{seen:?}")),
    );

    let before = split(client, 500).await?;
    let again = split(client, 500).await?;
    show.detail(&format!("90/10: {} of 500 users see v2", before.len()));
    show.claim("about a tenth of 500 users see v2", share(before.len(), 500, 0.10));
    show.claim("a user who asks again sees the same version", (before == again).then_some(()).context("some moved"));

    tidegate.apply(&release("v1", "v2", 30)).await?;
    let after = wait::until("the share to grow", PATIENCE, async || {
        let after = split(client, 500).await?;
        ensure!(after.len() > before.len(), "still {}", after.len());
        Ok(after)
    })
    .await?;
    show.detail(&format!("70/30: {} of 500 users see v2", after.len()));
    show.claim("grown to 30 %, about three tenths see v2", share(after.len(), 500, 0.30));
    let back = before.difference(&after).count();
    show.claim("nobody who saw v2 was moved back", (back == 0).then_some(()).context(format!("{back} were")));
    Ok(())
}

/// The users of `user-0 … user-(n-1)` that see the candidate.
async fn split(client: &Client, users: usize) -> Result<BTreeSet<String>> {
    let asked = stream::iter(0..users).map(|n| async move {
        let user = format!("user-{n}");
        let body = system_tests::client::chat_body(QUESTION, 1, false);
        let answer = client.send("/v1/chat/completions", &body, &[("x-user-id", &user)]).await?.expect(200)?;
        anyhow::Ok((answer.arm() == "candidate").then_some(user))
    });
    Ok(asked.buffer_unordered(16).try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
}

/// Within four standard deviations of the share.
fn share(seen: usize, users: usize, share: f64) -> Result<()> {
    let expected = users as f64 * share;
    let slack = 4.0 * (expected * (1.0 - share)).sqrt();
    ensure!((seen as f64 - expected).abs() <= slack, "{seen} of {users}, expected {expected} ± {slack:.0}");
    Ok(())
}

async fn explain(tidegate: &Tidegate, show: &mut Show, client: &Client) -> Result<()> {
    show.step("why: tidegate explain --model tide-chat --header 'x-user-id: user-7' --tenant acme");
    let asked = ["explain", "--model", "tide-chat", "--header", "x-user-id: user-7", "--tenant", "acme"];
    let seen = client.chat(QUESTION, &[("x-user-id", "user-7")]).await?.expect(200)?;
    let said = tidegate.ok(&[&asked[..], &["-o", "table"]].concat()).await?;
    for line in said.lines().take(24) {
        show.detail(line);
    }
    let told: serde_json::Value = serde_json::from_str(&tidegate.ok(&[&asked[..], &["-o", "json"]].concat()).await?)?;
    let (told, seen) =
        ((told["arm"].as_str(), told["decidedBy"]["id"].as_str()), (seen.arm(), seen.header("x-tidegate-rule")));
    let same = told == (Some(seen.0), Some(seen.1));
    show.claim(
        "explain names the arm and the rule that Envoy picked",
        same.then_some(()).context(format!("told {told:?}, seen {seen:?}")),
    );
    Ok(())
}

async fn limits(tidegate: &Tidegate, show: &mut Show, client: &Client) -> Result<()> {
    show.step("a limit lowered to 2 requests a second, then raised again");
    tidegate.apply(&limit("[{type: Tenant}]", 2, 2)).await?;
    let began = Instant::now();
    let refused = wait::until("the first 429", PATIENCE, async || {
        let answer = client.chat(QUESTION, &[("x-user-id", "nobody")]).await?;
        ensure!(answer.status == 429, "status {}", answer.status);
        Ok(answer)
    })
    .await?;
    let took = began.elapsed();
    show.detail(&format!("429 after {} ms, Retry-After: {} s", took.as_millis(), refused.header("retry-after")));
    show.detail(&refused.body);
    show.claim(
        "lowered: 429 within a second",
        (took < Duration::from_secs(1)).then_some(()).context(format!("{took:?}")),
    );
    let told = refused.header("retry-after").parse::<u64>().is_ok_and(|s| s >= 1);
    show.claim("the refusal says when to come back", told.then_some(()).context(format!("{:?}", refused.headers)));
    tidegate.apply(&limit("[{type: Tenant}]", 5_000, 5_000)).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut refusals = 0;
    for _ in 0..50 {
        refusals += usize::from(client.chat(QUESTION, &[("x-user-id", "nobody")]).await?.status == 429);
    }
    show.claim(
        "raised: no request is refused any more",
        (refusals == 0).then_some(()).context(format!("{refusals} of 50 were")),
    );
    Ok(())
}

async fn swap(tidegate: &Tidegate, show: &mut Show, (client, answers): (&Client, &Arc<Answers>)) -> Result<()> {
    show.step("new weights pushed to two running workers while requests flow");
    let workers = tidegate.pids("tidegate-worker");
    let traffic = Traffic::start(client, answers);
    for (version, other) in [("v2", "v1"), ("v1", "v2")] {
        tokio::time::sleep(Duration::from_millis(500)).await;
        tidegate.apply(&format!("{}{}", pool("chat-stable", version, 2), everybody(version))).await?;
        let began = Instant::now();
        wait::until("the new weights to answer", PATIENCE, async || {
            let answer = client.chat(QUESTION, &[("x-user-id", "nobody")]).await?.expect(200)?;
            ensure!(answer.version() == version, "{} still answers", answer.version());
            Ok(())
        })
        .await?;
        show.detail(&format!("{other} → {version}: everybody sees {version} after {} ms", began.elapsed().as_millis()));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Back to what the examples say, for whoever tries things out afterwards.
    tidegate.apply(&release("v1", "v2", 10)).await?;
    let tally = traffic.stop().await;
    show.detail(&format!("{} requests meanwhile, by version {:?}", tally.answered, tally.by_version));
    show.claim(
        "no request failed, and each answer is the text of the version that its header names",
        tally.all_answered(),
    );
    let same = tidegate.pids("tidegate-worker") == workers;
    show.claim("no worker was restarted", same.then_some(()).context("the pids changed"));
    Ok(())
}

async fn mistakes(tidegate: &Tidegate, show: &mut Show) -> Result<()> {
    show.step("a document with three mistakes");
    let before = revision(tidegate).await?;
    let wrong = release("v1", "v2", 130)
        .replace("type: Regex, value: \"v2.*\"", "type: Regex, value: \"v2(\"")
        .replace("header: x-user-id", "heder: x-user-id");
    let file = tidegate.scratch("wrong.yaml");
    fs::write(&file, wrong)?;
    let said = tidegate.cli(&["apply", "-f", &file.to_string_lossy()]).await?;
    for line in said.err.lines() {
        show.detail(line);
    }
    let named = ["$.spec.assignment.heder", "$.spec.steps[0].weight", "$.spec.rules[0].match[0].header.value"];
    let missing: Vec<_> = named.iter().filter(|n| !said.err.contains(**n)).collect();
    show.claim(
        "all three are named",
        missing.is_empty().then_some(()).context(format!("not named: {missing:?} in {}", said.err)),
    );
    let same = revision(tidegate).await? == before && said.status != Some(0);
    show.claim("nothing was changed", same.then_some(()).context(format!("{said:?}")));
    Ok(())
}

async fn revision(tidegate: &Tidegate) -> Result<String> {
    let (status, page) = tidegate.admin("GET", "/api/v1/revisions?limit=1", None).await?;
    ensure!(status == 200, "{status}: {page}");
    Ok(page["items"][0]["revision"].to_string())
}

async fn restart(tidegate: &Tidegate, show: &mut Show, (client, answers): (&Client, &Arc<Answers>)) -> Result<()> {
    show.step("the control plane is killed (kill -9) and comes back, while requests flow");
    let traffic = Traffic::start(client, answers);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let old = tidegate.pids("tidegate serve");
    let Some(pid) = old.first() else { bail!("no `tidegate serve` runs") };
    Tidegate::kill_9(*pid)?;
    let began = Instant::now();
    wait::until("a new control plane with every node in sync", PATIENCE, async || {
        let new = tidegate.pids("tidegate serve");
        ensure!(!new.is_empty() && new != old, "it is not back yet");
        tidegate.synced(5).await
    })
    .await?;
    show.detail(&format!("back, every node SYNCED, after {} ms", began.elapsed().as_millis()));
    let tally = traffic.stop().await;
    show.detail(&format!("{} requests meanwhile", tally.answered));
    show.claim("no request failed", tally.all_answered());
    Ok(())
}

/// How long each log of this place is.
pub fn log_lengths(place: &Place) -> BTreeMap<PathBuf, usize> {
    let entries = fs::read_dir(place.data.join("logs")).into_iter().flatten().flatten();
    entries.filter_map(|e| Some((e.path(), usize::try_from(e.metadata().ok()?.len()).ok()?))).collect()
}

/// The logs of this demo, not of earlier ones at the same place (`earlier`: their bytes): few lines, and nothing secret in them.
fn quiet(tidegate: &Tidegate, show: &mut Show, (client, earlier): (&Client, &BTreeMap<PathBuf, usize>)) -> Result<()> {
    show.step("the logs of all this");
    let token = fs::read_to_string(tidegate.data().join("admin-token"))?;
    let password = fs::read_to_string(tidegate.data().join("postgres-password"))?;
    let secrets = [token.trim(), password.trim(), client.key().unwrap_or("no key"), "tgn_", "tga_"];
    let (mut lines, mut leaks) = (0, Vec::new());
    let written = log_lengths(tidegate.place()).into_keys().chain([tidegate.scratch("up.out")]);
    for path in written {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let old = earlier.get(&path).copied().unwrap_or_default();
        // A log that became shorter was rotated: all of it is new.
        let new = text.get(old..).unwrap_or(&text);
        let info = |l: &&str| [" INFO ", "\"level\":\"INFO\"", "[info]"].iter().any(|mark| l.contains(mark));
        lines += new.lines().filter(info).count();
        if secrets.iter().any(|secret| new.contains(secret)) {
            leaks.push(path);
        }
    }
    show.detail(&format!("{lines} info lines"));
    show.claim("at most 60 info lines were logged", (lines <= 60).then_some(()).context(format!("{lines}")));
    show.claim("no token or key is in the logs", leaks.is_empty().then_some(()).context(format!("{leaks:?}")));
    Ok(())
}
