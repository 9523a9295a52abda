//! Shutdown: readiness first, then a settle time, then the grace time, then an honest end.
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tidegate_engine::fake::answer_to;
use tidegate_worker::drain::Phase;

use crate::{
    harness::{Http, ask, ask_with, chat_worker, eventually},
    streaming::{events, read},
};

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_finish_and_new_ones_are_taken_until_the_settle_time_is_over() {
    let worker = chat_worker(|c| c.delay = Duration::from_millis(10)).await;
    let (app, http) = (worker.app.clone(), Http::new(&worker));
    let long = "word ".repeat(100); // 505 tokens: 5 s, so that it outlives the settle time on any machine
    let asked = {
        let (http, long) = (http.clone(), long.clone());
        tokio::spawn(async move { http.chat(&ask_with(&long, json!({"stream": true}))).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    let leaving = tokio::spawn(worker.drain(Duration::from_secs(2), Duration::from_secs(30)));
    eventually("settling", || app.phases.now() == Phase::Settling).await;
    assert_eq!(http.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(http.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(http.chat(&ask("x")).await.content(), answer_to("v1", "x"), "settling still takes requests");
    eventually("draining", || app.phases.now() == Phase::Draining).await;
    let late = http.chat(&ask("x")).await;
    assert_eq!(
        (late.status, late.header("x-tidegate-retry"), late.error("code").as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "1", "TG-2221")
    );
    let answer = asked.await.unwrap();
    assert_eq!((read(&answer).0, read(&answer).1.as_str()), (answer_to("v1", &long), "stop"));
    tokio::time::timeout(Duration::from_secs(20), leaving).await.expect("in time").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_running_at_the_deadline_ends_with_an_error_event_not_with_silence() {
    let worker = chat_worker(|c| {
        c.delay = Duration::from_millis(20);
        c.answer_tokens = Some(1_500);
    })
    .await;
    let http = Http::new(&worker);
    let streamed = {
        let http = http.clone();
        tokio::spawn(async move { http.chat(&ask_with("x", json!({"stream": true}))).await })
    };
    let plain = {
        let http = http.clone();
        tokio::spawn(async move { http.chat(&ask("x")).await })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = std::time::Instant::now();
    worker.drain(Duration::from_millis(10), Duration::from_millis(300)).await;
    assert!(begun.elapsed() < Duration::from_secs(4));
    let events = events(&streamed.await.unwrap());
    let (name, data) = events.last().unwrap();
    assert!(name == "error" && data.contains("TG-2233"), "{name} {data}");
    let plain = plain.await.unwrap();
    assert_eq!((plain.status, plain.error("code").as_str()), (StatusCode::SERVICE_UNAVAILABLE, "TG-2233"));
}
