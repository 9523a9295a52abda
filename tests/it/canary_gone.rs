//! A canary that is taken away, and the refusals that `explain` foresees, with real workers: whatever goes, no user stays on an error,
//! and the write that causes it says what it does.
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use system_tests::{
    client::{CHAT_MODEL, Client},
    documents::{PATIENCE, pool, release, with_examples},
    tidegate::Tidegate,
    wait,
};

const USERS: usize = 40;

/// How many of the users get each version; an error when anyone gets none.
async fn census(client: &Client) -> Result<[usize; 2]> {
    let mut seen = [0, 0];
    for user in 0..USERS {
        let answer = client.chat("What is assert?", &[("x-user-id", &format!("user-{user}"))]).await?.expect(200)?;
        seen[usize::from(answer.version() == "v2")] += 1;
    }
    Ok(seen)
}

async fn settles(client: &Client, what: &str, both: bool) -> Result<()> {
    wait::until(what, PATIENCE, async || {
        let seen = census(client).await?;
        ensure!((seen[1] > 0) == both && seen[0] > 0, "{seen:?}");
        let tagged = client.chat("What is assert?", &[("x-gray-tag", "v2")]).await?.expect(200)?;
        ensure!(tagged.version() == if both { "v2" } else { "v1" }, "the rule leads to {}", tagged.version());
        Ok(())
    })
    .await
}

/// What `explain` says, and what the gateway does.
async fn explained(tidegate: &Tidegate, question: Value) -> Result<Value> {
    let (status, told) = tidegate.admin("POST", "/api/v1/explain", Some(question.to_string())).await?;
    ensure!(status == 200, "{told}");
    Ok(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_user_stays_on_an_error_when_the_canary_goes() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    tidegate.apply(&release("v1", "v2", 50)).await?;
    settles(&client, "half of the users to be on the canary", true).await?;

    let none = pool("chat-canary", "v2", 0);
    let path = "/api/v1/apply?dryRun=true";
    for path in [path, "/api/v1/apply"] {
        let (status, applied) = tidegate.admin("POST", path, Some(none.clone())).await?;
        let warnings = applied["results"][0]["warnings"].to_string();
        let said = ["50 %", "1 rule", "candidate v2", "v1 answers instead"].iter().all(|w| warnings.contains(w));
        ensure!(status == 200 && said, "{status} {applied}");
    }
    settles(&client, "everybody to be on v1 without a canary", false).await?;
    let told = explained(
        &tidegate,
        json!({"model": CHAT_MODEL, "tenant": "acme", "headers": [{"name": "x-gray-tag", "value": "v2"}]}),
    )
    .await?;
    let notes = told["notes"].to_string();
    ensure!(
        told["rules"][0]["named"] == "candidate v2" && notes.contains("no WorkerPool with replicas asks"),
        "{told}"
    );

    tidegate.apply(&pool("chat-canary", "v2", 1)).await?;
    settles(&client, "the canary to be back", true).await?;
    for flags in [&["--dry-run"][..], &[]] {
        let said = tidegate.ok(&[&["delete", "wp", "chat-canary"][..], flags].concat()).await?;
        ensure!(said.contains("warning: ") && said.contains("v1 answers instead"), "{said}");
    }
    settles(&client, "everybody to be on v1 when the canary is deleted", false).await?;

    tidegate.apply(&pool("chat-canary", "v2", 1)).await?;
    settles(&client, "the canary to be there again", true).await?;
    for worker in tidegate.pids("default/chat-canary") {
        Tidegate::kill_9(worker)?;
    }
    // Some errors may be seen until the lease ends; then nobody stays on one, and the supervisor brings the worker back.
    settles(&client, "the canary to be back after a kill", true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_foresees_what_a_client_reads() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    let nobody = client.with_key(None);
    let foreign = client.with_key(Some("sk-123".to_owned()));
    // In nobody's pool.
    let text = tidegate.ok(&["get", "model", CHAT_MODEL, "-o", "json"]).await?;
    let mut lonely: Value = serde_json::from_str(&text)?;
    lonely["metadata"] = json!({"name": "lonely"});
    tidegate.apply(&lonely.to_string()).await?;
    wait::until("the new model to be known", PATIENCE, async || {
        let told = explained(&tidegate, json!({"model": "lonely", "tenant": "acme"})).await?;
        ensure!(told["verdict"]["status"] == 503, "{told}");
        Ok(())
    })
    .await?;
    let mut seen = std::collections::BTreeSet::new();
    for (who, client, key) in
        [("acme", &client, None), ("nobody", &nobody, None), ("foreign", &foreign, Some("Bearer sk-123"))]
    {
        for model in [CHAT_MODEL, "all-minilm-l6-v2", "lonely", "tide-chatt"] {
            for path in ["/v1/chat/completions", "/v1/embeddings", "/v1/models", "/v3"] {
                let headers: Vec<Value> = key.iter().map(|k| json!({"name": "authorization", "value": k})).collect();
                let mut question = json!({"model": model, "path": path, "headers": headers});
                if who == "acme" {
                    question["tenant"] = json!("acme");
                }
                let told = explained(&tidegate, question).await?["verdict"].clone();
                let body = json!({"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": "a"}]});
                let body = if path == "/v1/embeddings" { json!({"model": model, "input": "a"}) } else { body };
                let answer = client.send(path, &body, &[]).await?;
                let code = answer.json()["error"]["code"].clone();
                let same = told["status"] == answer.status && told["code"] == code;
                ensure!(same, "{who} {model} {path}: told {told}, got {} {}", answer.status, answer.body);
                seen.insert(answer.status);
            }
        }
    }
    ensure!([200, 400, 401, 404, 405, 503].iter().all(|s| seen.contains(s)), "not all were seen: {seen:?}");
    let unknown = tidegate.cli(&["explain", "--model", "tide-chatt"]).await?;
    ensure!(unknown.status == Some(1) && unknown.out.contains("the nearest: tide-chat"), "{unknown:?}");
    Ok(())
}
