//! Web pages of other origins (CORS): who may call, what they may read, and that a refusal can be read too.
use tidegate_translate::CorsOrigin;

use super::*;

const PAGE: &str = "https://app.example.com";

fn for_pages(origins: &[&str]) -> (Bench, Header) {
    let key = Key::new("k1", "acme");
    let cors_origins = origins.iter().map(|o| o.parse::<CorsOrigin>().unwrap()).collect();
    let settings = GatewaySettings { cors_origins, ..GatewaySettings::default() };
    (Bench::start_with(settings, |s| key.add_to(s)), key.header())
}

fn preflight(bench: &Bench, path: &str, origin: &str) -> Response {
    let request = format!(
        "OPTIONS {path} HTTP/1.1\r\nhost: gateway\r\norigin: {origin}\r\naccess-control-request-method: POST\r\n\
         access-control-request-headers: authorization,content-type,x-stainless-lang,x-user-id\r\n\r\n"
    );
    bench.client().send(request.as_bytes()).unwrap()
}

fn allowed(answer: &Response) -> &str {
    answer.header("access-control-allow-origin")
}

#[test]
fn a_preflight_needs_no_key_and_names_what_a_page_may_send() {
    let (bench, _) = for_pages(&[PAGE]);
    for path in [CHAT, "/v1/embeddings", "/v1/models", "/v1/nothing"] {
        let answer = preflight(&bench, path, PAGE);
        assert_eq!((answer.status, allowed(&answer)), (204, PAGE), "{path}: {}", answer.text());
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("access-control-allow-methods"), "GET, POST");
        assert_eq!(answer.header("access-control-allow-headers"), "authorization, *");
        assert_eq!(answer.header("access-control-max-age"), "7200");
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
    for stranger in ["https://example.com", "http://app.example.com", "https://app.example.com.evil.test", "null"] {
        let answer = preflight(&bench, CHAT, stranger);
        assert_eq!((answer.status, allowed(&answer), error_code(&answer).as_str()), (403, "", "origin_not_allowed"));
    }
}

#[test]
fn answers_and_refusals_of_every_part_can_be_read_by_the_page() {
    let (mut bench, key) = for_pages(&[PAGE]);
    let page = header("origin", PAGE);
    let good = bench.ask(&[key.clone(), page.clone()]);
    assert_eq!((good.status, allowed(&good)), (200, PAGE), "{}", good.text());
    for name in ["x-request-id", "x-tidegate-rule", "x-tidegate-model-version", "retry-after", "ratelimit"] {
        assert!(good.header("access-control-expose-headers").contains(name), "{name}");
    }
    assert_eq!(allowed(&bench.ask(&[key.clone()])), "", "no page, no CORS");
    assert_eq!(allowed(&bench.ask(&[key.clone(), header("origin", "https://evil.test")])), "");
    assert_eq!(good.header("vary"), "origin");
    let ask = |bench: &Bench, path: &str, body: &str, headers: &[Header]| {
        bench.client().send(&post(path, body, headers)).unwrap()
    };
    let both = [key.clone(), page.clone()];
    for (status, answer) in [
        (401, bench.ask(&[page.clone()])),
        (401, bench.ask(&[page.clone(), header("authorization", "Bearer sk-1")])),
        (404, ask(&bench, CHAT, r#"{"model":"nope"}"#, &both)),
        (404, ask(&bench, "/v1/nothing", BODY, &both)),
        (405, ask(&bench, "/v1/models", BODY, &both)),
        (400, ask(&bench, CHAT, "hello", &both)),
        (413, ask(&bench, CHAT, &format!(r#"{{"model":"chat","x":"{}"}}"#, "x".repeat(2 << 20)), &both)),
        (200, bench.client().send(&get("/v1/models", &both)).unwrap()),
    ] {
        assert_eq!((answer.status, allowed(&answer)), (status, PAGE), "{}", answer.text());
    }
    bench.change(|s| {
        super::limits::set(s, vec![super::limits::limit("one", (1, 60_000, 1))]);
    });
    bench.ask(&both);
    let limited = bench.ask(&both);
    assert_eq!((limited.status, allowed(&limited)), (429, PAGE), "{}", limited.text());
    bench.change(|s| super::limits::set(s, Vec::new()));
    bench.endpoints(&[]);
    let nobody = bench.ask(&both);
    assert_eq!((nobody.status, allowed(&nobody), nobody.header("retry-after")), (503, PAGE, "1"), "{}", nobody.text());
}

#[test]
fn a_pattern_takes_what_lies_under_its_domain_and_a_star_everything() {
    let (bench, _) = for_pages(&["https://*.example.com", "http://localhost:5173"]);
    for (origin, good) in [
        ("https://a.example.com", true),
        ("https://a.b-c.example.com", true),
        ("http://localhost:5173", true),
        ("https://example.com", false),
        ("https://a.example.com:8443", false),
        ("http://a.example.com", false),
        ("https://aXexample.com", false),
        ("https://a.exampleXcom", false),
        ("https://evil.test/.example.com", false),
        ("http://localhost:51730", false),
    ] {
        let answer = preflight(&bench, CHAT, origin);
        assert_eq!((answer.status == 204, allowed(&answer)), (good, if good { origin } else { "" }), "{origin}");
    }
    let (bench, key) = for_pages(&["*"]);
    for origin in ["https://any.test", "null", "chrome-extension://abc"] {
        assert_eq!(preflight(&bench, CHAT, origin).status, 204, "{origin}");
        assert_eq!(allowed(&bench.ask(&[key.clone(), header("origin", origin)])), "*");
    }
}

#[test]
fn without_the_setting_no_page_may_call_and_the_answer_says_what_to_set() {
    let (bench, key) = with_key();
    let answer = preflight(&bench, CHAT, PAGE);
    assert_eq!((answer.status, error_code(&answer).as_str(), allowed(&answer)), (403, "origin_not_allowed", ""));
    assert!(answer.text().contains("corsOrigins"));
    assert_eq!(allowed(&bench.ask(&[key, header("origin", PAGE)])), "");
    // Not a browser's question: an OPTIONS like any other, for which a key is wanted.
    let plain = bench.client().send(format!("OPTIONS {CHAT} HTTP/1.1\r\nhost: gateway\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(plain.status, 401);
}
