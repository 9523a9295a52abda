//! Plain answers, health, models, embeddings, and how requests are refused.
use http::StatusCode;
use serde_json::json;
use tidegate_engine::fake::answer_to;
use tidegate_worker::hotswap::report::Phase;

use crate::harness::{Http, ask, ask_with, chat_worker, embedding_set, loader, model_set, start_with, wait_for};

#[tokio::test]
async fn a_chat_is_answered_by_the_default_version_and_says_which() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    let answer = http.chat_with(&[("x-request-id", "abc-1")], &ask("hello")).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.content(), answer_to("v1", "hello"));
    assert_eq!(answer.header("x-tidegate-model-version"), "v1");
    assert_eq!(answer.header("x-request-id"), "abc-1");
    assert!(answer.header("server-timing").contains("queue;dur="));
    let body = answer.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(body["system_fingerprint"].as_str().unwrap().starts_with("fp_"));
    assert_eq!(body["usage"]["completion_tokens"], answer_to("v1", "hello").len());
    let total = body["usage"]["prompt_tokens"].as_u64().unwrap() + body["usage"]["completion_tokens"].as_u64().unwrap();
    assert_eq!(body["usage"]["total_tokens"], total);
}

#[tokio::test]
async fn stop_texts_and_token_limits_end_an_answer_with_the_right_reason() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    let stopped = http.chat(&ask_with("one END two", json!({"stop": "END"}))).await;
    assert_eq!(
        (stopped.content().as_str(), &stopped.json()["choices"][0]["finish_reason"]),
        ("[v1] one ", &json!("stop"))
    );
    for field in ["max_tokens", "max_completion_tokens"] {
        let cut = http.chat(&ask_with("hello", json!({field: 6}))).await;
        assert_eq!((cut.content().as_str(), &cut.json()["choices"][0]["finish_reason"]), ("[v1] h", &json!("length")));
        assert_eq!(cut.json()["usage"]["completion_tokens"], 6);
    }
    let unicode = http.chat(&ask("grüße 😀 漢字")).await;
    assert_eq!(unicode.content(), answer_to("v1", "grüße 😀 漢字"));
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_refused_before_anything_runs() {
    let worker = chat_worker(|c| c.max_sequence = 64).await;
    let http = Http::new(&worker);
    let long = http.chat(&ask(&"x".repeat(100))).await;
    assert_eq!((long.status, long.error("code").as_str()), (StatusCode::BAD_REQUEST, "context_length_exceeded"));
    let asked = http.chat(&ask_with("x", json!({"max_tokens": 60}))).await;
    assert_eq!((asked.status, asked.error("code").as_str()), (StatusCode::BAD_REQUEST, "context_length_exceeded"));
    assert_eq!(asked.error("param"), "messages");
    assert_eq!(http.chat(&ask("x")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_version_header_picks_a_version_and_an_unknown_one_may_be_retried_elsewhere() {
    let worker = start_with(loader(|_| {})).await;
    let http = Http::new(&worker);
    let none = http.chat(&ask("hi")).await;
    assert_eq!(
        (none.status, none.header("x-tidegate-retry"), none.error("code").as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "1", "TG-2222")
    );
    worker.inlets.push_models(&model_set(&["v1", "v2"])).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    wait_for(&worker, "v2", Phase::Serving).await;
    for (named, expect) in [("v1", "v1"), ("v2", "v2")] {
        let answer = http.chat_with(&[("x-tidegate-model-version", named)], &ask("hi")).await;
        assert_eq!((answer.content(), answer.header("x-tidegate-model-version")), (answer_to(expect, "hi"), expect));
    }
    let gone = http.chat_with(&[("x-tidegate-model-version", "v9")], &ask("hi")).await;
    assert_eq!(
        (gone.status, gone.header("x-tidegate-retry"), gone.error("code").as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "1", "TG-2220")
    );
    let other = http.chat(&json!({"model": "nope", "messages": [{"role": "user", "content": "x"}]})).await;
    assert_eq!(
        (other.status, other.error("code").as_str(), other.error("param").as_str()),
        (StatusCode::NOT_FOUND, "model_not_found", "model")
    );
}

#[tokio::test]
async fn health_models_and_metrics_tell_what_is_there() {
    let worker = start_with(loader(|_| {})).await;
    let http = Http::new(&worker);
    assert_eq!(http.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(http.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    worker.inlets.push_models(&model_set(&["v1"])).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    assert_eq!(http.get("/readyz").await.status, StatusCode::OK);
    let list = http.get("/v1/models").await.json();
    assert_eq!((&list["object"], &list["data"][0]["id"]), (&json!("list"), &json!("chat")));
    assert_eq!(http.get("/v1/models/chat").await.json()["object"], "model");
    assert_eq!(http.get("/v1/models/ns/other").await.status, StatusCode::NOT_FOUND);
    assert_eq!(http.get("/nothing").await.error("code"), "TG-2210");
    assert_eq!(http.get("/v1/embeddings").await.error("code"), "TG-2211");
    http.chat(&ask("hi")).await;
    let text = String::from_utf8(http.get("/metrics").await.body.to_vec()).unwrap();
    for name in [
        "tidegate_requests_total{",
        "tidegate_tokens_total{",
        "tidegate_time_to_first_token_seconds_bucket{",
        "tidegate_step_duration_seconds_bucket{",
        "tidegate_requests_running",
        "tidegate_requests_waiting",
        "tidegate_model_info{",
        "tidegate_model_loads_total{",
        "tidegate_ready",
    ] {
        assert!(text.contains(name), "{name} missing in\n{text}");
    }
}

#[tokio::test]
async fn bodies_that_are_no_request_are_refused_with_a_code() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    for (body, code) in [
        ("", "TG-2200"),
        ("{", "TG-2200"),
        ("[]", "TG-2200"),
        ("{\"model\":\"a\",\"model\":\"b\"}", "TG-2200"),
        ("{}", "TG-2204"),
    ] {
        let answer = http.send("POST /v1/chat/completions", &[], body.to_owned()).await;
        assert_eq!((answer.status, answer.error("code").as_str()), (StatusCode::BAD_REQUEST, code), "{body}");
        assert_eq!(answer.error("type"), "invalid_request_error");
    }
    let huge = ask(&"x".repeat(2 << 20)).to_string();
    let answer = http.send("POST /v1/chat/completions", &[], huge).await;
    assert_eq!((answer.status, answer.error("code").as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "TG-2205"));
    let embed = http.embed(&json!({"model": "chat", "input": "x"})).await;
    assert_eq!((embed.status, embed.error("code").as_str()), (StatusCode::BAD_REQUEST, "TG-2209"));
}

#[tokio::test]
async fn embeddings_come_as_floats_or_base64_and_say_the_same() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let worker = start_with(loader(|_| {})).await;
    worker.inlets.push_models(&embedding_set()).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    let http = Http::new(&worker);
    let inputs: Vec<String> = (0..23).map(|i| format!("text number {i}")).collect();
    let floats = http.embed(&json!({"model": "embed", "input": inputs})).await.json();
    let packed =
        http.embed(&json!({"model": "embed", "input": inputs, "encoding_format": "base64", "user": "u"})).await.json();
    assert_eq!(floats["data"].as_array().unwrap().len(), 23);
    for i in 0..23 {
        let bytes = STANDARD.decode(packed["data"][i]["embedding"].as_str().unwrap()).unwrap();
        let unpacked: Vec<f32> = bytes.chunks(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect();
        let plain: Vec<f32> = serde_json::from_value(floats["data"][i]["embedding"].clone()).unwrap();
        assert_eq!(plain, unpacked);
        assert_eq!(floats["data"][i]["index"], i);
    }
    let alone = http.embed(&json!({"model": "embed", "input": inputs[7]})).await.json();
    assert_eq!(
        alone["data"][0]["embedding"], floats["data"][7]["embedding"],
        "a row does not depend on its neighbours"
    );
    let mut tokens: Vec<u32> = inputs[7].bytes().map(u32::from).collect();
    tokens.push(256);
    for input in [json!(tokens), json!([tokens])] {
        let by_token = http.embed(&json!({"model": "embed", "input": input, "dimensions": 16})).await.json();
        assert_eq!(by_token["data"][0]["embedding"], alone["data"][0]["embedding"]);
        assert_eq!(by_token["usage"]["prompt_tokens"], tokens.len());
    }
    for (body, param) in [
        (json!({"model": "embed", "input": "x", "dimensions": 8}), "dimensions"),
        (json!({"model": "embed", "input": ""}), "input"),
        (json!({"model": "embed", "input": []}), "input"),
        (json!({"model": "embed", "input": ["a", 1]}), "input[1]"),
        (json!({"model": "embed", "input": [[1], []]}), "input[1]"),
        (json!({"model": "embed", "input": ["ok", "x".repeat(5_000)]}), "input[1]"),
        (json!({"model": "embed", "input": "x", "encoding_format": "hex"}), "encoding_format"),
        (json!({"model": "embed", "input": "x", "nonsense": 1}), "nonsense"),
        (json!({"input": "x"}), "model"),
    ] {
        let answer = http.embed(&body).await;
        assert_eq!((answer.status, answer.error("param").as_str()), (StatusCode::BAD_REQUEST, param), "{body}");
    }
    assert_eq!(
        http.chat(&json!({"model": "embed", "messages": [{"role": "user", "content": "x"}]})).await.error("code"),
        "TG-2209"
    );
}
