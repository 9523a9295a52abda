//! What workers may say of themselves, and what becomes of it.
use std::time::Duration;

use tidegate_proto::fleet::{Directive, State, VersionReport, VersionState, WorkerReport, fleet_client::FleetClient};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use crate::harness::{Server, eventually, with_token};

struct Worker {
    reports: mpsc::Sender<WorkerReport>,
    directives: Streaming<Directive>,
}

impl Worker {
    async fn open(server: &Server, token: &str) -> Self {
        let (reports, outbound) = mpsc::channel(8);
        let stream = with_token(tokio_stream::wrappers::ReceiverStream::new(outbound), token);
        let directives = FleetClient::new(server.channel().await).report(stream).await.unwrap().into_inner();
        Self { reports, directives }
    }

    async fn next(&mut self) -> Result<Directive, Status> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.directives.message()).await.expect("in time");
        next?.ok_or_else(|| Status::ok("ended"))
    }
}

fn report(node: &str, address: &str) -> WorkerReport {
    let version = VersionReport { name: "v1".into(), state: VersionState::Serving.into(), ..Default::default() };
    WorkerReport {
        node_id: node.into(),
        incarnation: format!("{node}-1"),
        pool: "default/chat".into(),
        address: address.into(),
        state: State::Ready.into(),
        versions: vec![version],
        ..Default::default()
    }
}

#[tokio::test]
async fn a_report_becomes_a_lease_that_outlives_the_stream_while_somebody_listens_at_its_address() {
    let server = Server::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut worker = Worker::open(&server, "tgn_w1").await;
    assert_eq!(worker.next().await.unwrap(), Directive { report_interval_ms: 200, drain: false });
    worker.reports.send(report("w1", &address.to_string())).await.unwrap();
    eventually("the lease is held", || server.leases.get("w1").is_some()).await;
    let lease = server.leases.get("w1").unwrap();
    assert_eq!((lease.ready, lease.address, lease.versions[0].name.as_str()), (true, address, "v1"));
    let seen = server.nodes.get("w1").unwrap().worker.unwrap();
    assert_eq!((seen.connected, seen.state.as_str(), seen.versions[0].state.as_str()), (true, "Ready", "Serving"));
    drop(worker);
    eventually("the stream's end is known", || !server.nodes.get("w1").unwrap().worker.unwrap().connected).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(server.leases.get("w1").is_some(), "the lease must live on until it expires");
}

#[tokio::test]
async fn a_worker_whose_stream_ended_and_whose_port_refuses_is_gone_at_once() {
    let server = Server::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut worker = Worker::open(&server, "tgn_w1").await;
    worker.next().await.unwrap();
    worker.reports.send(report("w1", &address.to_string())).await.unwrap();
    eventually("the lease is held", || server.leases.get("w1").is_some()).await;
    drop(worker);
    tokio::time::sleep(Duration::from_millis(150)).await;
    // As when a process dies: the listener goes a moment after the stream.
    drop(listener);
    let ended = std::time::Instant::now();
    eventually("the lease is gone", || server.leases.get("w1").is_none()).await;
    assert!(ended.elapsed() < Duration::from_millis(1500), "{:?}", ended.elapsed());
}

#[tokio::test]
async fn the_same_facts_are_written_only_to_renew() {
    let server = Server::start().await;
    let worker = Worker::open(&server, "tgn_w1").await;
    for _ in 0..50 {
        worker.reports.send(report("w1", "127.0.0.1:4001")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    eventually("the lease is held", || server.leases.get("w1").is_some()).await;
    let writes = *server.leases.writes.lock().unwrap();
    assert!((1..=8).contains(&writes), "{writes} writes for 50 equal reports in about one interval");
}

#[tokio::test]
async fn a_worker_speaks_only_for_itself() {
    let server = Server::start().await;
    let mut holder = Worker::open(&server, "tgn_w2").await;
    holder.next().await.unwrap();
    holder.reports.send(report("w2", "127.0.0.1:4002")).await.unwrap();
    eventually("the lease is held", || server.leases.get("w2").is_some()).await;
    let other_pool = WorkerReport { pool: "default/embed".into(), ..report("w1", "127.0.0.1:4001") };
    let no_state = WorkerReport { state: 0, ..report("w1", "127.0.0.1:4001") };
    for (bad, code, text) in [
        (report("w2", "127.0.0.1:4001"), Code::PermissionDenied, "TG-1412"),
        (other_pool, Code::PermissionDenied, "TG-1412"),
        (report("w1", "10.0.0.9:4001"), Code::PermissionDenied, "TG-1413"),
        (report("w1", "0.0.0.0:4001"), Code::PermissionDenied, "TG-1413"),
        (report("w1", "127.0.0.1:0"), Code::PermissionDenied, "TG-1413"),
        (
            report("w1", "127.0.0.1:4002"),
            Code::PermissionDenied,
            "TG-1414: address 127.0.0.1:4002 is held by the live node `w2`",
        ),
        (report("w1", "localhost:4001"), Code::InvalidArgument, "TG-1415"),
        (no_state, Code::InvalidArgument, "TG-1415"),
    ] {
        let mut worker = Worker::open(&server, "tgn_w1").await;
        worker.next().await.unwrap();
        worker.reports.send(bad).await.unwrap();
        let refusal = worker.next().await.unwrap_err();
        assert_eq!(refusal.code(), code, "{refusal}");
        assert!(refusal.message().starts_with(text), "{refusal}");
        assert!(server.leases.get("w1").is_none());
    }
}

#[tokio::test]
async fn a_draining_worker_gives_up_its_endpoints_at_once() {
    let server = Server::start().await;
    let worker = Worker::open(&server, "tgn_w1").await;
    worker.reports.send(report("w1", "127.0.0.1:4001")).await.unwrap();
    eventually("the lease is held", || server.leases.get("w1").is_some()).await;
    let draining = WorkerReport { state: State::Draining.into(), ..report("w1", "127.0.0.1:4001") };
    worker.reports.send(draining).await.unwrap();
    eventually("the lease is gone", || server.leases.get("w1").is_none()).await;
}

#[tokio::test]
async fn while_the_store_is_away_the_stream_stays_and_the_newest_facts_arrive_later() {
    let server = Server::start().await;
    *server.leases.away.lock().unwrap() = true;
    let mut worker = Worker::open(&server, "tgn_w1").await;
    worker.next().await.unwrap();
    worker.reports.send(report("w1", "127.0.0.1:4001")).await.unwrap();
    worker.reports.send(report("w1", "127.0.0.1:4009")).await.unwrap();
    eventually("a write was tried", || *server.leases.writes.lock().unwrap() >= 2).await;
    assert!(server.leases.get("w1").is_none());
    *server.leases.away.lock().unwrap() = false;
    eventually("the newest facts are held", || {
        server.leases.get("w1").is_some_and(|lease| lease.address.port() == 4009)
    })
    .await;
}
