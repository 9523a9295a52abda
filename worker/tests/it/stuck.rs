//! An engine call that cannot be stopped: it costs its own version its requests, and nobody else anything.
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use http::StatusCode;
use tidegate_engine::fake::answer_to;
use tidegate_proto::{
    fleet::{State, VersionState, WorkerReport},
    worker::{Queue, Timeouts},
};
use tidegate_worker::{
    fleet::Reporter,
    hotswap::report::Phase,
    lane::{
        job::{Event, LaneStats},
        reply::{ChatOut, Held, Waiter},
    },
    worker::Worker,
};
use tokio::sync::watch;

use crate::{
    control::Plane,
    engines::{Before, Scripts},
    harness::{Http, TestLoader, ask, eventually, loader, model_set, start_with, wait_for},
};

/// The first engine call of all hangs until it is released; the flag says that it does.
fn hang_once() -> (mpsc::Sender<()>, Arc<AtomicBool>, Scripts<impl Fn() -> Before>) {
    let (release, wait) = mpsc::channel::<()>();
    let (wait, hangs) = (Arc::new(Mutex::new(Some(wait))), Arc::new(AtomicBool::new(false)));
    let flag = hangs.clone();
    let script = move || -> Before {
        let (wait, hangs) = (wait.clone(), flag.clone());
        Box::new(move |_| {
            let wait = wait.lock().unwrap().take();
            if let Some(wait) = wait {
                hangs.store(true, Ordering::SeqCst);
                // An error means that the test has ended.
                let _ = wait.recv();
            }
            Ok(())
        })
    };
    (release, hangs, Scripts(script))
}

async fn report_to(plane: &Plane, worker: &Worker) {
    let (address, _) = plane.listen("127.0.0.1:0").await;
    let reporter = Reporter {
        control_plane: tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap(),
        token: "tgn_x".into(),
        node_id: "w".into(),
        pool: "default/chat".into(),
        address: worker.address.to_string(),
        incarnation: "1".into(),
        app: worker.app.clone(),
        versions: worker.versions.clone(),
        leave: watch::Sender::new(false),
    };
    tokio::spawn(reporter.run());
}

fn says(report: &WorkerReport, name: &str, state: VersionState) -> bool {
    report.versions.iter().any(|v| v.name == name && v.state() == state)
}

const V1: [(&str, &str); 1] = [("x-tidegate-model-version", "v1")];
const V2: [(&str, &str); 1] = [("x-tidegate-model-version", "v2")];

#[tokio::test]
async fn an_engine_call_that_cannot_be_stopped_takes_its_version_out_until_it_ends() {
    let (release, hangs, scripts) = hang_once();
    let worker = start_with(scripts).await;
    let mut set = model_set(&["v1", "v2"]);
    set.timeouts = Some(Timeouts { inference_ms: 200, drain_ms: 1_000 });
    set.queue = Some(Queue { max_requests: 2 });
    worker.inlets.push_models(&set).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    wait_for(&worker, "v2", Phase::Serving).await;
    let plane = Plane::new();
    report_to(&plane, &worker).await;
    plane.reported(|r| says(r, "v1", VersionState::Serving)).await;
    let (http, queue) = (Http::new(&worker), worker.app.queue.clone());
    let hung = {
        let http = http.clone();
        tokio::spawn(async move { http.chat_with(&V1, &ask("x")).await })
    };
    eventually("the call has begun", || hangs.load(Ordering::SeqCst)).await;
    let answer = tokio::time::timeout(Duration::from_secs(15), hung).await.expect("an answer").unwrap();
    assert_eq!((answer.status, answer.error("code").as_str()), (StatusCode::GATEWAY_TIMEOUT, "TG-2230"));
    assert_eq!(queue.inside(), 0, "the call goes on, its place is free");
    let report = plane.reported(|r| says(r, "v1", VersionState::Failed)).await;
    assert!(report.versions.iter().any(|v| v.error.starts_with("TG-2222: ")), "{report:?}");
    assert!(report.state() == State::Ready && says(&report, "v2", VersionState::Serving), "{report:?}");
    assert_eq!(http.get("/readyz").await.status, StatusCode::OK);
    let refused = http.chat_with(&V1, &ask("x")).await;
    assert_eq!((refused.error("code").as_str(), refused.header("x-tidegate-retry")), ("TG-2222", "1"));
    for _ in 0..3 {
        assert_eq!(http.chat_with(&V2, &ask("x")).await.content(), answer_to("v2", "x"));
    }
    set.versions.truncate(1);
    worker.inlets.push_models(&set).unwrap();
    eventually("nothing answers", || !worker.app.is_ready()).await;
    assert_eq!(http.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    plane.reported(|r| r.state() == State::Starting).await;
    release.send(()).unwrap();
    plane.reported(|r| r.state() == State::Ready && says(r, "v1", VersionState::Serving)).await;
    assert_eq!(http.chat(&ask("x")).await.content(), answer_to("v1", "x"));
}

#[tokio::test]
async fn who_leaves_while_a_hung_call_is_in_front_gives_its_place_back_at_once() {
    let (release, hangs, scripts) = hang_once();
    let worker = start_with(scripts).await;
    let mut set = model_set(&["v1", "v2"]);
    set.queue = Some(Queue { max_requests: 2 });
    worker.inlets.push_models(&set).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    wait_for(&worker, "v2", Phase::Serving).await;
    let queue = worker.app.queue.clone();
    let client = |headers: &'static [(&str, &str)]| {
        let http = Http::new(&worker);
        tokio::spawn(async move { http.chat_with(headers, &ask("x")).await })
    };
    let hung = client(&V1);
    eventually("the call has begun", || hangs.load(Ordering::SeqCst)).await;
    let waits = client(&V1);
    eventually("another waits", || queue.inside() == 2).await;
    let full = Http::new(&worker).chat_with(&V2, &ask("x")).await;
    assert_eq!(full.error("code"), "TG-2223");
    waits.abort();
    eventually("the place is free", || queue.inside() == 1).await;
    assert_eq!(Http::new(&worker).chat_with(&V2, &ask("x")).await.content(), answer_to("v2", "x"));
    assert!(!hung.is_finished(), "the call is still in front");
    release.send(()).unwrap();
    assert_eq!(hung.await.unwrap().content(), answer_to("v1", "x"));
    assert_eq!(queue.inside(), 0);
}

/// Says whether what was held is free.
struct Place(Arc<AtomicBool>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn who_leaves_a_call_that_runs_leaves_the_place_to_the_lane_unless_that_is_stuck() {
    for (begun, stuck, gives_back) in
        [(false, false, true), (false, true, true), (true, false, false), (true, true, true)]
    {
        let free = Arc::new(AtomicBool::new(false));
        let held = Held::new(Place(free.clone()));
        let (events, mut heard) = tokio::sync::mpsc::channel(4);
        let lane = Arc::new(LaneStats::default());
        let waiter = Waiter::new(&held, &lane);
        let out = ChatOut::new(events, held);
        if begun {
            out.begin();
        }
        lane.stuck.store(stuck, Ordering::SeqCst);
        drop(waiter);
        assert_eq!(free.load(Ordering::SeqCst), gives_back, "begun {begun}, stuck {stuck}");
        drop(out);
        assert!(free.load(Ordering::SeqCst), "freed with the request at the latest");
        assert_eq!(matches!(heard.try_recv(), Ok(Event::Failed(_))), !begun);
    }
}

/// A load that takes long, or never ends, under a name that answers: the report says that the answers are of the old files.
#[tokio::test]
async fn new_files_under_the_same_name_are_told_apart_from_those_that_answer() {
    let loader = TestLoader { load_time: Duration::from_secs(1), ..loader(|_| {}) };
    let worker = start_with(loader).await;
    let plane = Plane::new();
    report_to(&plane, &worker).await;
    let mut set = model_set(&["v1"]);
    worker.inlets.push_models(&set).unwrap();
    let line = |r: &WorkerReport| r.versions.first().map(|v| (v.state(), v.outdated));
    plane.reported(|r| line(r) == Some((VersionState::Serving, false))).await;
    set.versions[0].files[0].sha256 = "f".repeat(64);
    worker.inlets.push_models(&set).unwrap();
    plane.reported(|r| line(r) == Some((VersionState::Serving, true))).await;
    plane.reported(|r| line(r) == Some((VersionState::Serving, false))).await;
}
