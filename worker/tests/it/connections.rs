//! Clients that send nothing, send half, or do not read: they hold neither connections nor places.
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tidegate_proto::worker::{Limit, LimitSet};
use tidegate_worker::{
    hotswap::report::Phase,
    worker::{Parts, Worker},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{
    Http, ask, ask_with, chat_worker, embedding_set, eventually, loader, parts, start_with, wait_for,
};

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: worker\r\n\r\n";

async fn healthy(connection: &mut TcpStream) -> bool {
    connection.write_all(HEALTH).await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"ok\n") {
        let mut more = [0; 512];
        match connection.read(&mut more).await {
            Ok(n) if n > 0 => seen.extend_from_slice(&more[..n]),
            Ok(_) | Err(_) => return false,
        }
    }
    seen.starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn a_connection_without_a_first_request_is_closed_and_an_idle_one_lives() {
    let first_request = Duration::from_millis(500);
    let worker = Worker::start(Parts { first_request, ..parts(loader(|_| {})) }).await.unwrap();
    let mut idle = TcpStream::connect(worker.address).await.unwrap();
    assert!(healthy(&mut idle).await);
    for half in ["", "\r\n\r\n", "POST /v1/chat/completions HTTP/1.1\r\nhost: worker\r\n", "PRI * HTTP/2.0\r\n"] {
        let mut connection = TcpStream::connect(worker.address).await.unwrap();
        connection.write_all(half.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(10), connection.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{half:?} holds its connection");
    }
    // By now it has been idle for several times as long.
    assert!(healthy(&mut idle).await, "an idle connection was cut");
}

#[tokio::test]
async fn a_client_that_never_reads_gives_its_place_and_permit_back_when_its_answer_ends() {
    let worker = chat_worker(|_| {}).await;
    let limit = Limit { id: "default/p/c".into(), concurrency: Some(1), ..Limit::default() };
    worker.inlets.push_limits(&LimitSet { name: "default/chat".into(), limits: vec![limit] }).unwrap();
    let stream = TcpStream::connect(worker.address).await.unwrap();
    // With a window of 0 no byte of an answer can be sent, so nobody ever asks its body for one.
    let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let body = Full::new(Bytes::from(ask_with("x", json!({"stream": true})).to_string()));
    let uri = format!("http://{}/v1/chat/completions", worker.address);
    let request = Request::post(uri).header("content-type", "application/json");
    let unread = client.send_request(request.body(body).unwrap()).await.unwrap();
    assert_eq!(unread.status(), StatusCode::OK);
    eventually("the place is free", || worker.app.queue.inside() == 0).await;
    assert_eq!(Http::new(&worker).chat(&ask("y")).await.status, StatusCode::OK, "the permit is free");
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_may_take_the_whole_grace_time_to_be_read() {
    let worker = start_with(loader(|c| c.dimensions = 4_096)).await;
    worker.inlets.push_models(&embedding_set()).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    let (queue, http) = (worker.app.queue.clone(), Http::new(&worker));
    let inputs: Vec<String> = (0..768).map(|n| format!("text {n}")).collect();
    let body = json!({"model": "embed", "input": inputs}).to_string();
    let answer = http.open("POST /v1/embeddings", &[], body).await;
    eventually("the place is free", || queue.inside() == 0).await;
    let mut leaving = tokio::spawn(worker.drain(Duration::ZERO, Duration::from_secs(30)));
    let early = tokio::time::timeout(Duration::from_millis(2_500), &mut leaving).await;
    assert!(early.is_err(), "the worker left while its answer was not read");
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let whole: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(whole["data"].as_array().unwrap().len(), 768);
    drop(http);
    tokio::time::timeout(Duration::from_secs(10), leaving).await.expect("in time").unwrap();
}
