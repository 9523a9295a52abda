//! Limits as a client sees them: refusals, headers, balances that survive a change, permits that come back.
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::json;
use tidegate_proto::worker::{
    BucketCondition, Condition, Counter, HeaderCondition, Limit, LimitSet, RequestRate, condition::Kind, counter,
    header_condition::Op,
};

use crate::harness::{Http, ask, ask_with, chat_worker, eventually};

fn limit(id: &str, requests: Option<(u64, u64, u64)>, concurrency: Option<u64>) -> Limit {
    let requests = requests.map(|(rate, window_ms, burst)| RequestRate { rate, window_ms, burst });
    Limit { id: id.into(), generation: 1, conditions: vec![], counters: vec![], requests, concurrency, shadow: false }
}

fn set(limits: Vec<Limit>) -> LimitSet {
    LimitSet { name: "default/chat".into(), limits }
}

const HOUR: u64 = 3_600_000;

#[tokio::test]
async fn a_limit_refuses_says_why_and_keeps_its_balance_when_it_changes() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    worker.inlets.push_limits(&set(vec![limit("default/p/l", Some((1, HOUR, 3)), None)])).unwrap();
    for left in [2, 1, 0] {
        let answer = http.chat(&ask("x")).await;
        assert_eq!(
            (answer.status, answer.header("ratelimit")),
            (StatusCode::OK, format!("\"default/p/l\";r={left}").as_str())
        );
    }
    let refused = http.chat(&ask("x")).await;
    assert_eq!((refused.status, refused.error("code").as_str()), (StatusCode::TOO_MANY_REQUESTS, "TG-2300"));
    assert_eq!((refused.error("limit").as_str(), refused.error("type").as_str()), ("default/p/l", "rate_limit_error"));
    assert!((3_590..=3_600).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    assert!(refused.header("ratelimit").starts_with("\"default/p/l\";r=0;t="));
    assert_eq!(refused.header("ratelimit-policy"), "\"default/p/l\";q=1;w=3600");
    // Two more at once: exactly two more are admitted, not a fresh bucket.
    worker.inlets.push_limits(&set(vec![limit("default/p/l", Some((1, HOUR, 5)), None)])).unwrap();
    let mut admitted = 0;
    for _ in 0..5 {
        admitted += usize::from(http.chat(&ask("x")).await.status == StatusCode::OK);
    }
    assert_eq!(admitted, 2);
    worker.inlets.push_limits(&set(vec![])).unwrap();
    assert_eq!(http.chat(&ask("x")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_place_in_flight_comes_back_when_the_body_ends_or_the_client_goes() {
    let worker = chat_worker(|c| {
        c.delay = Duration::from_millis(10);
        c.answer_tokens = Some(1_500);
    })
    .await;
    worker.inlets.push_limits(&set(vec![limit("default/p/c", None, Some(1))])).unwrap();
    let http = Http::new(&worker);
    let body = ask_with("x", json!({"stream": true})).to_string();
    let mut open = http.open("POST /v1/chat/completions", &[], body).await;
    open.body_mut().frame().await.unwrap().unwrap();
    let refused = http.chat(&ask_with("x", json!({"max_tokens": 1}))).await;
    assert_eq!(
        (refused.status, refused.error("code").as_str(), refused.header("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, "TG-2301", "1")
    );
    drop(open);
    drop(http);
    eventually("the place is free", || worker.app.queue.inside() == 0).await;
    let http = Http::new(&worker);
    for _ in 0..5 {
        assert_eq!(http.chat(&ask_with("x", json!({"max_tokens": 1}))).await.status, StatusCode::OK);
        eventually("the place is free", || worker.app.queue.inside() == 0).await;
    }
}

#[tokio::test]
async fn conditions_counters_and_shadow_decide_who_is_limited() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    let mut per_tenant = limit("default/p/tenant", Some((1, HOUR, 1)), None);
    per_tenant.counters = vec![Counter { kind: Some(counter::Kind::Tenant(true)) }];
    let mut beta = limit("default/p/beta", Some((1, HOUR, 1)), None);
    let test = HeaderCondition { name: "x-tag-version".into(), op: Some(Op::Regex("v2.*".into())) };
    beta.conditions = vec![Condition { kind: Some(Kind::Header(test)) }];
    let mut shadow = limit("default/p/shadow", Some((1, HOUR, 1)), None);
    shadow.shadow = true;
    worker.inlets.push_limits(&set(vec![per_tenant, beta, shadow])).unwrap();
    let ask_as = |headers: &'static [(&'static str, &'static str)]| {
        let http = http.clone();
        async move { http.chat_with(headers, &ask("x")).await }
    };
    for _ in 0..3 {
        assert_eq!(ask_as(&[]).await.status, StatusCode::OK, "no tenant, no tag: only the shadow limit, which admits");
    }
    assert_eq!(ask_as(&[("x-tidegate-tenant", "a")]).await.status, StatusCode::OK);
    assert_eq!(ask_as(&[("x-tidegate-tenant", "a")]).await.error("limit"), "default/p/tenant");
    assert_eq!(ask_as(&[("x-tidegate-tenant", "b")]).await.status, StatusCode::OK);
    assert_eq!(ask_as(&[("x-tag-version", "v2.1")]).await.status, StatusCode::OK);
    assert_eq!(ask_as(&[("x-tag-version", "v2.1")]).await.error("limit"), "default/p/beta");
    assert_eq!(ask_as(&[("x-tag-version", "v3")]).await.status, StatusCode::OK);
    let metrics = String::from_utf8(http.get("/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains("tidegate_limit_shadow_refusals_total{limit=\"default/p/shadow\""), "{metrics}");
}

#[tokio::test]
async fn a_set_that_is_not_valid_is_refused_whole() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    worker.inlets.push_limits(&set(vec![limit("default/p/l", Some((1, HOUR, 1)), None)])).unwrap();
    let header = |op| Condition { kind: Some(Kind::Header(HeaderCondition { name: "x-a".into(), op })) };
    let with =
        |condition: Condition| Limit { conditions: vec![condition], ..limit("default/p/bad", Some((1, 1, 1)), None) };
    let bucket =
        |from, to| Condition { kind: Some(Kind::Bucket(BucketCondition { header: "x-a".into(), seed: 1, from, to })) };
    let cases = vec![
        limit("default/p/bad", Some((0, 1, 1)), None),
        limit("default/p/bad", Some((1, 0, 1)), None),
        limit("default/p/bad", None, None),
        limit("default/p/l", Some((1, 1, 1)), None),
        limit("", Some((1, 1, 1)), None),
        with(header(Some(Op::Regex("(".into())))),
        with(header(Some(Op::Regex("(a{1000}){1000}".into())))),
        with(header(Some(Op::Present(false)))),
        with(header(None)),
        with(Condition { kind: None }),
        with(Condition {
            kind: Some(Kind::Header(HeaderCondition { name: "X-Upper".into(), op: Some(Op::Present(true)) })),
        }),
        with(bucket(5, 5)),
        with(bucket(0, 10_001)),
        Limit { counters: vec![Counter { kind: None }], ..limit("default/p/bad", Some((1, 1, 1)), None) },
    ];
    for case in cases {
        let good = limit("default/p/l", Some((1, HOUR, 100)), None);
        let error = worker.inlets.push_limits(&set(vec![good, case.clone()])).expect_err("refused").report();
        assert!(error.starts_with("TG-2111"), "{error}");
    }
    assert_eq!(http.chat(&ask("x")).await.status, StatusCode::OK);
    assert_eq!(http.chat(&ask("x")).await.status, StatusCode::TOO_MANY_REQUESTS, "the first set is still in force");
}
