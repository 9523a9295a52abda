//! Embeddings take turns, and what cannot end in time is refused before it costs the engine anything.
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use serde_json::{Value, json};
use tidegate_proto::worker::Timeouts;
use tidegate_worker::{hotswap::report::Phase, worker::Worker};

use crate::{
    engines::{Before, Call, Scripts, holds},
    harness::{Answer, Http, ask, chat_worker, embedding_set, eventually, model_set, start_with, wait_for},
};

/// What an engine has seen.
#[derive(Clone, Default)]
struct Seen {
    calls: Arc<AtomicUsize>,
    /// Calls before the first one with the small request.
    before_small: Arc<AtomicUsize>,
}

impl Seen {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// A worker for embeddings whose calls take `call` and have at most 4 rows.
async fn worker(seen: &Seen, call: Duration, inference_ms: u32) -> Worker {
    let seen = seen.clone();
    let script = move || -> Before {
        let seen = seen.clone();
        Box::new(move |what| {
            if let Call::Embed(rows) = what {
                let before = seen.calls.fetch_add(1, Ordering::SeqCst);
                if holds(rows, "small") {
                    let _ = seen.before_small.compare_exchange(0, before, Ordering::SeqCst, Ordering::SeqCst);
                }
                std::thread::sleep(call);
            }
            Ok(())
        })
    };
    let worker = start_with(Scripts(script)).await;
    let mut set = embedding_set();
    set.timeouts = Some(Timeouts { inference_ms, drain_ms: 1_000 });
    worker.inlets.push_models(&set).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    worker
}

fn texts(count: usize) -> Value {
    json!({"model": "embed", "input": vec!["some ordinary text"; count]})
}

fn start(http: &Http, tenant: &'static str, body: Value) -> tokio::task::JoinHandle<Answer> {
    let http = http.clone();
    tokio::spawn(
        async move { http.send("POST /v1/embeddings", &[("x-tidegate-tenant", tenant)], body.to_string()).await },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_request_waits_for_a_few_calls_and_not_for_a_large_one() {
    let seen = Seen::default();
    let worker = worker(&seen, Duration::from_millis(5), 120_000).await;
    let http = Http::new(&worker);
    let large = start(&http, "a", texts(2_048));
    eventually("the large one runs", || seen.calls() > 3).await;
    let begun = seen.calls();
    let small = start(&http, "a", json!({"model": "embed", "input": "small"})).await.unwrap();
    assert_eq!(small.status, StatusCode::OK);
    let waited = seen.before_small.load(Ordering::SeqCst) - begun;
    // The way of the request through the sockets is in it; in its turn behind the large one it would be more than 500.
    assert!(waited < 150, "{waited} calls of the large one went first");
    assert!(!large.is_finished(), "the large one goes on");
    let large = large.await.unwrap();
    assert_eq!((large.status, large.json()["data"].as_array().map(Vec::len)), (StatusCode::OK, Some(2_048)));
}

/// The number of texts that a refusal advises.
fn advised(refused: &Answer) -> usize {
    let message = refused.error("message");
    let number = message.split("about ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{message}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_end_in_time_is_refused_at_once_with_a_size_that_can() {
    let seen = Seen::default();
    let worker = worker(&seen, Duration::from_millis(40), 4_000).await;
    let http = Http::new(&worker);
    // 20 s of work. Nothing is known before its first calls.
    let first = start(&http, "a", texts(2_000)).await.unwrap();
    assert_eq!((first.status, first.error("code")), (StatusCode::PAYLOAD_TOO_LARGE, "TG-2236".to_owned()), "{first:?}");
    assert!(seen.calls() < 20, "{} calls for a request that cannot end", seen.calls());
    let before = seen.calls();
    let second = start(&http, "a", texts(2_000)).await.unwrap();
    assert_eq!((second.status, seen.calls()), (StatusCode::PAYLOAD_TOO_LARGE, before), "{second:?}");
    let fits = advised(&second);
    assert!((20..400).contains(&fits), "{fits}");
    let third = start(&http, "a", texts(fits)).await.unwrap();
    assert_eq!(third.status, StatusCode::OK, "{third:?}");
    assert_eq!(worker.app.queue.inside(), 0, "refusals hold no place");
    let metrics = http.get("/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(text.contains("tidegate_deadline_refusals_total{reason=\"too_large\""), "{text}");
    assert!(text.contains("tidegate_pace_tokens_per_second{"), "{text}");
}

/// It comes while nothing is known of the pace, and the call that tells the pace is running.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_during_the_call_that_tells_that_it_cannot_end_is_answered() {
    let seen = Seen::default();
    let worker = worker(&seen, Duration::from_millis(500), 8_000).await;
    let http = Http::new(&worker);
    let first = start(&http, "a", texts(12));
    eventually("its second call runs", || seen.calls() == 2).await;
    let begun = std::time::Instant::now();
    let second = start(&http, "b", texts(400)).await.unwrap();
    assert_eq!(
        (second.status, second.error("code").as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "TG-2236"),
        "{second:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(first.await.unwrap().status, StatusCode::OK);
    assert_eq!(worker.app.queue.inside(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_end_alone_is_asked_to_come_back() {
    let seen = Seen::default();
    let worker = worker(&seen, Duration::from_millis(40), 4_000).await;
    let http = Http::new(&worker);
    assert_eq!(start(&http, "a", texts(16)).await.unwrap().status, StatusCode::OK);
    let before = seen.calls();
    let first = start(&http, "a", texts(240));
    eventually("the first one runs", || seen.calls() > before).await;
    let second = start(&http, "b", texts(260)).await.unwrap();
    assert_eq!(
        (second.status, second.error("code")),
        (StatusCode::TOO_MANY_REQUESTS, "TG-2235".to_owned()),
        "{second:?}"
    );
    assert!(second.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1), "{second:?}");
    assert_eq!(start(&http, "b", texts(1)).await.unwrap().status, StatusCode::OK, "a small one has the time");
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_whose_line_is_too_long_is_asked_to_come_back() {
    let worker = chat_worker(|c| {
        c.delay = Duration::from_millis(10);
        c.answer_tokens = Some(40);
    })
    .await;
    let http = Http::new(&worker);
    for _ in 0..17 {
        assert_eq!(http.chat(&ask("x")).await.status, StatusCode::OK);
    }
    // About 0.4 s an answer, 4 at a time: 60 of them are 6 s, and 2 s are allowed.
    let mut set = model_set(&["v1"]);
    set.timeouts = Some(Timeouts { inference_ms: 2_000, drain_ms: 1_000 });
    worker.inlets.push_models(&set).unwrap();
    eventually("the time is in force", || worker.app.table.load().pool.inference == Duration::from_secs(2)).await;
    let ask_one = || {
        let http = http.clone();
        tokio::spawn(async move { http.chat(&ask("x")).await })
    };
    let mut many: Vec<_> = (0..60).map(|_| ask_one()).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    many.push(ask_one());
    let mut refused = 0;
    for answer in many {
        let answer = answer.await.unwrap();
        if answer.error("code") == "TG-2235" {
            assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
            refused += 1;
        }
    }
    assert!(refused > 0, "some are told at once that they wait for nothing");
}
