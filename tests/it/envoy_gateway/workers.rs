//! Workers that drain, die, vanish or are replaced: what has not begun succeeds elsewhere, what streams is never cut by a change.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

fn all_succeed(bench: &Bench, n: usize, key: &Header) {
    let mut client = bench.client();
    for i in 0..n {
        let answer = client.send(&post(CHAT, BODY, &[key.clone(), header("x-user-id", i.to_string())])).unwrap();
        assert_eq!(answer.status, 200, "request {i}: {}", answer.text());
    }
}

#[test]
fn what_a_worker_did_not_begin_succeeds_on_another() {
    let (mut bench, key) = with_key();
    let good = EchoOrigin::start().unwrap().address;
    let asked = Arc::new(AtomicUsize::new(0));
    let (first, second) = (asked.clone(), asked.clone());
    let draining = origin(move |_, socket| {
        first.fetch_add(1, Ordering::SeqCst);
        socket
            .write_all(b"HTTP/1.1 503 Service Unavailable\r\nx-tidegate-retry: 1\r\ncontent-length: 4\r\n\r\nbusy")
            .is_ok()
    });
    let dying = origin(move |_, _| {
        second.fetch_add(1, Ordering::SeqCst);
        false
    });
    for bad in [vec![draining], vec![dying], vec![nobody()], vec![nobody(), draining]] {
        asked.store(0, Ordering::SeqCst);
        let mut endpoints = bad.clone();
        endpoints.push(good);
        bench.endpoints(&endpoints);
        all_succeed(&bench, 60, &key);
        assert!(
            bad.len() > 1 || bad[0] != draining || asked.load(Ordering::SeqCst) > 0,
            "the bad worker was never asked"
        );
    }
}

#[test]
fn without_a_worker_the_answer_says_so_and_keeps_no_retry_mark() {
    let (mut bench, key) = with_key();
    let draining = origin(|_, socket| {
        socket
            .write_all(b"HTTP/1.1 503 Service Unavailable\r\nx-tidegate-retry: 1\r\ncontent-length: 4\r\n\r\nbusy")
            .is_ok()
    });
    bench.endpoints(&[]);
    let answer = bench.ask(&[key.clone()]);
    assert_eq!((answer.status, error_code(&answer).as_str()), (503, "no_worker"));
    bench.endpoints(&[nobody()]);
    let answer = bench.ask(&[key.clone()]);
    assert_eq!((answer.status, error_code(&answer).as_str()), (503, "worker_lost"));
    bench.endpoints(&[draining]);
    let answer = bench.ask(&[key]);
    assert_eq!((answer.status, answer.header("x-tidegate-retry")), (503, ""));
}

#[test]
fn a_worker_that_dies_in_its_answer_ends_the_clients_answer_with_an_error() {
    let (mut bench, key) = with_key();
    let half = origin(|_, socket| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
        std::thread::sleep(Duration::from_millis(200));
        false
    });
    bench.endpoints(&[half]);
    assert!(bench.client().send(&post(CHAT, BODY, &[key])).is_err());
}

#[test]
fn no_change_of_policy_cuts_an_open_stream() {
    let (mut bench, key) = with_key();
    let finish = Arc::new(AtomicBool::new(false));
    let end = finish.clone();
    let stream = origin(move |_, socket| {
        let _ = socket
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        while !end.load(Ordering::SeqCst) {
            if socket.write_all(b"8\r\ndata: x\n\r\n").is_err() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        socket.write_all(b"0\r\n\r\n").is_ok()
    });
    bench.endpoints(&[stream]);
    let mut client = bench.client();
    let reader = std::thread::spawn(move || client.send(&post(CHAT, BODY, &[key])));
    std::thread::sleep(Duration::from_millis(200));
    let good = EchoOrigin::start().unwrap().address;
    let second = Key::new("k2", "globex");
    let open = |bench: &Bench| assert_eq!(bench.envoy.stat("http.gateway.downstream_rq_active").unwrap(), 1);
    open(&bench);
    bench.change(|s| {
        s.api_keys.clear();
        second.add_to(s);
    });
    open(&bench);
    bench.change(|s| {
        s.arms.values_mut().for_each(|arm| {
            arm.endpoints = vec![good];
            arm.max_concurrency = Some(9);
        });
    });
    open(&bench);
    assert_eq!(bench.ask(&[second.header()]).status, 200);
    bench.change(|s| {
        s.arms.remove("model.default.chat.v2");
        s.targets[0].split.intervals.retain(|i| i.arm.ends_with("v1"));
    });
    open(&bench);
    bench.change(|s| {
        let mut other = s.arms.remove("model.default.chat.v1").unwrap();
        other.cluster = "model.default.chat.v3".to_owned();
        other.version = "v3".to_owned();
        s.targets[0].split.intervals.iter_mut().for_each(|i| i.arm = other.cluster.clone());
        s.arms.insert(other.cluster.clone(), other);
    });
    open(&bench);
    assert_eq!(bench.envoy.stat("cluster_manager.cluster_removed").unwrap(), 2);
    finish.store(true, Ordering::SeqCst);
    let answer = reader.join().unwrap().unwrap();
    assert!(answer.text().starts_with("data: x\ndata: x\n"));
}
