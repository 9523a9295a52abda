//! Which names the admin API answers to, on every address of it.
use std::net::IpAddr;

use axum::body::Body;
use http::{Request, Version};
use tidegate_api::admin::{AdminState, Hosts, Tls, openapi_document, router};

use super::app::{Answer, App};

const OPEN: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/openapi.json"];

async fn ask(app: &App, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path).header("authorization", format!("Bearer {}", app.token));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.send_as_it_is(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_answered_nothing_at_any_address() {
    let app = App::start().await;
    let mut paths: Vec<String> = openapi_document()["paths"].as_object().unwrap().keys().cloned().collect();
    paths.push("/nothing/here".to_owned());
    for path in paths.iter().map(|path| path.replace("{plural}", "models").replace(['{', '}'], "")) {
        for host in ["evil.example", "evil.example:9080", "10.0.0.1", "[2001:db8::1]:9080", "localhost.evil.example"] {
            ask(&app, &path, &[("host", host)]).await.problem(421, "TG-1342");
        }
    }
    for path in OPEN {
        ask(&app, path, &[]).await.problem(400, "TG-1341");
        ask(&app, path, &[("host", "localhost"), ("host", "localhost")]).await.problem(400, "TG-1341");
        for odd in ["a b", "", "evil.example@localhost", "localhost/"] {
            ask(&app, path, &[("host", odd)]).await.problem(400, "TG-1341");
        }
        for host in [
            "localhost",
            "LOCALHOST:9080",
            "127.0.0.1:9080",
            "127.9.9.9",
            "[::1]:9080",
            "admin.example:1",
            "localhost.",
        ] {
            ask(&app, path, &[("host", host)]).await.expect(200);
        }
    }
}

#[tokio::test]
async fn in_http_2_the_authority_is_the_name() {
    let app = App::start().await;
    let request = |uri: &str| Request::get(uri).version(Version::HTTP_2).body(Body::empty()).unwrap();
    app.send_as_it_is(request("http://evil.example/metrics")).await.problem(421, "TG-1342");
    app.send_as_it_is(request("http://127.0.0.1:9080/metrics")).await.expect(200);
    let mut both = request("http://localhost/metrics");
    both.headers_mut().insert("host", http::HeaderValue::from_static("evil.example"));
    app.send_as_it_is(both).await.problem(400, "TG-1341");
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_and_our_own_is_not() {
    let app = App::start().await;
    let here = ("host", "localhost:9080");
    for path in OPEN {
        for origin in ["http://evil.example", "null", "http://localhost:3000", "", "http://127.0.0.1:9080"] {
            ask(&app, path, &[here, ("origin", origin)]).await.problem(403, "TG-1343");
        }
        for origin in ["http://localhost:9080", "https://localhost:9080", "https://admin.example:8443"] {
            ask(&app, path, &[here, ("origin", origin)]).await.expect(200);
        }
        ask(&app, path, &[here, ("sec-fetch-site", "cross-site")]).await.problem(403, "TG-1343");
        for site in ["none", "same-origin"] {
            ask(&app, path, &[here, ("sec-fetch-site", site)]).await.expect(200);
        }
    }
}

#[tokio::test]
async fn beyond_loopback_the_certificates_names_and_addresses_are_ours_too() {
    let app = App::start().await;
    let names = ["control.example".to_owned(), "*.pods.example".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let tls = Tls::from_pem(&made.cert.pem(), &made.signing_key.serialize_pem()).unwrap();
    let on = |address: &str| {
        let hosts = Hosts::new(address.parse::<IpAddr>().unwrap(), &[], Some(&tls));
        App { router: router(AdminState { hosts, ..app.state.clone() }), ..app.clone() }
    };
    let everywhere = on("0.0.0.0");
    for host in ["control.example:443", "a.pods.example", "10.2.3.4:9080", "[fd00::7]:9080", "localhost"] {
        ask(&everywhere, "/healthz", &[("host", host)]).await.expect(200);
    }
    for host in ["evil.example", "pods.example", "a.b.pods.example", "control.example.evil.example"] {
        ask(&everywhere, "/healthz", &[("host", host)]).await.problem(421, "TG-1342");
    }
    ask(&on("127.0.0.1"), "/healthz", &[("host", "10.2.3.4:9080")]).await.problem(421, "TG-1342");
    ask(&on("::ffff:127.0.0.1"), "/healthz", &[("host", "10.2.3.4:9080")]).await.problem(421, "TG-1342");
}
