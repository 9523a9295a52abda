//! A full queue, time-outs, engines that fail, clients that do not read.
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64},
    },
    time::{Duration, Instant},
};

use http::StatusCode;
use serde_json::json;
use tidegate_engine::{
    fake::{self, FakeConfig, answer_to},
    sampling::SamplingParams,
};
use tidegate_proto::worker::{Queue, Timeouts};
use tidegate_worker::{
    error::RequestError,
    hotswap::report::Phase,
    lane::{
        self,
        job::{ChatJob, Clock, Event, LaneShared, OUTPUT_EVENTS, Tuning},
        reply::{ChatOut, Held},
    },
    telemetry::Telemetry,
};

use crate::{
    harness::{Http, ask, ask_with, chat_worker, eventually, loader, model_set, start_with, wait_for},
    streaming::events,
};

#[tokio::test]
async fn one_request_too_many_is_told_to_come_back() {
    let worker = chat_worker(|c| c.delay = Duration::from_millis(30)).await;
    let mut set = model_set(&["v1"]);
    set.queue = Some(Queue { max_requests: 2 });
    worker.inlets.push_models(&set).unwrap();
    eventually("the bound is in force", || worker.app.table.load().pool.max_requests == 2).await;
    let http = Http::new(&worker);
    let answers = futures::future::join_all((0..6).map(|_| {
        let http = http.clone();
        async move { http.chat(&ask("hello")).await }
    }))
    .await;
    let good = answers.iter().filter(|a| a.status == StatusCode::OK).count();
    assert_eq!(good, 2);
    for refused in answers.iter().filter(|a| a.status != StatusCode::OK) {
        assert_eq!(
            (refused.status, refused.header("retry-after"), refused.error("code").as_str()),
            (StatusCode::TOO_MANY_REQUESTS, "1", "TG-2223")
        );
        assert_eq!(refused.error("model_id"), "chat");
    }
    assert_eq!(http.chat(&ask("again")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_inference_that_takes_too_long_is_ended_and_the_lane_goes_on() {
    let worker = start_with(loader(|c| c.delay = Duration::from_millis(40))).await;
    let mut set = model_set(&["v1"]);
    set.timeouts = Some(Timeouts { inference_ms: 300, drain_ms: 1_000 });
    worker.inlets.push_models(&set).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    let http = Http::new(&worker);
    let begun = Instant::now();
    let plain = http.chat(&ask(&"long ".repeat(20))).await;
    assert_eq!((plain.status, plain.error("code").as_str()), (StatusCode::GATEWAY_TIMEOUT, "TG-2230"));
    assert!(begun.elapsed() < Duration::from_secs(3));
    let streamed = http.chat(&ask_with(&"long ".repeat(20), json!({"stream": true}))).await;
    assert_eq!(streamed.status, StatusCode::OK);
    let events = events(&streamed);
    let (name, data) = events.last().unwrap();
    assert!(name == "error" && data.contains("TG-2230"), "{name} {data}");
    assert_eq!(http.chat(&ask_with("x", json!({"max_tokens": 2}))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_engine_call_that_hangs_is_ended_by_the_watchdog() {
    let worker = start_with(loader(|c| c.delay = Duration::from_secs(60))).await;
    let mut set = model_set(&["v1"]);
    set.timeouts = Some(Timeouts { inference_ms: 200, drain_ms: 1_000 });
    worker.inlets.push_models(&set).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    let begun = Instant::now();
    let answer = Http::new(&worker).chat(&ask("x")).await;
    assert_eq!((answer.status, answer.error("code").as_str()), (StatusCode::GATEWAY_TIMEOUT, "TG-2230"));
    assert!(begun.elapsed() < Duration::from_secs(5), "the run was not ended");
}

#[tokio::test]
async fn a_bad_prompt_fails_alone_and_not_its_neighbours() {
    let worker = chat_worker(|c| {
        c.fail_on = Some("poison".into());
        c.delay = Duration::from_millis(2);
    })
    .await;
    let http = Http::new(&worker);
    let texts: Vec<String> =
        (0..24).map(|i| if i % 6 == 0 { format!("poison {i}") } else { format!("fine {i}") }).collect();
    let answers = futures::future::join_all(texts.iter().map(|text| {
        let http = http.clone();
        async move { http.chat(&ask(text)).await }
    }))
    .await;
    for (text, answer) in texts.iter().zip(&answers) {
        if text.starts_with("poison") {
            assert_eq!(
                (answer.status, answer.error("code").as_str()),
                (StatusCode::INTERNAL_SERVER_ERROR, "TG-2231"),
                "{text}"
            );
        } else {
            assert_eq!((answer.status, answer.content()), (StatusCode::OK, answer_to("v1", text)), "{text}");
        }
    }
}

#[tokio::test]
async fn a_broken_engine_is_reported_and_loaded_again() {
    let loads = Arc::new(AtomicU32::new(0));
    let count = loads.clone();
    let worker = start_with(loader(move |c| {
        // The first copy breaks after some calls; the next one is good.
        if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            c.fail_from_call = Some(3);
        }
    }))
    .await;
    worker.inlets.push_models(&model_set(&["v1"])).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    let http = Http::new(&worker);
    assert_eq!(http.chat(&ask("hello")).await.status, StatusCode::INTERNAL_SERVER_ERROR);
    wait_for(&worker, "v1", Phase::Failed).await;
    let report = worker.versions.borrow().clone();
    assert!(report[0].error.starts_with("TG-2113"), "{report:?}");
    wait_for(&worker, "v1", Phase::Serving).await;
    assert_eq!(http.chat(&ask("hello")).await.content(), answer_to("v1", "hello"));
    assert_eq!(loads.load(std::sync::atomic::Ordering::SeqCst), 2);
}

pub fn shared(slow_client: Duration) -> LaneShared {
    let tuning = Tuning { max_batch: AtomicU32::new(2), max_delay_ms: AtomicU64::new(0), slow_client };
    LaneShared {
        stats: Arc::default(),
        tuning: Arc::new(tuning),
        metrics: Arc::new(Telemetry::meters_only().unwrap().metrics()),
        stuck_changed: Arc::default(),
        stop_at: Arc::new(OnceLock::new()),
    }
}

pub fn job(out: tokio::sync::mpsc::Sender<Event>, max_tokens: usize) -> ChatJob {
    let span = tracing::Span::none();
    ChatJob {
        prompt: vec![65, 66, 67],
        max_tokens,
        sampling: SamplingParams { temperature: 0.0, ..SamplingParams::default() },
        stop: Vec::new(),
        clock: Clock::start(Duration::from_secs(20)),
        out: ChatOut::new(out, Held::default()),
        span: span.clone(),
        queued: span,
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stands_still_alone_and_is_cut_after_a_while() {
    let config = FakeConfig { answer_tokens: Some(1_500), ..FakeConfig::new("v1") };
    let handle = lane::start(fake::chat(config), shared(Duration::from_millis(300)), |_| {}).unwrap();
    let mut silent = Vec::new();
    for _ in 0..2 {
        let (out, events) = tokio::sync::mpsc::channel(OUTPUT_EVENTS);
        handle.chat(job(out, 1_500)).unwrap();
        silent.push(events);
    }
    // Both places of the batch are taken by clients that do not read; others still get their answers.
    for _ in 0..3 {
        let (out, mut events) = tokio::sync::mpsc::channel(OUTPUT_EVENTS);
        handle.chat(job(out, 1_500)).unwrap();
        let begun = Instant::now();
        loop {
            match events.recv().await.expect("an end") {
                Event::Started(_) | Event::Text(_) => {}
                Event::Done { completion_tokens, .. } => break assert_eq!(completion_tokens, 1_500),
                Event::Failed(error) => panic!("{error}"),
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    for events in &mut silent {
        let mut last = None;
        while let Some(event) = events.recv().await {
            last = Some(event);
        }
        assert!(matches!(last, Some(Event::Failed(RequestError::SlowClient { .. }))), "{last:?}");
    }
}
