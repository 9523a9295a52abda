//! Readiness, an absent database, the socket, TLS.
use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use tidegate_api::{
    admin::{AdminState, BindError, Tls, guard_bind, router, serve},
    credentials::TokenTable,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    app::{App, limit},
    pg,
};

#[tokio::test]
async fn ready_means_a_store_that_can_be_written_and_a_first_snapshot() {
    let mut server = pg::Server::start(&[]);
    let app = App::on(&server.database()).await;
    let ready = || app.send(Request::get("/readyz").body(Body::empty()).unwrap());
    ready().await.expect(200);
    app.snapshot.send_replace(None);
    ready().await.problem(503, "TG-1310");
    app.refresh().await;
    ready().await.expect(200);
    server.kill();
    let away = ready().await.problem(503, "TG-1200");
    assert_eq!(away.header("retry-after"), "1");
    assert!(away.json["detail"].as_str().unwrap().contains("not reachable"), "{}", away.text);
    assert!(!away.text.contains("tg-pg-"), "nothing of the database's address is told: {}", away.text);
    app.get("/healthz").await.expect(200);
    app.get("/metrics").await.expect(200);
    app.put("/api/v1/namespaces/default/ratelimitpolicies/l", limit("l", "chat", 1)).await.problem(503, "TG-1200");
    app.get("/api/v1/models").await.problem(503, "TG-1200");
    server.restart();
    ready().await.expect(200);
    app.put("/api/v1/namespaces/default/ratelimitpolicies/l", limit("l", "chat", 1)).await;
    app.get("/api/v1/namespaces/default/ratelimitpolicies/l").await.expect(200);
}

#[tokio::test]
async fn until_the_store_was_read_a_good_token_is_not_called_bad() {
    let app = App::start().await;
    let tokens = Arc::new(TokenTable::new());
    let state = AdminState { tokens: tokens.clone(), ..app.state.clone() };
    let starting = App { router: router(state), tokens, ..app };
    let early = starting.get("/api/v1/models").await.problem(503, "TG-1310");
    assert_eq!(early.header("retry-after"), "1");
    starting.get("/healthz").await.expect(200);
    starting.refresh().await;
    starting.get("/api/v1/models").await.expect(200);
}

#[tokio::test]
async fn probes_are_answered_however_busy_the_api_is() {
    let app = App::start().await;
    // Bodies that never end hold every place.
    let mut held = Vec::new();
    for _ in 0..256 {
        let body = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let mut request = Box::pin(app.post("/api/v1/apply", body));
        assert!(futures::poll!(&mut request).is_pending());
        held.push(request);
    }
    let busy = app.get("/api/v1/models").await.problem(503, "TG-1311");
    assert_eq!(busy.header("retry-after"), "1");
    for probe in ["/healthz", "/readyz", "/metrics"] {
        app.get(probe).await.expect(200);
    }
    app.post("/readyz", Body::empty()).await.problem(405, "TG-1308");
    held.pop();
    app.get("/api/v1/models").await.expect(200);
}

#[test]
fn beyond_loopback_it_takes_tls_and_a_token() {
    let ok = |addr: &str, tls, token| guard_bind(addr.parse::<SocketAddr>().unwrap(), tls, token).is_ok();
    for loopback in ["127.0.0.1:9080", "127.9.9.9:1", "[::1]:9080", "[::ffff:127.0.0.1]:9080"] {
        assert!(ok(loopback, false, false), "{loopback}");
    }
    for open in ["0.0.0.0:9080", "10.0.0.1:9080", "[::]:9080", "[::ffff:10.0.0.1]:9080"] {
        assert!(!ok(open, false, false) && !ok(open, true, false) && !ok(open, false, true), "{open}");
        assert!(ok(open, true, true), "{open}");
    }
    let refused = guard_bind("0.0.0.0:9080".parse().unwrap(), false, true).unwrap_err();
    assert!(matches!(refused, BindError::Exposed { .. }));
    assert_eq!(refused.code(), "TG-1320");
}

#[tokio::test]
async fn it_serves_on_a_socket_and_stops_when_asked() {
    let app = App::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve(listener, app.router.clone(), None, async {
        let _ = stopped.await;
    }));
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let request = |path: &str| {
        Request::builder()
            .method(Method::GET)
            .uri(format!("http://{addr}{path}"))
            .body(Empty::<bytes::Bytes>::new())
            .unwrap()
    };
    let answer = client.request(request("/healthz")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "{\"status\":\"ok\"}");
    assert_eq!(client.request(request("/api/v1/models")).await.unwrap().status(), 401);
    // Rubbish instead of HTTP ends that connection only.
    let mut rubbish = TcpStream::connect(addr).await.unwrap();
    rubbish.write_all(b"\x16\x03\x01rubbish\r\n\r\n").await.unwrap();
    let mut back = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), rubbish.read_to_end(&mut back)).await.unwrap();
    assert_eq!(client.request(request("/healthz")).await.unwrap().status(), 200);
    drop(client);
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(8), served).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused() {
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (one, other) = (made("localhost"), made("localhost"));
    let key = one.signing_key.serialize_pem();
    for (cert, key, why) in [
        ("", "", "empty"),
        ("not a certificate", "not a key", "no PEM"),
        (&other.cert.pem(), key.as_str(), "the key of another"),
    ] {
        assert_eq!(Tls::from_pem(cert, key).unwrap_err().code(), "TG-1321", "{why}");
    }
}

#[tokio::test]
async fn over_tls_it_answers_whoever_trusts_its_certificate() {
    let app = App::start().await;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = Tls::from_pem(&made.cert.pem(), &made.signing_key.serialize_pem()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let served = tokio::spawn(serve(listener, app.router.clone(), Some(tls), std::future::pending()));

    let ask = move |trusted: Option<rustls::pki_types::CertificateDer<'static>>| {
        use std::io::{Read, Write};
        let mut roots = rustls::RootCertStore::empty();
        trusted.into_iter().for_each(|c| roots.add(c).unwrap());
        let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let connection = rustls::ClientConnection::new(config.into(), name).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, std::net::TcpStream::connect(addr).unwrap());
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => Ok(String::from_utf8(answer).unwrap()),
            Err(_) if !answer.is_empty() => Ok(String::from_utf8(answer).unwrap()),
            Err(e) => Err(e),
        }
    };
    let trusted = made.cert.der().clone();
    let answer = tokio::task::spawn_blocking(move || ask(Some(trusted))).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        tokio::task::spawn_blocking(move || ask(None)).await.unwrap().is_err(),
        "an unknown certificate is refused"
    );
    served.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_writes_at_once_at_many_objects_are_all_answered_and_readiness_does_not_suffer() {
    let app = App::start().await;
    for batch in 0..20 {
        let many: Vec<String> = (0..100).map(|n| limit(&format!("l{batch}-{n}"), &format!("m{n}"), 1)).collect();
        app.post("/api/v1/apply", super::app::documents(&many)).await.expect(200);
    }
    let busy = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let probe = tokio::spawn({
        let (app, busy) = (app.clone(), busy.clone());
        async move {
            while busy.load(std::sync::atomic::Ordering::Relaxed) {
                app.get("/readyz").await.expect(200);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let writers = (0..50).map(|n| {
        let app = app.clone();
        tokio::spawn(async move {
            let path = format!("/api/v1/namespaces/default/ratelimitpolicies/w{n}");
            let answer = app.put(&path, limit(&format!("w{n}"), "nothing", 1)).await.expect(201);
            assert!(!answer.header("warning").is_empty(), "its target is not there: {:?}", answer.headers);
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    busy.store(false, std::sync::atomic::Ordering::Relaxed);
    probe.await.unwrap();
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_told_that_and_nothing_is_done() {
    let app = App::start().await;
    let body = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let answer = app.post("/api/v1/apply", body).await.problem(408, "TG-1340");
    assert_eq!(answer.header("connection"), "close");
}

#[tokio::test]
async fn what_is_wrong_with_a_query_or_a_header_is_said_with_what_was_sent() {
    let app = App::start().await;
    let said = |answer: super::app::Answer| answer.json["detail"].as_str().unwrap().to_owned();
    let limit = said(app.get("/api/v1/models?limit=many").await.problem(400, "TG-1304"));
    assert!(limit.contains("limit") && limit.contains("expected a whole number"), "{limit}");
    let path = "/api/v1/namespaces/default/models/m";
    let tag = app.call((Method::DELETE, path), &[("if-match", "abc")], Body::empty()).await.problem(400, "TG-1304");
    let tag = said(tag);
    assert!(tag.contains("abc") && tag.contains("\"42\""), "{tag}");
}
