//! What people and broken programs send: each gets a clear answer with a stable code, and nothing changes.
use axum::body::Body;
use http::{Method, Request};
use serde_json::Value;
use tidegate_policy::ports::ObjectStore;

use super::app::{App, MODELS, documents, limit, model};

#[tokio::test]
async fn a_bad_body_is_refused_with_a_code_and_nothing_is_stored() {
    let app = App::start().await;
    let good = model("chat");
    let deep = format!("{}spec: {}{}", "apiVersion: a\nkind: Model\n", "[".repeat(5_000), "]".repeat(5_000));
    let many = documents(&(0..501).map(|n| limit(&format!("l{n}"), "chat", 1)).collect::<Vec<_>>());
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("empty", Vec::new(), 400, "TG-1300"),
        ("only a comment", b"# nothing\n".to_vec(), 400, "TG-1300"),
        ("malformed YAML", b"apiVersion: [\n".to_vec(), 400, "TG-1300"),
        ("malformed JSON", b"{\"apiVersion\": ".to_vec(), 400, "TG-1300"),
        ("a key twice", format!("{good}\nkind: Model\n").into_bytes(), 400, "TG-1300"),
        ("no UTF-8", vec![0xff, 0xfe, 0x00], 400, "TG-1300"),
        ("too deep", deep.into_bytes(), 400, "TG-1300"),
        ("too many documents", many.into_bytes(), 400, "TG-1300"),
        ("unknown kind", good.replace("kind: Model", "kind: Modle").into_bytes(), 422, "TG-1301"),
        ("unknown field", good.replace("task: Chat", "task: Chat\n      tusk: 1").into_bytes(), 422, "TG-1301"),
        ("wrong type", good.replace("size: 10", "size: ten").into_bytes(), 422, "TG-1301"),
        ("wrong version", good.replace("v1alpha1", "v9").into_bytes(), 422, "TG-1301"),
        ("a name in Unicode", good.replace("name: chat", "name: чат").into_bytes(), 422, "TG-1301"),
        ("a name with a slash", good.replace("name: chat\n", "name: ../chat\n").into_bytes(), 422, "TG-1301"),
        ("a string", b"hello".to_vec(), 422, "TG-1301"),
        ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect(), 400, "TG-1300"),
        ("a list without items", b"kind: List\n".to_vec(), 422, "TG-1301"),
        ("a document of 1.5 MiB", format!("{good}\n  note: {}\n", "x".repeat(3 << 19)).into_bytes(), 413, "TG-1303"),
    ];
    for (what, body, status, code) in cases {
        let answer = app.post("/api/v1/apply", body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json["code"].as_str()),
            (status, Some(code)),
            "{what}: {}",
            answer.text
        );
        assert!(!answer.json["errors"].as_array().unwrap().is_empty(), "{what}");
        assert!(answer.text.len() < 100_000, "{what}");
    }
    assert_ne!(app.post("/api/v1/apply", bomb).await.status.as_u16() / 100, 2);
    let all = app.store.read_all().await.unwrap();
    assert_eq!((all.revision, all.objects.len()), (0, 0));
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_refused() {
    let app = App::start().await;
    for path in ["/api/v1/apply", "/api/v1/diff", "/api/v1/rollback", "/api/v1/api-keys", "/api/v1/explain"] {
        app.post(path, vec![b' '; 10 << 20]).await.problem(413, "TG-1303");
    }
    app.put(&format!("{MODELS}/chat"), vec![b'a'; (4 << 20) + 1]).await.problem(413, "TG-1303");
    // Without a length, too.
    let chunks = futures::stream::iter((0..80).map(|_| Ok::<_, std::io::Error>(vec![b'#'; 64 << 10])));
    app.post("/api/v1/apply", Body::from_stream(chunks)).await.problem(413, "TG-1303");
}

#[tokio::test]
async fn the_address_and_the_document_must_agree() {
    let app = App::start().await;
    app.put(&format!("{MODELS}/other"), model("chat")).await.problem(409, "TG-1306");
    let elsewhere = model("chat").replace("name: chat\n", "name: chat\n  namespace: default\n");
    app.put("/api/v1/namespaces/prod/models/chat", elsewhere).await.problem(409, "TG-1306");
    app.put("/api/v1/namespaces/default/workerpools/chat", model("chat")).await.problem(409, "TG-1306");
    app.put(&format!("{MODELS}/chat"), documents(&[model("chat"), model("b")])).await.problem(400, "TG-1305");
    app.put("/api/v1/namespaces/default/gadgets/chat", model("chat")).await.problem(400, "TG-1304");
    app.put(&format!("{MODELS}/chat?dryrun=true"), model("chat")).await.problem(400, "TG-1304");
    // A document that leaves its namespace to the address has the address's, by the same rule as its own.
    for namespace in ["a%25b", "A_B", "a%2Fb", "a%0Ab", "%D1%87", "-"] {
        let refused = app.put(&format!("/api/v1/namespaces/{namespace}/models/chat"), model("chat")).await;
        assert!(refused.problem(422, "TG-1301").text.contains("metadata.namespace"), "{namespace}");
    }
    app.get(&format!("{MODELS}/%FF")).await.problem(400, "TG-1304");
    app.get(&format!("{MODELS}/%D1%87%D0%B0%D1%82")).await.problem(404, "TG-1203");
    app.get(&format!("{MODELS}/a%00b")).await.problem(400, "TG-1204");
    assert_eq!(app.store.read_all().await.unwrap().revision, 0);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json() {
    let app = App::start().await;
    app.get("/api/v2/models").await.problem(404, "TG-1307");
    app.get("/").await.problem(404, "TG-1307");
    app.call((Method::PATCH, &format!("{MODELS}/chat")), &[], Body::empty()).await.problem(405, "TG-1308");
    app.call((Method::DELETE, "/api/v1/apply"), &[], Body::empty()).await.problem(405, "TG-1308");
}

#[tokio::test]
async fn without_the_right_token_there_is_nothing() {
    let app = App::start().await;
    let good = app.token.clone();
    let bad = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(good.clone()),
        Some(format!("Basic {good}")),
        Some(format!("Bearer {}", &good[..good.len() - 1])),
        Some(format!("Bearer {good}x")),
        Some(format!("Bearer {}", good.to_uppercase())),
        Some("Bearer \u{e4}".to_owned()),
    ];
    for header in bad {
        for (method, path) in [(Method::GET, "/api/v1/models"), (Method::POST, "/api/v1/apply")] {
            let mut request = Request::builder().method(method).uri(path);
            if let Some(value) = &header {
                request = request.header("authorization", value.as_bytes());
            }
            let answer = app.send(request.body(Body::from(model("chat"))).unwrap()).await.problem(401, "TG-1302");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
            assert!(!answer.text.contains(&good));
        }
    }
    let twice = Request::get("/api/v1/models").header("authorization", format!("Bearer {good}"));
    let twice = twice.header("authorization", "Bearer x").body(Body::empty()).unwrap();
    app.send(twice).await.problem(401, "TG-1302");
    assert_eq!(app.store.read_all().await.unwrap().revision, 0);
}

#[tokio::test]
async fn the_request_id_is_the_clients_when_it_is_a_sane_one() {
    let app = App::start().await;
    let with = |id: &'static str| {
        let app = &app;
        async move { app.call((Method::GET, "/healthz"), &[("x-request-id", id)], Body::empty()).await }
    };
    assert_eq!(with("abc-1").await.header("x-request-id"), "abc-1");
    assert_ne!(with("a b").await.header("x-request-id"), "a b");
    assert_eq!(app.get("/healthz").await.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn what_is_wrong_is_said_without_the_words_of_the_machine_room() {
    let app = App::start().await;
    for (path, words) in [
        ("/api/v1/revisions?limit=x", "limit: expected a whole number"),
        ("/api/v1/models?limit=-1", "limit: expected a whole number"),
        ("/api/v1/models?limit=99999999999", "limit: the number is too large"),
        ("/api/v1/models?limits=5", "there is no field `limits`; known: limit, continue"),
    ] {
        let answer = app.get(path).await.problem(400, "TG-1304");
        assert_eq!(answer.json["detail"], words, "{path}");
    }
    for (body, words) in [
        ("{\"revision\": \"1\"}", "expected a whole number, found \"1\""),
        ("{}", "the field `revision` is missing"),
        ("{\"revision\": 1,}", "a comma stands after the last entry"),
        ("\u{feff}{\"revision\": 1, \"dryRun\": \"yes\"}", "expected true or false, found \"yes\""),
    ] {
        let answer = app.post("/api/v1/rollback", body).await.problem(400, "TG-1305");
        assert!(answer.json["detail"].as_str().unwrap().contains(words), "{body}: {}", answer.text);
    }
    let wide: Vec<u8> = model("chat").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let answer = app.post("/api/v1/apply", wide).await.problem(400, "TG-1300");
    assert!(answer.text.contains("UTF-16 (big-endian)") && answer.text.contains("save it as UTF-8"), "{}", answer.text);
    let one = app.post("/api/v1/apply", "kind: Modle").await;
    assert!(!one.json["detail"].as_str().unwrap().contains("$."), "each mistake is said once: {}", one.text);
}

/// The same table that holds the reader itself, through the door: as a label's value, a text is taken, anything else is
/// refused as what it is.
#[tokio::test]
async fn scalars_mean_the_same_at_this_door() {
    let app = App::start().await;
    let table = include_str!("../../../../text/tests/kubectl/scalars.tsv");
    let (mut taken, mut refused) = (0, 0);
    for line in table.lines() {
        let (input, theirs) = line.split_once('\t').unwrap();
        let input: String = serde_json::from_str(input).unwrap();
        if theirs == "error" || input.contains('\n') || input.starts_with(['!', '{', '[', '&', '*']) {
            continue;
        }
        let theirs: Value = serde_json::from_str(theirs).unwrap();
        let body = limit("l", "chat", 1).replace("name: l\n", &format!("name: l\n  annotations:\n    v: {input}\n"));
        let path = "/api/v1/namespaces/default/ratelimitpolicies/l?dryRun=true";
        let answer = app.put(path, body).await;
        let said = answer.text.as_str();
        match theirs {
            Value::String(text) => {
                assert_eq!(
                    (answer.status.as_u16(), &answer.json["metadata"]["annotations"]["v"]),
                    (201, &text.into()),
                    "{input:?}"
                );
                taken += 1;
            }
            Value::Bool(value) => assert!(said.contains(&format!("found the boolean {value}")), "{input:?}: {said}"),
            Value::Number(_) => assert!(said.contains("found the number"), "{input:?}: {said}"),
            other => assert!(said.contains("found nothing"), "{input:?} is {other}: {said}"),
        }
        refused += usize::from(answer.status == 422);
    }
    assert!(taken >= 60 && refused >= 60, "{taken} taken, {refused} refused");
}
