//! What the gateway refuses, `explain` has said before: the same status and the same code, for every combination of path, model, key
//! and `connection` header, with and without required keys.
use serde_json::{Value, json};
use system_tests::envoy_files::{EchoOrigin, RawClient, post};
use tidegate_policy::explain::{Answerer, ExplainHeader, ExplainRequest, GatewayFacts, explain};

use super::{Gateway, policies::World};

const PATHS: [&str; 16] = [
    "/v1/embeddings",
    "/v1/embeddings?a=b",
    "/v1/chat/completions",
    "/v1/models",
    "/v1/models/m0",
    "/v1/embeddings/",
    "/v2/embeddings",
    "/",
    "//v1///embeddings",
    "/v1/./a/../embeddings",
    "/../v1/models/..//embeddings",
    "/v1/embeddings/..",
    "/v1/embeddings/.",
    "/v1/embeddings#a",
    "/v1/models/team/m0/",
    "/v1/modelsx",
];
/// `m2` has no workers.
const MODELS: [&str; 6] = ["m0", "m2", "nope", "team/m0", "m 0", ""];
const CONNECTIONS: [Option<&str>; 3] = [None, Some("x-forwarded-for"), Some("a,b,c,d,e,f,g,h,i,j")];

/// One that the gateway knows, one that it does not, and two that are none.
fn credentials(world: &World) -> Vec<Option<String>> {
    let good = String::from_utf8(world.keys["acme"].clone()).unwrap();
    let (_, tail) = good.split_once('.').unwrap();
    // {"alg":"EdDSA","kid":"nobodys"}
    let unknown = format!("Bearer tg_eyJhbGciOiJFZERTQSIsImtpZCI6Im5vYm9keXMifQ.{tail}");
    vec![None, Some(good), Some(unknown), Some("Bearer sk-123".to_owned()), Some("Basic eDp5".to_owned())]
}

fn seen(client: &mut RawClient, path: &str, model: &str, headers: &[(String, String)]) -> (u16, String) {
    let headers: Vec<_> = headers.iter().map(|(n, v)| (n.clone(), v.clone().into_bytes())).collect();
    let body = json!({"model": model, "input": "x"}).to_string();
    let answer = client.send(&post(path, &body, &headers)).unwrap();
    let error: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    (answer.status, error["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn explain_foresees_every_refusal_of_the_gateway() {
    let origins = [EchoOrigin::start().unwrap(), EchoOrigin::start().unwrap()];
    let world = World::random(7, 3, false, [origins[0].address, origins[1].address]);
    let mut snapshot = world.snapshot.clone();
    snapshot.arms.values_mut().filter(|a| a.model.name == "m2").for_each(|a| a.endpoints.clear());
    let mut statuses = std::collections::BTreeMap::new();
    for require_api_key in [false, true] {
        let facts = GatewayFacts { require_api_key };
        let gateway = Gateway::start_with(&snapshot, facts);
        let credentials = credentials(&world);
        let all = PATHS.iter().flat_map(|p| MODELS.iter().map(move |m| (p, m)));
        for (path, model) in all {
            for (key, connection) in credentials.iter().flat_map(|k| CONNECTIONS.iter().map(move |c| (k, c))) {
                let key = key.iter().map(|k| ("Authorization".to_owned(), k.clone()));
                let connection = connection.iter().map(|c| ("Connection".to_owned(), (*c).to_owned()));
                let headers: Vec<_> = key.chain(connection).collect();
                let asked = headers.iter().map(|(name, value)| ExplainHeader {
                    name: name.clone(),
                    value: Some(value.clone()),
                    value_base64: None,
                });
                let request = ExplainRequest {
                    model: (*model).to_owned(),
                    path: Some((*path).to_owned()),
                    headers: asked.collect(),
                    tenant: None,
                };
                let verdict = explain(&snapshot, facts, &request).verdict;
                let seen = seen(&mut RawClient::new(gateway.listen), path, model, &headers);
                *statuses.entry(seen.0).or_insert(0) += 1;
                let told = match verdict.from {
                    // The origin here takes everything; tests with real workers ask them.
                    Answerer::Worker => (200, String::new()),
                    Answerer::Gateway => (verdict.status, verdict.code.clone().unwrap_or_default()),
                };
                assert_eq!(seen, told, "keys required: {require_api_key}, {request:?}: {verdict:?}");
            }
        }
    }
    for status in [200, 400, 401, 404, 405, 503] {
        assert!(statuses.get(&status).is_some_and(|n| *n >= 4), "{status} came too seldom: {statuses:?}");
    }
}
