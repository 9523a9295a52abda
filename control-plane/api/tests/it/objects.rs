//! Documents over REST: written, read, compared, taken back.
use std::sync::Arc;

use axum::body::Body;
use http::Method;
use serde_json::{Value, json};
use tidegate_api::admin::{AdminState, router};
use tidegate_policy::{
    kinds::Kind,
    ports::{Author, ObjectKey, ObjectStore, Source},
    snapshot::ObjectRef,
};

use super::{
    app::{App, MODELS, documents, limit, model, pool, release},
    interloper::Interloper,
};

#[tokio::test]
async fn a_document_comes_back_with_what_the_system_knows_and_may_be_sent_again() {
    let app = App::start().await;
    let path = format!("{MODELS}/chat");
    let made = app.put(&path, model("chat")).await.expect(201);
    assert_eq!((made.header("etag"), made.header("x-tidegate-outcome")), ("\"1\"", "Created"));
    let meta = &made.json["metadata"];
    assert_eq!(meta["name"], "chat");
    assert_eq!(meta["namespace"], "default");
    assert_eq!(meta["generation"], 1);
    assert_eq!(meta["resourceVersion"], "1");
    assert_eq!(meta["managedBy"], "Rest");
    let read = app.get(&path).await.expect(200);
    assert_eq!(read.json, made.json);
    let again = app.put(&path, read.text.clone()).await.expect(200);
    assert_eq!((again.header("x-tidegate-outcome"), again.header("etag")), ("Unchanged", "\"1\""));
    let gone = app.delete(&path).await.expect(200);
    assert_eq!(gone.header("x-tidegate-outcome"), "Deleted");
    app.get(&path).await.problem(404, "TG-1203");
    app.delete(&path).await.problem(404, "TG-1203");
}

#[tokio::test]
async fn two_writers_of_one_object_do_not_overwrite_each_other() {
    let app = App::start().await;
    let path = "/api/v1/namespaces/default/ratelimitpolicies/l";
    let put = |tag: &'static str, rate: u32| {
        let app = &app;
        async move { app.call((Method::PUT, path), &[("if-match", tag)], limit("l", "chat", rate)).await }
    };
    put("\"1\"", 1).await.problem(409, "TG-1201");
    app.call((Method::PUT, path), &[("if-match", "*")], limit("l", "chat", 1)).await.problem(404, "TG-1203");
    app.call((Method::PUT, path), &[("if-none-match", "*")], limit("l", "chat", 1)).await.expect(201);
    app.call((Method::PUT, path), &[("if-none-match", "*")], limit("l", "chat", 2)).await.problem(409, "TG-1201");
    put("\"1\"", 2).await.expect(200);
    let lost = put("\"1\"", 3).await.problem(409, "TG-1201");
    assert!(lost.json["detail"].as_str().unwrap().contains("is at resourceVersion 2, not 1"), "{}", lost.text);
    put("*", 4).await.expect(200);
    let stale = limit("l", "chat", 5).replace("name: l\n", "name: l\n  resourceVersion: \"1\"\n");
    app.put(path, stale.clone()).await.problem(409, "TG-1201");
    app.call((Method::PUT, path), &[("if-match", "\"3\"")], stale).await.problem(409, "TG-1306");
    app.call((Method::DELETE, path), &[("if-match", "\"1\"")], Body::empty()).await.problem(409, "TG-1201");
    assert_eq!(app.get(path).await.json["spec"]["limits"][0]["requests"]["rate"], 4);
    for bad in ["1", "W/\"1\"", "\"x\"", "\"0\"", "\"1\", \"2\""] {
        app.call((Method::PUT, path), &[("if-match", bad)], limit("l", "chat", 9)).await.problem(400, "TG-1304");
    }
}

#[tokio::test]
async fn whoever_writes_what_exists_is_not_stopped_by_others() {
    let app = App::start().await;
    let path = "/api/v1/namespaces/default/ratelimitpolicies/l";
    app.put(path, limit("l", "chat", 1)).await.expect(201);
    for (times, deletes, status) in [(1, false, 200), (1, true, 404)] {
        if app.get(path).await.status == 404 {
            app.put(path, limit("l", "chat", 1)).await.expect(201);
        }
        let between = documents_key(path);
        let store = Interloper { store: app.store.clone(), times: times.into(), deletes, between };
        let raced = App { router: router(AdminState { store: Arc::new(store), ..app.state.clone() }), ..app.clone() };
        let answer = raced.call((Method::PUT, path), &[("if-match", "*")], limit("l", "chat", 7)).await.expect(status);
        if status == 200 {
            assert_eq!(answer.json["metadata"]["resourceVersion"], "3", "another's, and this one after it");
        }
        app.delete(path).await;
    }
}

fn documents_key(path: &str) -> ObjectKey {
    let name = path.rsplit('/').next().unwrap().to_owned();
    ObjectKey { kind: Kind::RateLimitPolicy, object: ObjectRef { namespace: "default".to_owned(), name } }
}

#[tokio::test]
async fn a_rollback_does_what_was_tried_or_nothing() {
    let app = App::start().await;
    let path = "/api/v1/namespaces/default/ratelimitpolicies/l";
    for rate in 1..=2 {
        app.put(path, limit("l", "chat", rate)).await;
    }
    let raced = |times: usize| {
        let store =
            Interloper { store: app.store.clone(), times: times.into(), deletes: false, between: documents_key(path) };
        App { router: router(AdminState { store: Arc::new(store), ..app.state.clone() }), ..app.clone() }
    };
    let back = json!({"revision": 1}).to_string();
    raced(usize::MAX).post("/api/v1/rollback", back.clone()).await.problem(409, "TG-1201");
    assert_eq!(app.get(path).await.json["spec"]["limits"][0]["requests"]["rate"], 2);
    raced(2).post("/api/v1/rollback", back).await.expect(200);
    assert_eq!(app.get(path).await.json["spec"]["limits"][0]["requests"]["rate"], 1);
}

#[tokio::test]
async fn a_rollback_of_one_object_is_not_stopped_by_who_writes_others() {
    let app = App::start().await;
    let path = "/api/v1/namespaces/default/ratelimitpolicies/l";
    let other = "/api/v1/namespaces/default/ratelimitpolicies/other";
    for rate in 1..=2 {
        app.put(path, limit("l", "chat", rate)).await;
    }
    app.put(other, limit("other", "chat", 1)).await.expect(201);
    let raced = |between: &str| {
        let between = documents_key(between);
        let store = Interloper { store: app.store.clone(), times: usize::MAX.into(), deletes: false, between };
        App { router: router(AdminState { store: Arc::new(store), ..app.state.clone() }), ..app.clone() }
    };
    let back = json!({"revision": 1, "kind": "RateLimitPolicy", "name": "l"}).to_string();
    raced(path).post("/api/v1/rollback", back.clone()).await.problem(409, "TG-1201");
    raced(other).post("/api/v1/rollback", back.clone()).await.expect(200);
    assert_eq!(app.get(path).await.json["spec"]["limits"][0]["requests"]["rate"], 1);
    app.delete(path).await;
    raced(other).post("/api/v1/rollback", back).await.expect(200);
    assert_eq!(app.get(path).await.json["spec"]["limits"][0]["requests"]["rate"], 1, "what was not there comes back");
}

#[tokio::test]
async fn a_dry_run_names_no_revision_that_will_be_somebody_elses() {
    let app = App::start().await;
    let path = format!("{MODELS}/chat");
    let dry_path = format!("{path}?dryRun=true");
    let dry = app.put(&dry_path, model("chat")).await.expect(201);
    assert_eq!((dry.header("etag"), dry.json["metadata"].get("resourceVersion")), ("", None), "there is none");
    let dry = app.post("/api/v1/apply?dryRun=true", model("chat")).await.expect(200);
    assert_eq!((&dry.json["revision"], &dry.json["results"][0]["resourceVersion"]), (&json!(null), &json!(null)));
    app.put(&path, model("chat")).await.expect(201);

    let other = model("chat").replace("v2", "v3");
    let dry = app.put(&dry_path, other.clone()).await.expect(200);
    assert_eq!((dry.header("etag"), &dry.json["metadata"]["resourceVersion"]), ("", &json!("1")), "what is stored");
    let dry = app.post("/api/v1/apply?dryRun=true", other.clone()).await.expect(200);
    assert_eq!((&dry.json["revision"], &dry.json["results"][0]["resourceVersion"]), (&json!(null), &json!("1")));
    let dry = app.delete(&dry_path).await.expect(200);
    assert_eq!((dry.header("etag"), &dry.json["metadata"]["resourceVersion"]), ("", &json!("1")));
    app.put(&path, other).await.expect(200);
    let back = json!({"revision": 1, "dryRun": true}).to_string();
    let dry = app.post("/api/v1/rollback", back).await.expect(200);
    assert_eq!((&dry.json["revision"], &dry.json["results"][0]["resourceVersion"]), (&json!(null), &json!("2")));
    let done = app.post("/api/v1/rollback", json!({"revision": 1}).to_string()).await.expect(200);
    assert_eq!((&done.json["revision"], &done.json["results"][0]["resourceVersion"]), (&json!(3), &json!("3")));
}

#[tokio::test]
async fn an_apply_is_all_or_nothing_and_says_what_it_did() {
    let app = App::start().await;
    let all = documents(&[model("chat"), pool("chat", "chat"), release("r", "chat", 10), limit("l", "chat", 5)]);
    let dry = app.post("/api/v1/apply?dryRun=true", all.clone()).await.expect(200);
    assert_eq!(dry.json["results"].as_array().unwrap().len(), 4);
    assert!(app.get("/api/v1/models").await.json["items"].as_array().unwrap().is_empty(), "a dry run leaves nothing");
    let done = app.post("/api/v1/apply", all.clone()).await.expect(200);
    assert_eq!(done.json["revision"], 1);
    let outcomes: Vec<&Value> = done.json["results"].as_array().unwrap().iter().map(|r| &r["outcome"]).collect();
    assert_eq!(outcomes, ["Created"; 4]);
    let again = app.post("/api/v1/apply", all.clone()).await.expect(200);
    assert!(again.json["results"].as_array().unwrap().iter().all(|r| r["outcome"] == "Unchanged"));
    assert_eq!(again.json["revision"], 1);

    let wrong =
        all.replace("rate: 5", "rate: -5").replace("weight: 10", "weight: 110").replace("to: Candidate", "to: Nobody");
    let refused = app
        .post("/api/v1/apply", wrong.replace("uri: file:chat/v1", "uri: file:chat/v9"))
        .await
        .problem(422, "TG-1301");
    let errors = refused.json["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 3, "{}", refused.text);
    assert!(errors.iter().all(|e| e["path"].as_str().unwrap().starts_with("$.spec") && e["document"].is_u64()));
    assert_eq!(
        app.get(&format!("{MODELS}/chat")).await.json["metadata"]["resourceVersion"],
        "1",
        "nothing was changed"
    );
}

#[tokio::test]
async fn an_apply_warns_of_what_is_probably_not_meant() {
    let app = App::start().await;
    let alone = app.post("/api/v1/apply", pool("p", "absent")).await.expect(200);
    let warnings = alone.json["results"][0]["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|w| w.as_str().unwrap().contains("absent")), "{}", alone.text);
    let put = app.put("/api/v1/namespaces/default/workerpools/p", pool("p", "absent")).await.expect(200);
    assert!(put.header("warning").starts_with("299 tidegate \""), "{:?}", put.headers);
    let rules = "      to: Candidate\n    - match: [{type: Header, header: {name: X-Gray-Tag, type: Exact, value: v2}}]\n      to: Stable\n";
    let twice = release("r", "chat", 10).replace("      to: Candidate\n", rules);
    let all = documents(&[model("chat"), pool("chat", "chat"), twice]);
    let done = app.post("/api/v1/apply?dryRun=true", all.clone()).await.expect(200);
    let said = done.json["results"][2]["warnings"].to_string();
    assert!(said.contains("never decides"), "{}", done.text);
    let diff = app.post("/api/v1/diff", all).await.expect(200);
    assert!(diff.json["warnings"].to_string().contains("never decides"), "{}", diff.text);
}

#[tokio::test]
async fn a_diff_shows_what_would_change_and_changes_nothing() {
    let app = App::start().await;
    app.post("/api/v1/apply", documents(&[model("chat"), limit("l", "chat", 5)])).await.expect(200);
    let body = documents(&[model("chat"), limit("l", "chat", 50), limit("new", "chat", 1)]);
    let diff = app.post("/api/v1/diff", body).await.expect(200);
    let changes = diff.json["changes"].as_array().unwrap();
    let outcomes: Vec<&str> = changes.iter().map(|c| c["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["Unchanged", "Configured", "Created"]);
    assert_eq!(changes[0]["diff"], "");
    let text = changes[1]["diff"].as_str().unwrap();
    assert!(text.lines().any(|l| l.starts_with('-') && l.contains("rate: 5")), "{text}");
    assert!(text.lines().any(|l| l.starts_with('+') && l.contains("rate: 50")), "{text}");
    assert_eq!(app.get("/api/v1/revisions").await.json["metadata"]["resourceVersion"], "1");
}

#[tokio::test]
async fn lists_are_paged_and_complete() {
    let app = App::start().await;
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let bodies: Vec<String> = names.iter().map(|n| limit(n, "chat", 1)).collect();
    app.post("/api/v1/apply", documents(&bodies)).await.expect(200);
    let other = limit("z", "chat", 1).replace("name: z\n", "name: z\n  namespace: other\n");
    app.post("/api/v1/apply", other).await.expect(200);
    let (mut found, mut next) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/api/v1/ratelimitpolicies?limit=3{next}")).await.expect(200);
        assert_eq!(page.json["kind"], "RateLimitPolicyList");
        let items = page.json["items"].as_array().unwrap();
        found.extend(items.iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()));
        match page.json["metadata"]["continue"].as_str() {
            Some(token) => next = format!("&continue={token}"),
            None => break,
        }
    }
    assert_eq!(found, ["a", "b", "c", "d", "e", "f", "g", "z"]);
    let one = app.get("/api/v1/namespaces/other/ratelimitpolicies").await.expect(200);
    assert_eq!(one.json["items"].as_array().unwrap().len(), 1);
    for bad in ["limit=0", "limit=501", "limit=x", "limt=3", "continue=%00", "continue=a"] {
        let answer = app.get(&format!("/api/v1/models?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text);
    }
    app.get("/api/v1/gadgets").await.problem(400, "TG-1304");
}

#[tokio::test]
async fn a_rollback_brings_back_what_was_and_is_in_the_history() {
    let app = App::start().await;
    let path = "/api/v1/namespaces/default/ratelimitpolicies/l";
    for rate in 1..=3 {
        app.put(path, limit("l", "chat", rate)).await;
    }
    app.put(&format!("{MODELS}/chat"), model("chat")).await.expect(201);
    let dry = app.post("/api/v1/rollback", json!({"revision": 1, "dryRun": true}).to_string()).await.expect(200);
    assert_eq!(dry.json["results"].as_array().unwrap().len(), 2, "the model would go: {}", dry.text);
    let one = json!({"revision": 1, "kind": "rlp", "name": "l"});
    let done = app.post("/api/v1/rollback", one.to_string()).await.expect(200);
    assert_eq!((&done.json["revision"], &done.json["results"][0]["outcome"]), (&json!(5), &json!("Configured")));
    assert_eq!(app.get(path).await.json["spec"]["limits"][0]["requests"]["rate"], 1);
    app.get(&format!("{MODELS}/chat")).await.expect(200);
    let history = app.get("/api/v1/revisions?kind=RateLimitPolicy&name=l&limit=2").await.expect(200);
    let lines: Vec<&Value> = history.json["items"].as_array().unwrap().iter().map(|l| &l["revision"]).collect();
    assert_eq!(lines, [5, 3]);
    assert_eq!(history.json["items"][0]["author"], "tester");
    let next = history.json["metadata"]["continue"].as_str().unwrap();
    let rest = app.get(&format!("/api/v1/revisions?kind=rlp&name=l&continue={next}")).await.expect(200);
    assert_eq!(rest.json["items"].as_array().unwrap().len(), 2);
    app.post("/api/v1/rollback", json!({"revision": 99}).to_string()).await.problem(400, "TG-1204");
    app.post("/api/v1/rollback", json!({"revision": 1, "dryrun": true}).to_string()).await.problem(400, "TG-1305");
    app.get("/api/v1/revisions?namespace=default").await.problem(400, "TG-1304");
    app.get("/api/v1/revisions?kind=Model").await.problem(400, "TG-1304");
}

#[tokio::test]
async fn another_doors_object_is_refused_until_it_is_adopted() {
    let app = App::start().await;
    let path = format!("{MODELS}/chat");
    let valid = tidegate_policy::validate::parse(model("chat").as_bytes()).unwrap();
    let controller = Author { name: "controller".to_owned(), source: Source::Kubernetes };
    app.store.write(vec![valid[0].to_write()], &controller, false).await.unwrap();
    assert_eq!(app.get(&path).await.json["metadata"]["managedBy"], "Kubernetes");
    let refused = app.put(&path, model("chat").replace("v2", "v3")).await.problem(409, "TG-1202");
    assert!(refused.json["detail"].as_str().unwrap().contains("tidegate adopt"));
    app.delete(&path).await.problem(409, "TG-1202");
    let adopted = app.post(&format!("{path}/adopt"), Body::empty()).await.expect(200);
    assert_eq!(adopted.json["metadata"]["managedBy"], "Rest");
    app.put(&path, model("chat").replace("v2", "v3")).await.expect(200);
    app.post(&format!("{MODELS}/none/adopt"), Body::empty()).await.problem(404, "TG-1203");
}

#[tokio::test]
async fn explain_answers_from_the_snapshot_in_force() {
    let app = App::start().await;
    let all = documents(&[model("chat"), pool("chat", "chat"), release("r", "chat", 10), limit("l", "chat", 5)]);
    app.post("/api/v1/apply", all).await.expect(200);
    app.refresh().await;
    let ask = json!({"model": "chat", "headers": [{"name": "x-gray-tag", "value": "v2"}], "tenant": "acme"});
    let why = app.post("/api/v1/explain", ask.to_string()).await.expect(200);
    assert_eq!(why.json["arm"], "candidate", "{}", why.text);
    assert_eq!(why.json["decidedBy"]["id"], "default/r/rules/0");
    assert_eq!(why.json["limits"][0]["id"], "default/l/all");
    let unknown = app.post("/api/v1/explain", json!({"model": "x"}).to_string()).await.expect(200);
    assert_eq!(unknown.json["outcome"], "UnknownModel");
    assert_eq!(unknown.json["verdict"]["status"], 401, "{}", unknown.text);
    let nearly = app.post("/api/v1/explain", json!({"model": "chatt", "tenant": "acme"}).to_string()).await.expect(200);
    assert_eq!((&nearly.json["verdict"]["status"], nearly.text.contains("the nearest: chat")), (&json!(404), true));
    app.post("/api/v1/explain", json!({"model": "chat", "path": "v1"}).to_string()).await.problem(400, "TG-1305");
    let bad = json!({"model": "chat", "headers": [{"name": "a", "valueBase64": "*"}]});
    app.post("/api/v1/explain", bad.to_string()).await.problem(400, "TG-1305");
    app.snapshot.send_replace(None);
    app.post("/api/v1/explain", json!({"model": "chat"}).to_string()).await.problem(503, "TG-1310");
}

#[tokio::test]
async fn a_write_that_leaves_an_arm_without_workers_says_so() {
    let app = App::start().await;
    let path = "/api/v1/namespaces/default/workerpools/p";
    let all = documents(&[model("chat"), pool("p", "chat"), release("r", "chat", 50)]);
    let done = app.post("/api/v1/apply", all).await.expect(200);
    assert_eq!(done.json["results"].to_string().matches("replicas").count(), 0, "{}", done.text);
    let none = format!("{}  replicas: 0\n", pool("p", "chat"));
    let only_v1 = pool("p", "chat").replace("[v1, v2]", "[v1]");
    let warned = |what: &str, headers: &http::HeaderMap, words: &[&str]| {
        let said: Vec<_> = headers.get_all("warning").iter().map(|v| v.to_str().unwrap().to_owned()).collect();
        assert!(words.iter().all(|w| said.iter().any(|s| s.contains(w))), "{what}: {said:?}");
    };
    for dry in ["?dryRun=true", ""] {
        let put = app.put(&format!("{path}{dry}"), none.clone()).await.expect(200);
        warned("no replicas", &put.headers, &["candidate v2", "stable v1", "50 % of the users and 1 rule"]);
        let put = app.put(&format!("{path}{dry}"), only_v1.clone()).await.expect(200);
        warned(
            "no v2",
            &put.headers,
            &["candidate v2", "no WorkerPool with replicas asks for version v2 of Model default/chat"],
        );
        let one = app
            .put(&format!("{MODELS}/chat{dry}"), model("chat").split("    - name: v2").next().unwrap().to_owned())
            .await;
        warned("not in the model", &one.expect(200).headers, &["Model default/chat has no version v2"]);
        app.put(&format!("{MODELS}/chat{dry}"), model("chat")).await.expect(200);
    }
    app.put(path, pool("p", "chat")).await.expect(200);
    for dry in ["?dryRun=true", ""] {
        let gone = app.call((Method::DELETE, &format!("{path}{dry}")), &[], Body::empty()).await.expect(200);
        warned("no pool", &gone.headers, &["candidate v2", "stable v1"]);
    }
    let gone = app.call((Method::DELETE, &format!("{MODELS}/chat")), &[], Body::empty()).await.expect(200);
    warned("no model", &gone.headers, &["ReleasePolicy default/r still names Model default/chat, which is gone"]);
    app.put(&format!("{MODELS}/chat"), model("chat")).await.expect(201);
    app.call((Method::DELETE, "/api/v1/namespaces/default/releasepolicies/r"), &[], Body::empty()).await.expect(200);
    app.put(path, pool("p", "chat")).await.expect(201);
    let gone = app.call((Method::DELETE, path), &[], Body::empty()).await.expect(200);
    warned("no release and no pool", &gone.headers, &["any version of Model default/chat: its requests get 503"]);
}
