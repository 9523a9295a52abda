//! What the API writes it reads: every answer, sent back, is unchanged. And what changed is said, no more.
use http::Method;
use serde_json::{Map, Value, json};

use super::app::{Answer, App, documents, limit, model, pool, release};

fn outcomes(answer: &Answer) -> Vec<String> {
    let of = |list: &str| answer.json[list].as_array().cloned().unwrap_or_default();
    let all = of("results").into_iter().chain(of("changes"));
    all.map(|r| r["outcome"].as_str().unwrap().to_owned()).collect()
}

/// The body through both ways to send documents: nothing changes.
async fn unchanged(app: &App, what: &str, body: String, n: usize) {
    for path in ["/api/v1/apply", "/api/v1/diff"] {
        let answer = app.post(path, body.clone()).await.expect(200);
        assert_eq!(outcomes(&answer), vec!["Unchanged"; n], "{what} {path}: {}", answer.text);
        assert!(answer.json["changes"].as_array().into_iter().flatten().all(|c| c["diff"] == ""), "{}", answer.text);
    }
}

async fn filled() -> App {
    let app = App::start().await;
    let labelled = limit("l", "chat", 5)
        .replace("name: l\n", "name: l\n  labels: {zz: \"1\", a: n}\n  annotations: {note: \"no\\n012\"}\n")
        .replace("a: n", "a: \"n\"");
    let all = documents(&[model("chat"), pool("p", "chat"), release("r", "chat", 10), labelled]);
    app.post("/api/v1/apply", all).await.expect(200);
    app.put("/api/v1/namespaces/team-a/models/other", model("other")).await.expect(201);
    app
}

#[tokio::test]
async fn every_list_sent_back_is_unchanged() {
    let app = filled().await;
    for plural in ["models", "workerpools", "releasepolicies", "ratelimitpolicies"] {
        for path in [format!("/api/v1/{plural}"), format!("/api/v1/namespaces/default/{plural}")] {
            let list = app.get(&path).await.expect(200);
            let n = list.json["items"].as_array().unwrap().len();
            assert!(n > 0, "{path}");
            unchanged(&app, &path, list.text.clone(), n).await;
            unchanged(&app, &path, list.json["items"].to_string(), n).await;
            unchanged(&app, &path, tidegate_text::write(&list.json), n).await;
            let mixed = format!("{}---\n{}---\n{}", tidegate_text::write(&list.json), "\n", "# nothing\n");
            unchanged(&app, &path, mixed, n).await;
        }
    }
    let empty = app.get("/api/v1/namespaces/nobody/models").await.expect(200);
    unchanged(&app, "an empty list", empty.text, 0).await;
    let all: Vec<Value> = vec![app.get("/api/v1/models").await.json, app.get("/api/v1/ratelimitpolicies").await.json];
    unchanged(&app, "a list of lists", json!({"apiVersion": "v1", "kind": "List", "items": all}).to_string(), 3).await;
    unchanged(&app, "an array of lists", json!(all).to_string(), 3).await;
}

#[tokio::test]
async fn a_full_page_of_large_objects_fits_into_one_body() {
    let app = App::start().await;
    let note = "x".repeat(30_000);
    for begin in [0, 100, 200] {
        let many: Vec<String> = (begin..begin + 100)
            .map(|n| {
                limit(&format!("l{n}"), "chat", 1).replace("spec:", &format!("  annotations: {{note: {note}}}\nspec:"))
            })
            .collect();
        app.post("/api/v1/apply", documents(&many)).await.expect(200);
    }
    let mut next = String::new();
    let mut seen = 0;
    loop {
        let page = app.get(&format!("/api/v1/ratelimitpolicies?limit=500{next}")).await.expect(200);
        let n = page.json["items"].as_array().unwrap().len();
        unchanged(&app, "a page", page.text.clone(), n).await;
        seen += n;
        match page.json["metadata"]["continue"].as_str() {
            Some(token) => next = format!("&continue={token}"),
            None => break,
        }
    }
    assert_eq!(seen, 300);
}

#[tokio::test]
async fn a_list_is_a_picture_and_a_document_is_an_edit() {
    let app = filled().await;
    let path = "/api/v1/namespaces/default/releasepolicies/r";
    let list = app.get("/api/v1/releasepolicies").await.text;
    let one = app.get(path).await.text;
    app.put(path, release("r", "chat", 20)).await.expect(200);
    app.post("/api/v1/apply", one.clone()).await.problem(409, "TG-1201");
    app.post("/api/v1/apply", list.clone()).await.expect(200);
    assert_eq!(app.get(path).await.json["spec"]["steps"][0]["weight"], 10, "restored");
    app.delete(path).await.expect(200);
    let gone = app.post("/api/v1/apply", one).await.problem(409, "TG-1201");
    assert!(gone.text.contains("leave metadata.resourceVersion out"), "{}", gone.text);
    assert_eq!(outcomes(&app.post("/api/v1/apply", list).await.expect(200)), ["Created"]);
}

fn lines(diff: &Value) -> Vec<String> {
    let text = diff.as_str().unwrap().lines();
    text.filter(|l| l.starts_with(['+', '-']) && !l.starts_with("+++") && !l.starts_with("---"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn one_weight_is_one_line() {
    let app = filled().await;
    let answer = app.post("/api/v1/diff", release("r", "chat", 30)).await.expect(200);
    assert_eq!(lines(&answer.json["changes"][0]["diff"]), ["-  - weight: 10", "+  - weight: 30"], "{}", answer.text);
    app.put("/api/v1/namespaces/default/releasepolicies/r", release("r", "chat", 30)).await.expect(200);
    let back = json!({"revision": 1, "dryRun": true}).to_string();
    let plan = app.post("/api/v1/rollback", back).await.expect(200);
    let of = |name: &str| plan.json["results"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap().clone();
    assert_eq!(lines(&of("r")["diff"]).len(), 2, "{}", plan.text);
    let gone = of("other");
    assert_eq!(gone["outcome"], "Deleted");
    assert!(lines(&gone["diff"]).iter().all(|l| l.starts_with('-')), "{gone}");
}

/// The fields in the order in which they stand.
fn keys(value: &Value) -> Vec<String> {
    value.as_object().map(|m| m.keys().cloned().collect()).unwrap_or_default()
}

#[tokio::test]
async fn every_answer_is_in_the_order_of_the_schema() {
    let app = filled().await;
    let read = app.get("/api/v1/namespaces/default/releasepolicies/r").await.json;
    assert_eq!(keys(&read), ["apiVersion", "kind", "metadata", "spec", "status"]);
    assert_eq!(keys(&read["spec"]), ["targetRef", "stable", "candidate", "rules", "steps", "assignment"]);
    assert_eq!(keys(&read["spec"]["rules"][0]), ["match", "to"]);
    assert_eq!(keys(&read["spec"]["rules"][0]["match"][0]), ["type", "header"]);
    assert_eq!(keys(&read["spec"]["rules"][0]["match"][0]["header"]), ["name", "type", "value"]);
    let revision = app.get("/api/v1/revisions?kind=rel&name=r").await.json["items"][0]["spec"].clone();
    assert_eq!(keys(&revision), keys(&read["spec"]));
    let labels = app.get("/api/v1/namespaces/default/ratelimitpolicies/l").await.json["metadata"]["labels"].clone();
    assert_eq!(keys(&labels), ["a", "zz"]);
}

fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.iter().rev().map(|(k, v)| (k.clone(), reversed(v))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(reversed).collect()),
        other => other.clone(),
    }
}

#[tokio::test]
async fn the_order_of_keys_and_defaults_left_out_are_no_difference() {
    let app = filled().await;
    for plural in ["models", "workerpools", "releasepolicies", "ratelimitpolicies"] {
        let list = app.get(&format!("/api/v1/{plural}")).await.json;
        let n = list["items"].as_array().unwrap().len();
        unchanged(&app, plural, reversed(&list).to_string(), n).await;
    }
    let spelled = pool("p", "chat")
        + "  replicas: 1\n  batching: {maxBatch: 8, maxDelay: 2ms}\n  timeouts: {inference: 30s, drain: 30000ms}\n";
    unchanged(&app, "defaults written out, a duration in another unit", spelled, 1).await;
}

#[tokio::test]
async fn a_document_without_a_namespace_is_of_the_address() {
    let app = App::start().await;
    let path = "/api/v1/namespaces/team-a/models/chat";
    assert_eq!(app.put(path, model("chat")).await.expect(201).json["metadata"]["namespace"], "team-a");
    let named = model("chat").replace("name: chat\n", "name: chat\n  namespace: default\n");
    app.put(path, named).await.problem(409, "TG-1306");
}

#[tokio::test]
async fn a_rollback_may_be_limited_to_a_namespace() {
    let app = filled().await;
    let at = |n: &str| format!("/api/v1/namespaces/{n}/ratelimitpolicies/l");
    for namespace in ["default", "team-a"] {
        for rate in 1..=2 {
            app.put(&at(namespace), limit("l", "chat", rate)).await;
        }
    }
    let revision = app.get("/api/v1/revisions?limit=1").await.json["items"][0]["revision"].as_i64().unwrap();
    let body = json!({"revision": revision - 1, "namespace": "team-a"});
    let done = app.post("/api/v1/rollback", body.to_string()).await.expect(200);
    assert_eq!(done.json["results"].as_array().unwrap().len(), 1, "{}", done.text);
    let rate = |answer: Answer| answer.json["spec"]["limits"][0]["requests"]["rate"].clone();
    assert_eq!((rate(app.get(&at("team-a")).await), rate(app.get(&at("default")).await)), (json!(1), json!(2)));
    let half = json!({"revision": 1, "namespace": "team-a", "kind": "Model"}).to_string();
    app.call((Method::POST, "/api/v1/rollback"), &[], half).await.problem(400, "TG-1304");
    // A typo is no success.
    for (namespace, status, code) in [("taem-a", 404, "TG-1203"), ("A B", 400, "TG-1304")] {
        for dry in [true, false] {
            let typo = json!({"revision": revision - 1, "namespace": namespace, "dryRun": dry}).to_string();
            app.post("/api/v1/rollback", typo).await.problem(status, code);
        }
    }
}
