//! Who gets in: nodes by their token, workers with their own address only, clients with their own tenant only, and keys that
//! can be taken away.
use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use envoy_types::pb::envoy::{
    config::core::v3::Node,
    service::discovery::v3::{
        DeltaDiscoveryRequest, aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
};
use futures::stream;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use system_tests::{
    client::Client,
    documents::{PATIENCE, limit, with_examples},
    tidegate::Tidegate,
    wait,
};
use tidegate_proto::fleet::{State, WorkerReport, fleet_client::FleetClient};
use tonic::{Code, Request, Status, transport::Channel};

fn with_token<T>(message: T, token: Option<&str>) -> Result<Request<T>> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    }
    Ok(request)
}

/// Opens an ADS stream for clusters and waits for the first answer or refusal.
async fn ads(channel: &Channel, node_id: &str, token: Option<&str>) -> Result<Result<usize, Status>> {
    let first = DeltaDiscoveryRequest {
        node: Some(Node { id: node_id.to_owned(), ..Node::default() }),
        type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    // Open until this call returns.
    let (_open, ended) = tokio::sync::oneshot::channel::<()>();
    let requests = stream::once(async { first });
    let rest = futures::StreamExt::filter_map(stream::once(ended), |_| futures::future::ready(None));
    let requests = futures::StreamExt::chain(requests, rest);
    let mut client = AggregatedDiscoveryServiceClient::new(channel.clone());
    let opened = client.delta_aggregated_resources(with_token(requests, token)?).await;
    let mut answers = match opened {
        Ok(response) => response.into_inner(),
        Err(status) => return Ok(Err(status)),
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), answers.message()).await.context("no answer in 5 s")?;
    Ok(answer.map(|a| a.map_or(0, |a| a.resources.len())))
}

async fn report(channel: &Channel, report: WorkerReport, token: &str) -> Result<Code> {
    let reports = futures::StreamExt::chain(stream::once(async { report }), stream::pending());
    let opened = FleetClient::new(channel.clone()).report(with_token(reports, Some(token))?).await;
    let mut answers = match opened {
        Ok(response) => response.into_inner(),
        Err(status) => return Ok(status.code()),
    };
    // A directive comes first; a lie is refused when the lease is taken, a moment later.
    for limit in [5, 3] {
        match tokio::time::timeout(Duration::from_secs(limit), answers.message()).await {
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => return Ok(Code::Unknown),
            Ok(Err(status)) => return Ok(status.code()),
            Err(_) => return Ok(Code::Ok),
        }
    }
    Ok(Code::Ok)
}

async fn node_token(tidegate: &Tidegate, body: serde_json::Value) -> Result<String> {
    let (status, made) = tidegate.admin("POST", "/api/v1/node-tokens", Some(body.to_string())).await?;
    ensure!((200..300).contains(&status), "{status}: {made}");
    Ok(made["token"].as_str().context("no token")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_without_their_token_get_nothing_and_workers_cannot_take_an_address() -> Result<()> {
    let (tidegate, _client) = with_examples(&[]).await?;
    let channel = Channel::from_shared(format!("http://{}", tidegate.place().grpc))?.connect().await?;
    for token in [None, Some("tgn_wrong"), Some("")] {
        let refused = ads(&channel, "gateway", token).await?;
        ensure!(matches!(&refused, Err(s) if s.code() == Code::Unauthenticated), "{token:?}: {refused:?}");
    }
    let admin = fs::read_to_string(tidegate.data().join("admin-token"))?;
    let refused = ads(&channel, "gateway", Some(admin.trim())).await?;
    ensure!(refused.is_err(), "an administrator is no node: {refused:?}");

    let good = node_token(&tidegate, json!({"nodeId": "second-gateway", "role": "Gateway"})).await?;
    wait::until("the token to be known", PATIENCE, async || {
        let answer = ads(&channel, "second-gateway", Some(&good)).await?;
        ensure!(matches!(answer, Ok(n) if n > 0), "{answer:?}");
        Ok(())
    })
    .await?;
    let stolen = ads(&channel, "another-name", Some(&good)).await?;
    ensure!(matches!(&stolen, Err(s) if s.code() == Code::PermissionDenied), "{stolen:?}");

    let (_, nodes) = tidegate.admin("GET", "/api/v1/nodes", None).await?;
    let taken = nodes["items"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|n| n["worker"]["address"].as_str())
        .context("an address")?;
    let intruder =
        node_token(&tidegate, json!({"nodeId": "intruder", "role": "Worker", "pool": "default/chat-stable"})).await?;
    let base = WorkerReport {
        node_id: "intruder".into(),
        incarnation: "1".into(),
        pool: "default/chat-stable".into(),
        address: "127.0.0.1:9".into(),
        state: State::Starting.into(),
        ..WorkerReport::default()
    };
    wait::until("the worker's token to be known", PATIENCE, async || {
        let code = report(&channel, base.clone(), &intruder).await?;
        ensure!(code == Code::Ok, "{code:?}");
        Ok(())
    })
    .await?;
    let lies = [
        ("the address of another worker", WorkerReport { address: taken.to_owned(), ..base.clone() }),
        ("the address of another machine", WorkerReport { address: "192.0.2.7:80".into(), ..base.clone() }),
        ("the name of another node", WorkerReport { node_id: "default.chat-stable.0".into(), ..base.clone() }),
        ("another pool", WorkerReport { pool: "default/chat-canary".into(), ..base.clone() }),
    ];
    for (what, lie) in lies {
        let code = report(&channel, lie, &intruder).await?;
        ensure!(code == Code::PermissionDenied, "{what}: {code:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_cannot_say_who_they_are_or_which_version_they_get() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    let forged = [
        ("x-tidegate-model-version", "v2"),
        ("X-Tidegate-Tenant", "other"),
        ("x-tidegate-arm", "candidate"),
        ("x-user-id", "nobody"),
    ];
    let answer = client.chat("What is assert?", &forged).await?.expect(200)?;
    ensure!((answer.version(), answer.arm()) == ("v1", "stable"), "{:?}", answer.headers);

    // One request a day for tenant acme: the second is refused, whatever tenant the header claims.
    let only_acme = limit("[{type: Tenant}]", 1, 1).replace("window: 1s", "window: 24h");
    tidegate.apply(&only_acme).await?;
    wait::until("the limit to be in force", PATIENCE, async || {
        let status = client.chat("What is assert?", &[("x-tidegate-tenant", "other")]).await?.status;
        ensure!(status == 429, "status {status}");
        Ok(())
    })
    .await?;
    for tenant in ["other", "another", ""] {
        let status = client.chat("What is assert?", &[("X-TIDEGATE-TENANT", tenant)]).await?.status;
        ensure!(status == 429, "as {tenant:?}: {status}");
    }
    let other = tidegate.client("other").await?;
    ensure!(other.chat("What is assert?", &[]).await?.status == 200, "a tenant of its own has a balance of its own");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_within_a_second_and_nothing_stored_is_a_usable_key() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    let second = tidegate.client("beta").await?;
    let (_, keys) = tidegate.admin("GET", "/api/v1/api-keys", None).await?;
    let id = keys["items"].as_array().into_iter().flatten().find(|k| k["tenant"] == "beta").context("the key")?;
    let id = id["id"].as_str().context("id")?;
    let stream = second.open("What is assert?", 64, &[("x-user-id", "nobody")]).await?;
    let (status, answer) = tidegate.admin("DELETE", &format!("/api/v1/api-keys/{id}"), None).await?;
    ensure!((200..300).contains(&status), "{status}: {answer}");
    let began = Instant::now();
    while second.get("/v1/models").await?.status != 401 {
        if began.elapsed() > Duration::from_secs(5) {
            bail!("the revoked key still opens the gateway");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("revoked in force after {} ms", began.elapsed().as_millis());
    ensure!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let streamed = stream.finish().await?;
    ensure!(
        streamed.done && streamed.error.is_none(),
        "a stream that was open is not cut by a revocation: {streamed:?}"
    );
    ensure!(client.get("/v1/models").await?.status == 200, "other keys go on");
    ensure!(client.with_key(None).get("/v1/models").await?.status == 401, "no key, no entry");

    let dump = tidegate.dump_database().await?;
    let config = tidegate.envoy_admin("/config_dump?include_eds").await?;
    let usable = client.key().context("key")?;
    let (signed, signature) = usable.rsplit_once('.').context("a JWT")?;
    for (what, text) in [("the database", &dump), ("Envoy's configuration", &config)] {
        ensure!(text.len() > 5_000, "{what} was not read: {text}");
        ensure!(
            !text.contains(usable) && !text.contains(signature) && !text.contains(signed),
            "{what} holds a usable key"
        );
    }
    let admin = fs::read_to_string(tidegate.data().join("admin-token"))?;
    ensure!(!dump.contains(admin.trim()), "the database holds the admin token");
    ensure!(!dump.contains("tgn_") && !dump.contains("tga_"), "the database holds a token");
    Ok(())
}

/// Makes a key of the tenant and answers its id and a client that uses it.
async fn key(tidegate: &Tidegate, tenant: &str) -> Result<(String, Client)> {
    let (_, made) = tidegate.admin("POST", "/api/v1/api-keys", Some(json!({"tenant": tenant}).to_string())).await?;
    ensure!(made["inForce"] == true && made["confirmed"] == json!(["gateway-0"]), "{made}");
    let (id, key) = (made["id"].as_str().context("id")?, made["key"].as_str().context("key")?);
    let client = Client::new(format!("http://{}", tidegate.place().gateway), Some(key.to_owned()))?;
    // It said that the gateway knows the key.
    let status = client.get("/v1/models").await?.status;
    ensure!(status != 401, "status {status}");
    Ok((id.to_owned(), client))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_says_where_it_is_in_force_and_is_there() -> Result<()> {
    let tidegate = Tidegate::start().await?;
    let (id, client) = key(&tidegate, "one").await?;
    let (_, revoked) = tidegate.admin("DELETE", &format!("/api/v1/api-keys/{id}"), None).await?;
    ensure!(revoked["inForce"] == true && revoked["confirmed"] == json!(["gateway-0"]), "{revoked}");
    // Envoy's threads take a configuration over in the same moment, not in the same instruction.
    wait::until("the key to be refused", Duration::from_millis(500), async || {
        let status = client.get("/v1/models").await?.status;
        ensure!(status == 401, "status {status}");
        Ok(())
    })
    .await?;

    // A gateway that was here and is not: nobody knows what it takes.
    let channel = Channel::from_shared(format!("http://{}", tidegate.place().grpc))?.connect().await?;
    let away = node_token(&tidegate, json!({"nodeId": "gateway-9", "role": "Gateway"})).await?;
    ensure!(ads(&channel, "gateway-9", Some(&away)).await?.is_ok());
    drop(channel);
    // One that stands still: it is connected and does not answer.
    let envoy = *tidegate.pids("envoy.json").iter().max().context("Envoy runs")?;
    let (id, client) = key_at(&tidegate, "two", "gateway-9").await?;
    signal(envoy, Signal::STOP)?;
    let (_, revoked) = tidegate.admin("DELETE", &format!("/api/v1/api-keys/{id}?waitSeconds=1"), None).await?;
    let said = tidegate.cli(&["api-key", "revoke", &id, "--no-wait"]).await?;
    signal(envoy, Signal::CONT)?;
    ensure!(revoked["inForce"] == false, "{revoked}");
    ensure!(revoked["pending"] == json!(["gateway-0"]) && revoked["disconnected"] == json!(["gateway-9"]), "{revoked}");
    ensure!(said.out.contains("NOT YET at gateway-0") && said.out.contains("gateway-9 not connected"), "{said:?}");
    wait::until("the key to be refused", PATIENCE, async || {
        let status = client.get("/v1/models").await?.status;
        ensure!(status == 401, "status {status}");
        Ok(())
    })
    .await
}

/// As [`key`], while a gateway is away.
async fn key_at(tidegate: &Tidegate, tenant: &str, away: &str) -> Result<(String, Client)> {
    wait::until("the gateway to be gone", PATIENCE, async || {
        let (_, made) = tidegate.admin("POST", "/api/v1/api-keys", Some(json!({"tenant": tenant}).to_string())).await?;
        ensure!(made["disconnected"] == json!([away]) && made["inForce"] == false, "{made}");
        let (id, key) = (made["id"].as_str().context("id")?, made["key"].as_str().context("key")?);
        Ok((id.to_owned(), Client::new(format!("http://{}", tidegate.place().gateway), Some(key.to_owned()))?))
    })
    .await
}

fn signal(pid: i32, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_raw(pid).context("pid 0")?, signal)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_token_for_a_live_gateway_is_refused_and_a_rotation_cuts_nobody_off() -> Result<()> {
    let tidegate = Tidegate::start().await?;
    let create = ["node-token", "create", "--node-id", "gateway-0", "--role", "gateway"];
    let refused = tidegate.cli(&create).await?;
    ensure!(
        refused.status == Some(1) && refused.err.contains("TG-1344") && refused.err.contains("--rotate"),
        "{refused:?}"
    );
    let rotated = tidegate.cli(&[&create[..], &["--rotate"]].concat()).await?;
    ensure!(rotated.status == Some(0) && rotated.out.starts_with("tgn_"), "{rotated:?}");
    ensure!(rotated.err.contains("taken until"), "{rotated:?}");
    // Longer than an open stream goes without a look at its token.
    tokio::time::sleep(Duration::from_secs(7)).await;
    tidegate.synced(1).await.context("the gateway was cut off")?;
    let (_, client) = key(&tidegate, "acme").await?;
    ensure!(client.get("/v1/models").await?.status != 401, "a change after the rotation reaches it");
    let listed = tidegate.ok(&["node-token", "list"]).await?;
    ensure!(listed.lines().filter(|line| line.starts_with("gateway-0")).count() == 2, "{listed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_token_has_a_name_and_an_end_that_a_restart_does_not_undo() -> Result<()> {
    let tidegate = Tidegate::start().await?;
    let alice = tidegate.ok(&["admin-token", "create", "--name", "alice"]).await?;
    let file = tidegate.scratch("alice.token");
    fs::write(&file, alice)?;
    let file = file.to_string_lossy().into_owned();
    let policy = "apiVersion: tidegate.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {name: a}\nspec:\n  \
                  targetRefs: [{kind: Model, name: m}]\n  limits: [{name: all, requests: {rate: 1, window: 1s}}]\n";
    let document = tidegate.scratch("a.yaml");
    fs::write(&document, policy)?;
    tidegate.ok(&["apply", "-f", &document.to_string_lossy(), "--token-file", &file]).await?;
    let history = tidegate.ok(&["history"]).await?;
    ensure!(history.contains("alice"), "{history}");
    // The token of the data directory goes; the file stays, and the next start does not take it over again.
    let listed = tidegate.ok(&["admin-token", "list"]).await?;
    let first = listed.lines().find(|l| l.contains("admin-")).and_then(|l| l.split_whitespace().next());
    let first = first.context("the first token")?.to_owned();
    tidegate.ok(&["admin-token", "revoke", &first, "--token-file", &file]).await?;
    ensure!(tidegate.cli(&["get", "models"]).await?.status == Some(77), "it was revoked");
    let serve = *tidegate.pids("tidegate serve").first().context("serve runs")?;
    Tidegate::kill_9(serve)?;
    wait::until("the control plane to be back", PATIENCE, async || {
        ensure!(!tidegate.pids("tidegate serve").is_empty() && !tidegate.pids("tidegate serve").contains(&serve));
        tidegate.ok(&["get", "models", "--token-file", &file]).await.map(drop)
    })
    .await?;
    ensure!(tidegate.cli(&["get", "models"]).await?.status == Some(77), "a restart let it in again");
    let last = tidegate.cli(&["admin-token", "revoke", "alice", "--token-file", &file]).await?;
    ensure!(last.status == Some(1) && last.err.contains("TG-1346"), "{last:?}");
    Ok(())
}
