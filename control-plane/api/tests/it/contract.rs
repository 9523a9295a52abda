//! The OpenAPI document as a contract: it lists what the router has, and every answer is what it says.
use http::Method;
use serde_json::{Value, json};
use tidegate_api::{
    admin::openapi_document,
    nodes::{
        Door, NodeRefusal, NodeState, NodeStatus, NodeTypeStatus, NodesAnswer, RefusedCaller, RefusedResource,
        WorkerLoad, WorkerVersion, WorkerView,
    },
};

use super::{
    app::{Answer, App},
    schema,
};

/// The template of the document that a path belongs to; a fixed segment goes before a parameter, as in the router.
fn template(path: &str) -> Option<&'static str> {
    let segments: Vec<&str> = path.split('/').collect();
    let fits = |t: &&String| {
        let parts: Vec<&str> = t.split('/').collect();
        parts.len() == segments.len() && parts.iter().zip(&segments).all(|(p, s)| p.starts_with('{') || p == s)
    };
    let paths = openapi_document()["paths"].as_object().unwrap();
    paths.keys().filter(fits).min_by_key(|t| t.matches('{').count()).map(String::as_str)
}

fn schema_check(schema: &Value, instance: &Value) {
    let mistakes = schema::mistakes(schema, instance);
    assert!(mistakes.is_empty(), "{mistakes:#?}\nin {instance:#}\nby {schema}");
}

/// Fails unless the answer is what the document says of this address.
pub fn check(method: &Method, path: &str, answer: &Answer) {
    let problem = json!({"$ref": "#/components/schemas/Problem"});
    let operation = template(path).map(|t| &openapi_document()["paths"][t][method.as_str().to_lowercase()]);
    let Some(operation) = operation.filter(|o| o.is_object()) else {
        assert!(
            matches!(answer.status.as_u16(), 400 | 403 | 404 | 405 | 421 | 503),
            "{method} {path} is not in the document"
        );
        return schema_check(&problem, &answer.json);
    };
    let responses = &operation["responses"];
    let said = responses.get(answer.status.as_str()).or_else(|| responses.get("default"));
    let said = said.unwrap_or_else(|| panic!("{method} {path} does not document {}: {}", answer.status, answer.text));
    let Some(content) = said["content"].as_object() else { return assert_eq!(answer.text, "") };
    let sent = answer.headers["content-type"].to_str().unwrap().split(';').next().unwrap();
    let media = content.get(sent).unwrap_or_else(|| panic!("{method} {path} does not document {sent}"));
    if sent.ends_with("json") {
        schema_check(&media["schema"], &answer.json);
    }
}

#[tokio::test]
async fn the_document_is_served_and_lists_every_route() {
    let app = App::start().await;
    let served = app.get("/openapi.json").await.expect(200).json;
    assert_eq!(&served, openapi_document());
    assert_eq!(served["openapi"], "3.1.0");
    let mut listed = Vec::new();
    for (path, item) in served["paths"].as_object().unwrap() {
        listed.extend(item.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    listed.sort();
    assert_eq!(
        listed,
        [
            "DELETE /api/v1/admin-tokens/{id}",
            "DELETE /api/v1/api-keys/{id}",
            "DELETE /api/v1/namespaces/{namespace}/{plural}/{name}",
            "DELETE /api/v1/node-tokens/{node_id}",
            "GET /api/v1/admin-tokens",
            "GET /api/v1/api-keys",
            "GET /api/v1/namespaces/{namespace}/{plural}",
            "GET /api/v1/namespaces/{namespace}/{plural}/{name}",
            "GET /api/v1/node-tokens",
            "GET /api/v1/nodes",
            "GET /api/v1/revisions",
            "GET /api/v1/{plural}",
            "GET /errors/{code}",
            "GET /healthz",
            "GET /metrics",
            "GET /openapi.json",
            "GET /proof",
            "GET /readyz",
            "POST /api/v1/admin-tokens",
            "POST /api/v1/api-keys",
            "POST /api/v1/apply",
            "POST /api/v1/diff",
            "POST /api/v1/explain",
            "POST /api/v1/namespaces/{namespace}/{plural}/{name}/adopt",
            "POST /api/v1/node-tokens",
            "POST /api/v1/rollback",
            "PUT /api/v1/namespaces/{namespace}/{plural}/{name}",
        ]
    );
}

#[tokio::test]
async fn the_type_of_a_problem_is_where_its_page_is_answered_without_a_token() {
    let app = App::start().await;
    let problem = app.get("/api/v1/models?limit=0").await.problem(400, "TG-1304");
    let anybody = http::Request::builder().uri(problem.json["type"].as_str().unwrap());
    let page = app.send(anybody.body(axum::body::Body::empty()).unwrap()).await.expect(200);
    assert_eq!(page.headers["content-type"], "text/markdown; charset=utf-8");
    assert!(page.text.starts_with("# TG-1304: ") && page.text.contains("**What to do.**"), "{}", page.text);
    app.get("/errors/TG-9999").await.problem(404, "TG-1307");
}

#[tokio::test]
async fn every_listed_route_exists_and_all_but_health_want_a_token() {
    let app = App::start().await;
    for (path, item) in openapi_document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let real = path.replace("{plural}", "models").replace(['{', '}'], "");
            let request = http::Request::builder().method(method.clone()).uri(&real);
            let answer = app.send(request.body(axum::body::Body::empty()).unwrap()).await;
            let free = operation["security"] == json!([{}]);
            assert_eq!(free, !path.starts_with("/api/"), "{method} {path}");
            assert_eq!(answer.status == 401, !free, "{method} {path}: {}", answer.text);
        }
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(to)) = map.get("$ref") {
                    found.push(to.clone());
                }
                map.values().for_each(|v| walk(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| walk(v, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    walk(openapi_document(), &mut found);
    assert!(found.len() > 30);
    for to in found {
        assert!(openapi_document().pointer(to.strip_prefix('#').unwrap()).is_some(), "{to}");
    }
}

#[test]
fn a_document_that_the_api_accepts_is_valid_by_the_schema_and_a_wrong_one_is_not() {
    let document = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "WorkerPool", "metadata": {"name": "a"},
        "spec": {"modelRef": {"name": "m"}, "versions": ["v1"]},
    });
    let schema = json!({"$ref": "#/components/schemas/Document"});
    schema_check(&schema, &document);
    let mut wrong = document;
    wrong["spec"]["replica"] = json!(3);
    assert!(!schema::mistakes(&schema, &wrong).is_empty());
}

#[test]
fn every_operation_has_a_name_of_its_own_and_says_what_it_answers() {
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in openapi_document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap_or_default();
            assert!(!name.is_empty() && names.insert(name), "{method} {path}: {name:?}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            assert!(!responses.contains_key("default"), "{method} {path} hides what it may answer");
            for (status, response) in responses {
                let said = response["description"].as_str().unwrap_or_default();
                assert!(!said.is_empty(), "{method} {path} {status} has no description");
            }
            assert!(operation["description"].is_string() || operation["summary"].is_string(), "{method} {path}");
        }
    }
}

fn refusal(at: chrono::DateTime<chrono::Utc>) -> NodeRefusal {
    let (code, message) = ("TG-1413".to_owned(), "m".to_owned());
    NodeRefusal { door: Door::Fleet, code, message, count: 2, since: at, last: at }
}

#[test]
fn a_node_is_what_the_document_says() {
    let at = chrono::DateTime::UNIX_EPOCH;
    let refused = RefusedResource {
        type_url: "t".to_owned(),
        name: "n".to_owned(),
        version: "1".to_owned(),
        error: "no".to_owned(),
    };
    let types = NodeTypeStatus {
        type_url: "t".to_owned(),
        state: "NACKED".to_owned(),
        version: "1".to_owned(),
        generation: 1,
        resources: 2,
        error: Some("no".to_owned()),
        refused: vec![refused],
        since: at,
    };
    let worker = WorkerView {
        connected: true,
        incarnation: "i".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        state: "Ready".to_owned(),
        versions: vec![WorkerVersion {
            name: "v1".to_owned(),
            state: "Serving".to_owned(),
            digest: "d".to_owned(),
            error: String::new(),
            outdated: false,
        }],
        load: WorkerLoad::default(),
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        build: "b".to_owned(),
        reported_at: at,
    };
    let refusal = refusal(at);
    let full = NodeStatus {
        node_id: "w1".to_owned(),
        role: "Worker".to_owned(),
        pool: Some("default/chat".to_owned()),
        group: "worker/default/chat".to_owned(),
        connected: true,
        state: NodeState::Connected,
        since: Some(at),
        address: Some("127.0.0.1:2".to_owned()),
        variant: Some("Delta".to_owned()),
        build: "b".to_owned(),
        types: vec![types],
        worker: Some(worker),
        refused: vec![refusal.clone()],
        notes: vec!["n".to_owned()],
    };
    let bare = NodeStatus {
        state: NodeState::NeverConnected,
        since: None,
        refused: Vec::new(),
        notes: Vec::new(),
        pool: None,
        address: None,
        variant: None,
        build: String::new(),
        types: Vec::new(),
        worker: None,
        ..full.clone()
    };
    let schema = json!({"$ref": "#/components/schemas/NodesAnswer"});
    let caller = RefusedCaller { address: "127.0.0.1".to_owned(), refusal };
    schema_check(&schema, &json!(NodesAnswer { items: vec![full, bare], refused_callers: vec![caller] }));
    assert!(!schema::mistakes(&schema, &json!({"items": [{"nodeId": 1}]})).is_empty());
}
