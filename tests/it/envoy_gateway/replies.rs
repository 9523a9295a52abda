//! What clients read when no worker answers: an OpenAI error in JSON, always.
use super::*;

fn expect(answer: &Response, status: u16, code: &str) {
    assert_eq!((answer.status, error_code(answer).as_str()), (status, code), "{}", answer.text());
}

#[test]
fn every_refusal_is_an_openai_error() {
    let (bench, key) = with_key();
    let ask = |path: &str, body: &str| bench.client().send(&post(path, body, &[key.clone()])).unwrap();
    expect(&ask("/v2/chat", BODY), 404, "unknown_url");
    expect(&ask("/v1/models", BODY), 405, "method_not_allowed");
    expect(&ask(CHAT, r#"{"model":"nope"}"#), 404, "model_not_found");
    expect(&ask(CHAT, r#"{"model":"chat\r\nx-tidegate-tenant: globex"}"#), 404, "model_not_found");
    expect(&ask(CHAT, r#"{"model":"chat\u0000"}"#), 404, "model_not_found");
    expect(&bench.client().send(&get(CHAT, &[key.clone()])).unwrap(), 405, "method_not_allowed");
    expect(&bench.client().send(&get("/v1/models/nope", &[key.clone()])).unwrap(), 404, "model_not_found");
    for raw in ["BAD\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n"] {
        expect(&bench.client().send(raw.as_bytes()).unwrap(), 400, "bad_request");
    }
    let long = header("x-long", "a".repeat(70_000));
    expect(&bench.client().send(&get("/v1/models", &[key.clone(), long])).unwrap(), 431, "headers_too_large");
    let many: Vec<_> = (0..150).map(|i| header(&format!("x-{i}"), "a")).collect();
    expect(&bench.client().send(&get("/v1/models", &many)).unwrap(), 431, "headers_too_large");
}

#[test]
fn a_body_of_a_mebibyte_passes_and_a_larger_one_is_413() {
    let (bench, key) = with_key();
    let body = |bytes: usize| {
        let (head, tail) = (r#"{"x":""#, r#"","model":"chat"}"#);
        format!("{head}{}{tail}", "y".repeat(bytes - head.len() - tail.len()))
    };
    for (bytes, status) in [(1 << 20, 200), ((1 << 20) + 64, 413), (10 << 20, 413)] {
        let answer = bench.client().send(&post(CHAT, &body(bytes), &[key.clone()])).unwrap();
        assert_eq!(answer.status, status, "{bytes}");
        if status == 413 {
            expect(&answer, 413, "request_too_large");
        }
    }
}

#[test]
fn models_are_listed_from_the_snapshot() {
    let (mut bench, key) = with_key();
    bench.change(|s| {
        let mut second = s.targets[0].clone();
        second.model_id = format!("team/{}", "m.".repeat(100));
        s.targets.push(second);
    });
    let list: Value =
        serde_json::from_slice(&bench.client().send(&get("/v1/models", &[key.clone()])).unwrap().body).unwrap();
    assert_eq!(list["object"], "list");
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, ["chat", &bench.snapshot.targets[1].model_id]);
    for slash in ["/", "%2F", "%2f"] {
        let answer =
            bench.client().send(&get(&format!("/v1/models/{}", ids[1].replace('/', slash)), &[key.clone()])).unwrap();
        let model: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, model["id"].as_str()), (200, Some(ids[1].as_str())));
    }
}

#[test]
fn models_that_nobody_serves_yet_are_503_and_not_a_list() {
    let (mut bench, key) = with_key();
    bench.endpoints(&[]);
    for path in ["/v1/models", "/v1/models/chat", "/v1/models/nope"] {
        let answer = bench.client().send(&get(path, &[key.clone()])).unwrap();
        expect(&answer, 503, "model_not_ready");
        assert_eq!(answer.header("retry-after"), "1");
    }
    bench.change(|s| {
        s.targets.clear();
        s.arms.clear();
    });
    expect(&bench.client().send(&get("/v1/models", &[key.clone()])).unwrap(), 503, "model_not_ready");
    let good = EchoOrigin::start().unwrap().address;
    let served = two_arms(good);
    bench.change(|s| (s.targets, s.arms) = (served.targets, served.arms));
    assert_eq!(bench.client().send(&get("/v1/models", &[key])).unwrap().status, 200);
}

#[test]
fn every_answer_has_a_request_id_and_the_arm_is_never_the_workers_word() {
    let (mut bench, key) = with_key();
    let liar = origin(|_, socket| {
        let lies = "x-tidegate-arm: liar\r\nx-tidegate-rule: liar\r\nx-tidegate-generation: 99\r\nx-tidegate-model-version: v1\r\n";
        write!(socket, "HTTP/1.1 200 OK\r\n{lies}content-length: 2\r\n\r\nok").is_ok()
    });
    bench.endpoints(&[liar]);
    let answer = bench.ask(&[key]);
    assert!(["stable", "candidate"].contains(&answer.header("x-tidegate-arm")));
    assert_eq!(answer.header("x-tidegate-rule"), "default/canary/split");
    assert_eq!(answer.header("x-tidegate-generation"), "3");
    assert_eq!(answer.header("x-tidegate-model-version"), "v1");
    assert_eq!(answer.header("x-request-id").len(), 36);
    assert_eq!(bench.ask(&[]).header("x-request-id").len(), 36);
}

#[test]
fn a_clients_trace_goes_on_to_the_worker_and_without_one_a_trace_begins() {
    let key = Key::new("k1", "acme");
    // Nobody receives the spans: that must disturb no request.
    let otlp = tidegate_translate::Otlp { host: "127.0.0.1".to_owned(), port: nobody().port(), sample_percent: 100 };
    let settings = GatewaySettings { otlp: Some(otlp), ..GatewaySettings::default() };
    let bench = Bench::start_with(settings, |s| key.add_to(s));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    let seen = bench.ask(&[key.header(), parent]).text();
    assert!(seen.contains(&format!("traceparent: 00-{trace}-")) && !seen.contains("b7ad6b7169203331"), "{seen}");
    assert!(bench.ask(&[key.header()]).text().contains("traceparent: 00-"));
}

#[test]
fn without_a_required_key_a_request_has_no_tenant_and_a_wrong_key_is_still_refused() {
    let key = Key::new("k1", "acme");
    let settings = GatewaySettings { require_api_key: false, ..GatewaySettings::default() };
    let bench = Bench::start_with(settings, |s| key.add_to(s));
    assert!(!bench.ask(&[header("x-tidegate-tenant", "acme")]).text().contains("x-tidegate-tenant"));
    let foreign = bench.ask(&[header("authorization", "Bearer sk-123")]);
    assert_eq!(foreign.status, 401, "a key of somebody else's opens nothing");
    assert!(bench.ask(&[key.header()]).text().contains("x-tidegate-tenant: acme"));
    assert_eq!(bench.ask(&[Key::new("k1", "acme").header()]).status, 401);
}
