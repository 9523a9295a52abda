//! Tokens of administrators and nodes over REST: named, listed, rotated, revoked.
use serde_json::{Value, json};
use tidegate_policy::ports::{NodeAuth, NodeRole, ObjectStore};

use super::app::{App, MODELS, model, pool};

async fn make(app: &App, kind: &str, body: Value) -> super::app::Answer {
    app.post(&format!("/api/v1/{kind}"), body.to_string()).await
}

/// As the compile loop does, a moment after the request began.
async fn while_reading<T>(app: &App, request: impl Future<Output = T>) -> T {
    let reading = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            app.refresh().await;
        }
    };
    tokio::select! {
        answer = request => answer,
        () = reading => unreachable!(),
    }
}

#[tokio::test]
async fn an_admin_token_has_a_name_that_is_the_author_and_ends_when_it_is_revoked() {
    let app = App::start().await;
    let body = json!({"name": "alice", "expiresInSeconds": 3600});
    let made = while_reading(&app, make(&app, "admin-tokens", body)).await.expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    let secret = made.json["token"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("tga_"));
    let alice = App { token: secret.clone(), ..app.clone() };
    alice.put(&format!("{MODELS}/chat"), model("chat")).await.expect(201);
    let history = alice.get("/api/v1/revisions").await.expect(200);
    assert_eq!(history.json["items"][0]["author"], "alice");
    make(&app, "admin-tokens", json!({"name": "alice"})).await.problem(409, "TG-1345");
    let listed = app.get("/api/v1/admin-tokens").await.expect(200);
    assert!(!listed.text.contains(&secret));
    let of = |name: &str| -> Value {
        listed.json["items"].as_array().unwrap().iter().find(|t| t["name"] == name).unwrap().clone()
    };
    assert!(of("alice")["lastUsedAt"].is_string() && of("alice")["expiresAt"].is_string(), "{}", listed.text);
    assert!(of("tester")["expiresAt"].is_null());
    let id = made.json["id"].as_str().unwrap();
    let revoked = while_reading(&app, app.delete(&format!("/api/v1/admin-tokens/{id}"))).await.expect(200);
    assert!(revoked.json["revokedAt"].is_string());
    let refused = alice.get("/api/v1/models").await.problem(401, "TG-1302");
    assert!(refused.json["detail"].as_str().unwrap().contains("revoked"), "{}", refused.text);
    app.delete("/api/v1/admin-tokens/none").await.problem(404, "TG-1203");
    for bad in [json!({}), json!({"name": ""}), json!({"name": "a b"}), json!({"name": "a", "expiresInSeconds": 0})] {
        make(&app, "admin-tokens", bad).await.problem(400, "TG-1305");
    }
}

#[tokio::test]
async fn the_last_admin_token_goes_only_when_that_is_meant() {
    let app = App::start().await;
    let listed = app.get("/api/v1/admin-tokens").await.expect(200);
    let id = listed.json["items"][0]["id"].as_str().unwrap().to_owned();
    let kept = app.delete(&format!("/api/v1/admin-tokens/{id}")).await.problem(409, "TG-1346");
    assert!(kept.json["detail"].as_str().unwrap().contains("force"));
    app.get("/api/v1/models").await.expect(200);
    while_reading(&app, app.delete(&format!("/api/v1/admin-tokens/{id}?force=true"))).await.expect(200);
    app.get("/api/v1/models").await.problem(401, "TG-1302");
}

#[tokio::test]
async fn an_admin_token_that_expires_opens_nothing_from_that_moment_on() {
    let app = App::start().await;
    let made = while_reading(&app, make(&app, "admin-tokens", json!({"name": "brief", "expiresInSeconds": 2}))).await;
    let brief = App { token: made.expect(201).json["token"].as_str().unwrap().to_owned(), ..app.clone() };
    brief.get("/api/v1/models").await.expect(200);
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    // The store was not read again meanwhile.
    brief.get("/api/v1/models").await.problem(401, "TG-1302");
}

#[tokio::test]
async fn a_node_that_has_a_token_is_not_cut_off_by_another() {
    let app = App::start().await;
    let worker = |more: Value| {
        let mut body = json!({"nodeId": "w1", "role": "Worker", "pool": "default/chat"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let token = |answer: super::app::Answer| answer.expect(201).json["token"].as_str().unwrap().to_owned();
    let first = while_reading(&app, make(&app, "node-tokens", worker(json!({})))).await.expect(201);
    assert_eq!((&first.json["role"], &first.json["pool"]), (&json!("Worker"), &json!("default/chat")));
    assert_eq!(first.json["warnings"].as_array().unwrap().len(), 1, "there is no such pool: {}", first.text);
    let first = token(first);
    let identity = app.tokens.authenticate(&first).unwrap();
    assert_eq!(identity.role, NodeRole::Worker { pool: "default/chat".to_owned() });
    let refused = make(&app, "node-tokens", worker(json!({}))).await.problem(409, "TG-1344");
    let said = refused.json["detail"].as_str().unwrap();
    assert!(said.contains("w1") && said.contains("--rotate") && said.contains("last used"), "{said}");
    app.refresh().await;
    assert!(app.tokens.authenticate(&first).is_some(), "it goes on");

    let second = token(while_reading(&app, make(&app, "node-tokens", worker(json!({"rotate": true})))).await);
    assert!(app.tokens.authenticate(&first).is_some() && app.tokens.authenticate(&second).is_some());
    let listed = app.get("/api/v1/node-tokens").await.expect(200);
    let items = listed.json["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert!(items[0]["endsAt"].is_null() && items[1]["endsAt"].is_string(), "{}", listed.text);
    assert!(items[1]["lastUsedAt"].is_string());
    assert!(!listed.text.contains(&first) && !listed.text.contains(&second));

    let at_once = worker(json!({"rotate": true, "graceSeconds": 0}));
    let third = token(while_reading(&app, make(&app, "node-tokens", at_once)).await);
    assert!(app.tokens.authenticate(&first).is_none() && app.tokens.authenticate(&second).is_none());
    assert!(app.tokens.authenticate(&third).is_some());

    let revoked = while_reading(&app, app.delete("/api/v1/node-tokens/w1")).await.expect(200);
    assert_eq!(revoked.json, json!({"nodeId": "w1", "inForce": true, "connected": false}));
    assert!(app.tokens.authenticate(&third).is_none());
    app.delete("/api/v1/node-tokens/w1").await.problem(404, "TG-1203");
    assert!(app.store.read_all().await.unwrap().node_tokens.is_empty());
}

#[tokio::test]
async fn a_wrong_request_for_a_node_token_makes_none_and_a_pool_that_is_there_is_no_warning() {
    let app = App::start().await;
    app.put("/api/v1/namespaces/default/models/chat", model("chat")).await.expect(201);
    app.put("/api/v1/namespaces/default/workerpools/chat", pool("chat", "chat")).await.expect(201);
    let good = json!({"nodeId": "w", "role": "Worker", "pool": "default/chat"});
    let made = while_reading(&app, make(&app, "node-tokens", good)).await.expect(201);
    assert_eq!(made.json["warnings"], json!([]));
    let gateway = while_reading(&app, make(&app, "node-tokens", json!({"nodeId": "gw", "role": "Gateway"}))).await;
    let gateway = gateway.expect(201);
    assert_eq!((&gateway.json["role"], gateway.json.get("pool")), (&json!("Gateway"), None));
    for bad in [
        json!({"nodeId": "x", "role": "Worker"}),
        json!({"nodeId": "x", "role": "Worker", "pool": "chat"}),
        json!({"nodeId": "x", "role": "Worker", "pool": "a/b/c"}),
        json!({"nodeId": "x", "role": "Gateway", "pool": "a/b"}),
        json!({"nodeId": "", "role": "Gateway"}),
        json!({"nodeId": "a b", "role": "Gateway"}),
        json!({"nodeId": "x", "role": "gateway"}),
        json!({"nodeId": "x", "role": "Gateway", "graceSeconds": 5}),
        json!({"nodeId": "x", "role": "Gateway", "rotate": true, "graceSeconds": 86_401}),
    ] {
        make(&app, "node-tokens", bad).await.problem(400, "TG-1305");
    }
    assert_eq!(app.store.read_all().await.unwrap().node_tokens.len(), 2);
}
