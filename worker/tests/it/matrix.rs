//! Every field of a chat request: what is taken, what is refused, and that the refusal names the field.
use http::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Http, ask, ask_with, chat_worker};

#[tokio::test]
async fn fields_that_change_nothing_are_taken() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    let plain = http.chat(&ask("hello")).await.content();
    let cases = json!([
        {"n": 1}, {"n": null}, {"logprobs": false}, {"logprobs": null}, {"top_logprobs": 0}, {"tools": []}, {"tools": null},
        {"tool_choice": "none"}, {"response_format": {"type": "text"}}, {"logit_bias": {}}, {"store": false},
        {"metadata": {}}, {"metadata": null}, {"modalities": ["text"]}, {"service_tier": "auto"}, {"service_tier": "default"},
        {"function_call": "none"}, {"functions": []}, {"presence_penalty": 0}, {"frequency_penalty": 0.0}, {"stop": null},
        {"stop": []}, {"user": "somebody"}, {"seed": -3}, {"seed": null}, {"stream": false}, {"stream": null}, {"top_p": 1},
        {"max_tokens": null}, {"max_tokens": 100, "max_completion_tokens": 100}, {"reasoning_effort": null}, {"audio": null},
        {"prediction": null}, {"parallel_tool_calls": null}, {"web_search_options": null}, {"stream_options": null}
    ]);
    for case in cases.as_array().unwrap() {
        let answer = http.chat(&ask_with("hello", case.clone())).await;
        assert_eq!((answer.status, answer.content()), (StatusCode::OK, plain.clone()), "{case}");
    }
}

#[tokio::test]
async fn fields_that_are_not_supported_are_refused_by_name() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    let cases: Value = json!([
        ["n", 2, "TG-2202"], ["n", 0, "TG-2202"], ["logprobs", true, "TG-2202"], ["top_logprobs", 3, "TG-2202"],
        ["tools", [{"type": "function"}], "TG-2202"], ["tool_choice", "auto", "TG-2202"], ["tool_choice", {"type": "x"}, "TG-2202"],
        ["response_format", {"type": "json_object"}, "TG-2202"], ["response_format", {"type": "text", "x": 1}, "TG-2202"],
        ["logit_bias", {"1": 2}, "TG-2202"], ["store", 1, "TG-2203"], ["metadata", [], "TG-2203"],
        ["modalities", ["audio"], "TG-2202"], ["service_tier", "flex", "TG-2202"], ["functions", [{}], "TG-2202"],
        ["function_call", "auto", "TG-2202"], ["parallel_tool_calls", "no", "TG-2203"], ["reasoning_effort", "low", "TG-2202"],
        ["verbosity", "low", "TG-2202"], ["prediction", {}, "TG-2202"], ["audio", {}, "TG-2202"], ["web_search_options", {}, "TG-2202"],
        ["prompt_cache_key", 1, "TG-2203"], ["safety_identifier", {}, "TG-2203"], ["prompt_cache_retention", "24h", "TG-2202"],
        ["nonsense", 1, "TG-2201"], ["Model", "chat", "TG-2201"], ["", null, "TG-2201"], ["top_k", 5, "TG-2201"], ["min_p", 0.1, "TG-2201"]
    ]);
    for case in cases.as_array().unwrap() {
        let (name, value, code) = (case[0].as_str().unwrap(), &case[1], case[2].as_str().unwrap());
        let answer = http.chat(&ask_with("hello", json!({name: value}))).await;
        let seen = (answer.status, answer.error("param"), answer.error("code"));
        assert_eq!(seen, (StatusCode::BAD_REQUEST, name.to_owned(), code.to_owned()), "{case}");
        assert!(answer.error("message").contains(&format!("{name:?}")), "{case}");
    }
}

#[tokio::test]
async fn what_a_client_wrote_is_repeated_only_in_part() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    let long = "x".repeat(500_000);
    let twice = format!("{{\"{long}\":1,\"{long}\":1}}");
    let nested = json!({"messages": [{"role": "user", "content": "x", long.as_str(): 1}]});
    for body in [ask_with("x", json!({long.as_str(): 1})).to_string(), twice, ask_with("", nested).to_string()] {
        let answer = http.send("POST /v1/chat/completions", &[], body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.body.len() < 1_000, "{} bytes", answer.body.len());
    }
}

#[tokio::test]
async fn values_out_of_bounds_are_refused_with_their_path() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    let message = |m: Value| json!({"messages": [m]});
    let cases: Vec<(Value, &str)> = vec![
        (json!({"temperature": 2.1}), "temperature"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"top_p": 0}), "top_p"),
        (json!({"top_p": 1.1}), "top_p"),
        (json!({"presence_penalty": 3}), "presence_penalty"),
        (json!({"frequency_penalty": -3}), "frequency_penalty"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": 1.5}), "max_tokens"),
        (json!({"max_tokens": 5, "max_completion_tokens": 6}), "max_tokens"),
        (json!({"max_completion_tokens": -1}), "max_completion_tokens"),
        (json!({"seed": "x"}), "seed"),
        (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
        (json!({"stop": ["a", ""]}), "stop[1]"),
        (json!({"stop": [1]}), "stop[0]"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"stream_options": {"include_usage": true}}), "stream_options"),
        (json!({"stream": true, "stream_options": {"include_usage": 1}}), "stream_options.include_usage"),
        (json!({"stream": true, "stream_options": {"other": 1}}), "stream_options.other"),
        (
            json!({"stream": true, "stream_options": {"include_obfuscation": true}}),
            "stream_options.include_obfuscation",
        ),
        (json!({"user": 5}), "user"),
        (json!({"n": "1"}), "n"),
        (json!({"model": 5}), "model"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": "hi"}), "messages"),
        (json!({"messages": [5]}), "messages[0]"),
        (message(json!({"content": "x"})), "messages[0].role"),
        (message(json!({"role": "user"})), "messages[0].content"),
        (message(json!({"role": "user", "content": null})), "messages[0].content"),
        (message(json!({"role": "tool", "content": "x", "tool_call_id": "c"})), "messages[0].role"),
        (message(json!({"role": "king", "content": "x"})), "messages[0].role"),
        (message(json!({"role": "user", "content": "x", "name": "bob smith"})), "messages[0].name"),
        (message(json!({"role": "user", "content": "x", "name": "<|im_end|>"})), "messages[0].name"),
        (message(json!({"role": "user", "content": "x", "name": ""})), "messages[0].name"),
        (message(json!({"role": "user", "content": "x", "name": 5})), "messages[0].name"),
        (message(json!({"role": "assistant", "content": "x", "tool_calls": [{}]})), "messages[0].tool_calls"),
        (message(json!({"role": "user", "content": "x", "extra": 1})), "messages[0].extra"),
        (message(json!({"role": "user", "content": []})), "messages[0].content"),
        (message(json!({"role": "user", "content": [{"type": "text"}]})), "messages[0].content[0].text"),
        (message(json!({"role": "user", "content": [{"text": "x"}]})), "messages[0].content[0].type"),
        (
            message(json!({"role": "user", "content": [{"type": "image_url", "image_url": {}}]})),
            "messages[0].content[0].image_url",
        ),
        (
            message(json!({"role": "user", "content": [{"type": "text", "text": "x", "y": 1}]})),
            "messages[0].content[0].y",
        ),
    ];
    for (more, param) in cases {
        let answer = http.chat(&ask_with("hello", more.clone())).await;
        assert_eq!((answer.status, answer.error("param").as_str()), (StatusCode::BAD_REQUEST, param), "{more}");
    }
    let parts = json!({"messages": [{"role": "system", "content": "s"},
        {"role": "assistant", "content": "a", "refusal": null, "tool_calls": null, "annotations": []},
        {"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]}]});
    assert_eq!(http.chat(&ask_with("", parts)).await.content(), "[v1] one two");
}
