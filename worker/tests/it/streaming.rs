//! Server-sent events: their framing, their end, and what happens when the client goes.
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tidegate_engine::fake::answer_to;

use crate::harness::{Answer, Http, ask_with, chat_worker, eventually};

/// The data of each event, with its event name.
pub fn events(answer: &Answer) -> Vec<(String, String)> {
    let text = std::str::from_utf8(&answer.body).unwrap();
    assert!(text.ends_with("\n\n"), "{text}");
    let one = |block: &str| {
        let mut name = String::new();
        let mut data = String::new();
        for line in block.lines() {
            match line.split_once(": ").unwrap() {
                ("event", value) => name = value.to_owned(),
                ("data", value) => data.push_str(value),
                other => panic!("{other:?}"),
            }
        }
        (name, data)
    };
    text.trim_end().split("\n\n").map(one).collect()
}

/// The text of a stream, its finish reason, and all its chunks.
pub fn read(answer: &Answer) -> (String, String, Vec<Value>) {
    let mut events = events(answer);
    assert_eq!(events.pop().unwrap().1, "[DONE]");
    let chunks: Vec<Value> = events.iter().map(|(_, data)| serde_json::from_str(data).unwrap()).collect();
    let text = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    let finish = chunks.iter().filter_map(|c| c["choices"][0]["finish_reason"].as_str()).collect::<Vec<_>>().join(",");
    (text, finish, chunks)
}

#[tokio::test]
async fn a_stream_has_a_role_texts_one_finish_reason_usage_and_done() {
    let worker = chat_worker(|c| c.delay = Duration::from_millis(1)).await;
    let http = Http::new(&worker);
    let answer =
        http.chat(&ask_with("grüße 😀", json!({"stream": true, "stream_options": {"include_usage": true}}))).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "text/event-stream"));
    assert_eq!(answer.header("x-tidegate-model-version"), "v1");
    let (text, finish, chunks) = read(&answer);
    assert_eq!((text.as_str(), finish.as_str()), (answer_to("v1", "grüße 😀").as_str(), "stop"));
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let usage = chunks.last().unwrap();
    assert_eq!(
        (usage["choices"].as_array().unwrap().len(), &usage["usage"]["completion_tokens"]),
        (0, &json!(answer_to("v1", "grüße 😀").len()))
    );
    assert!(chunks.iter().take(chunks.len() - 1).all(|c| c["usage"].is_null() && c.get("usage").is_some()));
    assert!(chunks.iter().all(|c| c["id"] == chunks[0]["id"] && c["object"] == "chat.completion.chunk"));
    let without = http.chat(&ask_with("x", json!({"stream": true, "max_tokens": 3}))).await;
    let (text, finish, chunks) = read(&without);
    assert_eq!((text.as_str(), finish.as_str()), ("[v1", "length"));
    assert!(chunks.iter().all(|c| c.get("usage").is_none()));
}

#[tokio::test]
async fn a_refusal_comes_as_a_status_never_inside_a_stream() {
    let worker = chat_worker(|c| c.fail_on = Some("poison".into())).await;
    let http = Http::new(&worker);
    let answer = http.chat(&ask_with("poison", json!({"stream": true}))).await;
    assert_eq!((answer.status, answer.error("code").as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "TG-2231"));
    let answer = http.chat(&ask_with("x", json!({"stream": true, "max_tokens": 100_000}))).await;
    assert_eq!(answer.error("code"), "context_length_exceeded");
}

#[tokio::test]
async fn when_the_client_goes_the_work_stops_in_both_modes() {
    let worker = chat_worker(|c| {
        c.delay = Duration::from_millis(10);
        c.answer_tokens = Some(1_500);
    })
    .await;
    for stream in [true, false] {
        let body = ask_with("x", json!({"stream": stream})).to_string();
        let http = Http::new(&worker);
        let request = http.open("POST /v1/chat/completions", &[], body);
        if stream {
            let mut response = request.await;
            response.body_mut().frame().await.unwrap().unwrap();
            assert_eq!(worker.app.queue.inside(), 1);
        } else {
            let waited = tokio::time::timeout(Duration::from_millis(300), request).await;
            assert!(waited.is_err(), "it must still be running");
        }
        drop(http);
        eventually("the place is free", || worker.app.queue.inside() == 0).await;
        let running =
            || worker.app.table.load().versions[0].lane.stats.running.load(std::sync::atomic::Ordering::Relaxed);
        eventually("the sequence is gone", || running() == 0).await;
    }
    let metrics = String::from_utf8(Http::new(&worker).get("/metrics").await.body.to_vec()).unwrap();
    let cancelled = metrics.lines().find(|l| l.starts_with("tidegate_cancelled_requests_total")).unwrap();
    assert!(cancelled.ends_with(" 2"), "{cancelled}");
    assert!(metrics.contains("kind=\"wasted\""));
}
