//! What a body may be: its type, its framing, its numbers, and the fields that change nothing. Each refusal names what is wrong.
use http::StatusCode;
use serde_json::{Value, json};
use tidegate_engine::fake::answer_to;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    harness::{Answer, Http, ask, ask_with, chat_worker, embedding_set, loader, model_set, start_with, wait_for},
    streaming::read,
};
use tidegate_worker::hotswap::report::Phase;

fn refused(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.error("tidegate_code").as_str()),
        (status, code),
        "{what}: {}",
        answer.json()
    );
}

#[tokio::test]
async fn a_body_that_is_not_declared_as_plain_json_is_415_and_says_what_would_do() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    for kind in ["application/json", "Application/JSON; charset=utf-8", "application/json;charset=\"UTF-8\""] {
        assert_eq!(http.chat_with(&[("content-type", kind)], &ask("hi")).await.status, StatusCode::OK, "{kind}");
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/ld+json",
        "",
    ] {
        let answer = http.chat_with(&[("content-type", kind)], &ask("hi")).await;
        refused(&answer, 415, "TG-2213", kind);
        assert_eq!((answer.header("accept"), answer.header("accept-encoding")), ("application/json", "identity"));
    }
    for coding in ["gzip", "br", "zstd"] {
        let answer = http.chat_with(&[("content-encoding", coding)], &ask("hi")).await;
        refused(&answer, 415, "TG-2213", coding);
        assert!(answer.error("message").contains(coding));
    }
    assert_eq!(http.chat_with(&[("content-encoding", "identity")], &ask("hi")).await.status, StatusCode::OK);
}

/// Sends these bytes, says that no more will come, and reads the answer.
async fn raw(address: std::net::SocketAddr, bytes: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_malformed_body_is_400_which_no_client_sends_again() {
    let worker = chat_worker(|_| {}).await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: worker\r\ncontent-type: application/json\r\n";
    for (what, rest) in [
        ("a chunk size that is no number", "transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
        ("a chunk longer than it says", "transfer-encoding: chunked\r\n\r\n1\r\n{\"a\":1}\r\n0\r\n\r\n"),
        ("a chunk that never ends", "transfer-encoding: chunked\r\n\r\nff\r\n{\"model\""),
        ("a body shorter than its length", "content-length: 100\r\n\r\n{\"model\":\"chat\""),
    ] {
        let answer = raw(worker.address, &format!("{head}{rest}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("TG-2214"), "{what}: {answer}");
    }
}

#[tokio::test]
async fn numbers_out_of_range_are_refused_with_the_field_and_its_range() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    let with = |field: &str, number: &str| {
        format!(r#"{{"model":"chat","messages":[{{"role":"user","content":"hi"}}],"{field}":{number}}}"#)
    };
    for number in ["0", "-1", "9223372036854775807", "-9223372036854775808"] {
        let answer = http.send("POST /v1/chat/completions", &[], with("seed", number)).await;
        assert_eq!(answer.status, StatusCode::OK, "{number}: {}", answer.json());
    }
    let range = "-9223372036854775808 to 9223372036854775807";
    for number in
        ["9223372036854775808", "18446744073709551615", "-9223372036854775809", "18446744073709551616", "1e30"]
    {
        let answer = http.send("POST /v1/chat/completions", &[], with("seed", number)).await;
        refused(&answer, 400, "TG-2203", number);
        assert_eq!(answer.error("param"), "seed");
        assert!(answer.error("message").contains(range), "{}", answer.error("message"));
    }
    for field in
        ["max_tokens", "max_completion_tokens", "temperature", "top_p", "presence_penalty", "frequency_penalty"]
    {
        for number in ["9223372036854775808", "18446744073709551616", "-9223372036854775809", "1e30"] {
            let answer = http.send("POST /v1/chat/completions", &[], with(field, number)).await;
            refused(&answer, 400, "TG-2203", &format!("{field} {number}"));
            assert_eq!(answer.error("param"), field);
        }
    }
    for number in ["1.0", "1e0", "0.5", "true", "\"1\""] {
        let answer = http.send("POST /v1/chat/completions", &[], with("seed", number)).await;
        refused(&answer, 400, "TG-2203", number);
        assert!(answer.error("message").contains("must be an integer"), "{}", answer.error("message"));
    }
}

#[tokio::test]
async fn what_changes_nothing_is_accepted_by_name() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    let pairs: serde_json::Map<String, Value> =
        (0..16).map(|i| (format!("{i:0>64}"), json!("é".repeat(512)))).collect();
    for more in [
        json!({"safety_identifier": "user-7", "prompt_cache_key": "k", "user": "u"}),
        json!({"metadata": {"trace": "1"}}),
        json!({"metadata": pairs}),
        json!({"store": false}),
        json!({"store": true}),
        json!({"parallel_tool_calls": false}),
        json!({"parallel_tool_calls": true, "tools": [], "tool_choice": "none"}),
        json!({"prompt_cache_retention": "in-memory", "service_tier": "auto"}),
        json!({"reasoning_effort": "none", "verbosity": "medium", "n": 1}),
        json!({"reasoning_effort": "medium"}),
    ] {
        let answer = http.chat(&ask_with("hello", more.clone())).await;
        assert_eq!(answer.status, StatusCode::OK, "{more}: {}", answer.json());
        assert_eq!(answer.content(), answer_to("v1", "hello"), "{more}");
    }
    let mut seventeen = pairs.clone();
    seventeen.insert("one more".to_owned(), json!(""));
    for (more, code, param) in [
        (json!({"metadata": seventeen}), "TG-2203", "metadata"),
        (json!({"metadata": {"k".repeat(65): "v"}}), "TG-2203", "metadata"),
        (json!({"metadata": {"k": "v".repeat(513)}}), "TG-2203", "metadata.k"),
        (json!({"metadata": {"k": 1}}), "TG-2203", "metadata.k"),
        (json!({"metadata": "k"}), "TG-2203", "metadata"),
        (json!({"safety_identifier": 7}), "TG-2203", "safety_identifier"),
        (json!({"prompt_cache_key": "k".repeat(513)}), "TG-2203", "prompt_cache_key"),
        (json!({"store": "yes"}), "TG-2203", "store"),
        (json!({"parallel_tool_calls": 0}), "TG-2203", "parallel_tool_calls"),
        (json!({"reasoning_effort": "high"}), "TG-2202", "reasoning_effort"),
        (json!({"verbosity": "low"}), "TG-2202", "verbosity"),
        (json!({"tool_choice": "required"}), "TG-2202", "tool_choice"),
        (json!({"service_tier": "flex"}), "TG-2202", "service_tier"),
        (json!({"n": 2}), "TG-2202", "n"),
    ] {
        let answer = http.chat(&ask_with("hello", more.clone())).await;
        refused(&answer, 400, code, &more.to_string());
        assert_eq!(answer.error("param"), param, "{more}");
    }
}

#[tokio::test]
async fn a_message_may_name_its_participant() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    for name in [json!("bob"), json!("bob-smith_2"), json!(null)] {
        let messages = json!([{"role": "user", "content": "hello", "name": name}]);
        let answer = http.chat(&ask_with("", json!({"messages": messages}))).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {}", answer.json());
    }
}

#[tokio::test]
async fn a_developer_message_is_a_system_message() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    let with = |role: &str| json!({"model": "chat", "temperature": 0, "messages": [{"role": role, "content": "be brief"}, {"role": "user", "content": "hi"}]});
    let (developer, system) = (http.chat(&with("developer")).await, http.chat(&with("system")).await);
    assert_eq!(developer.status, StatusCode::OK, "{}", developer.json());
    assert_eq!((developer.content(), &developer.json()["usage"]), (system.content(), &system.json()["usage"]));
    for role in ["tool", "function", "Developer", "root"] {
        assert_eq!(http.chat(&with(role)).await.error("param"), "messages[0].role", "{role}");
    }
}

#[tokio::test]
async fn before_anything_is_loaded_the_models_are_503_and_not_none() {
    let worker = start_with(loader(|_| {})).await;
    let http = Http::new(&worker);
    for path in ["/v1/models", "/v1/models/chat"] {
        let answer = http.get(path).await;
        refused(&answer, 503, "TG-2222", path);
        assert_eq!(answer.header("retry-after"), "1", "{path}");
    }
    worker.inlets.push_models(&model_set(&["v1"])).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    assert_eq!(http.get("/v1/models").await.json()["data"][0]["id"], "chat");
    refused(&http.get("/v1/models/other").await, 404, "TG-2208", "another model");
}

#[tokio::test]
async fn a_stream_has_no_line_end_that_a_lax_reader_would_cut_at() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    let text = "left\u{2028}mid\u{85}right\u{2029}end\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{7f}";
    let answer = http.chat(&ask_with(text, json!({"stream": true}))).await;
    let sent = std::str::from_utf8(&answer.body).unwrap();
    assert!(!sent.contains(['\u{85}', '\u{2028}', '\u{2029}', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}']));
    let (said, finish, _) = read(&answer);
    assert_eq!((said, finish.as_str()), (answer_to("v1", text), "stop"));
}

#[tokio::test]
async fn an_embedding_knows_the_same_rules() {
    let worker = start_with(loader(|_| {})).await;
    worker.inlets.push_models(&embedding_set()).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    let http = Http::new(&worker);
    let plain =
        http.send("POST /v1/embeddings", &[("content-type", "text/plain")], r#"{"model":"embed","input":"x"}"#).await;
    refused(&plain, 415, "TG-2213", "text/plain");
    for (body, param) in [
        (r#"{"model":"embed","input":[18446744073709551615]}"#, "input[0]"),
        (r#"{"model":"embed","input":[[1,9223372036854775808]]}"#, "input[0][1]"),
        (r#"{"model":"embed","input":"x","dimensions":18446744073709551616}"#, "dimensions"),
    ] {
        let answer = http.send("POST /v1/embeddings", &[], body).await;
        refused(&answer, 400, "TG-2203", body);
        assert_eq!(answer.error("param"), param);
    }
}
