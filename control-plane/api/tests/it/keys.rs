//! API keys over REST, and what of keys and tokens is left in the database: nothing that opens anything.
use axum::body::Body;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use tidegate_policy::ports::ObjectStore;

use super::{app::App, pg};

#[tokio::test]
async fn an_api_key_is_shown_once_listed_and_revoked() {
    let app = App::start().await;
    let body = json!({"tenant": "acme", "description": "first", "expiresInSeconds": 3600}).to_string();
    let made = app.post("/api/v1/api-keys?waitSeconds=0", body).await.expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    assert_eq!(made.json["inForce"], false, "no snapshot has it yet");
    let key = made.json["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("tg_ey"));
    let id = made.json["id"].as_str().unwrap().to_owned();
    let listed = app.get("/api/v1/api-keys").await.expect(200);
    assert_eq!((&listed.json["items"][0]["id"], &listed.json["items"][0]["revokedAt"]), (&json!(id), &json!(null)));
    assert!(!listed.text.contains(&key) && !listed.text.contains("\"key\""));
    assert_eq!(app.store.read_all().await.unwrap().api_keys.len(), 1);
    app.delete(&format!("/api/v1/api-keys/{id}?waitSeconds=11")).await.problem(400, "TG-1304");
    let revoked = app.delete(&format!("/api/v1/api-keys/{id}?waitSeconds=0")).await.expect(200);
    assert!(revoked.json["revokedAt"].is_string());
    assert!(app.store.read_all().await.unwrap().api_keys.is_empty());
    app.delete("/api/v1/api-keys/none").await.problem(404, "TG-1203");
}

#[tokio::test]
async fn a_bad_request_for_a_key_makes_none() {
    let app = App::start().await;
    for bad in [
        json!({}),
        json!({"tenant": ""}),
        json!({"tenant": "a b"}),
        json!({"tenant": "a\nb"}),
        json!({"tenant": "acme", "expiresInSeconds": 0}),
        json!({"tenant": "acme", "expiresInSeconds": -1}),
        json!({"tenant": "acme", "expiresInSeconds": u64::MAX}),
        json!({"tenant": "acme", "description": "x".repeat(257)}),
        json!({"tenant": "acme", "description": "a\u{0}b"}),
        json!({"tenant": "acme", "expires": 5}),
    ] {
        app.post("/api/v1/api-keys", bad.to_string()).await.problem(400, "TG-1305");
    }
    assert!(app.get("/api/v1/api-keys").await.json["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_dump_of_the_database_holds_nothing_that_opens_anything() {
    let server = pg::Server::start(&[]);
    let app = App::on(&server.database()).await;
    let key = app.post("/api/v1/api-keys?waitSeconds=0", json!({"tenant": "acme"}).to_string()).await.expect(201);
    let node =
        app.post("/api/v1/node-tokens", json!({"nodeId": "gw", "role": "Gateway"}).to_string()).await.expect(201);
    let database = app.url.split('/').nth(3).unwrap().split('?').next().unwrap();
    let dump = server.client("pg_dump", &[database]);
    let jwt = key.json["key"].as_str().unwrap().strip_prefix("tg_").unwrap();
    assert!(dump.contains(key.json["id"].as_str().unwrap()), "the dump is of this database");
    let signature = jwt.rsplit('.').next().unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut secrets = vec![jwt.to_owned(), signature.to_owned(), hex(&URL_SAFE_NO_PAD.decode(signature).unwrap())];
    for token in [node.json["token"].as_str().unwrap(), &app.token] {
        let random = token.split_once('_').unwrap().1;
        secrets.extend([token.to_owned(), random.to_owned(), hex(&URL_SAFE_NO_PAD.decode(random).unwrap())]);
    }
    for secret in secrets {
        assert!(!dump.contains(&secret), "{secret}");
    }
    assert!(!dump.contains("\"d\""), "no private half of a JWK");
    app.call((http::Method::GET, "/api/v1/api-keys"), &[], Body::empty()).await.expect(200);
}
