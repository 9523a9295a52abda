//! Versions change while requests flow: none fails, and each answer is of the version that its header names.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use serde_json::json;
use tidegate_engine::{ModelRoots, fake::answer_to};
use tidegate_worker::hotswap::report::Phase;

use crate::{
    harness::{Http, ask_with, chat_worker, loader, model_set, start_with, wait_for},
    streaming::read,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_during_fifty_swaps_is_of_the_version_that_it_names() {
    let worker = chat_worker(|c| c.delay = Duration::from_micros(300)).await;
    let (stop, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..6)
        .map(|client| {
            let (http, stop, good) = (Http::new(&worker), stop.clone(), good.clone());
            tokio::spawn(async move {
                for i in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let text = format!("client {client} asks {i}");
                    let stream = i % 2 == 0;
                    let answer = http.chat(&ask_with(&text, json!({"stream": stream}))).await;
                    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
                    let version = answer.header("x-tidegate-model-version").to_owned();
                    let content = if stream { read(&answer).0 } else { answer.content() };
                    assert_eq!(content, answer_to(&version, &text));
                    good.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for swap in 2..52 {
        let (new, old) = (format!("v{swap}"), format!("v{}", swap - 1));
        // As the control plane does it, and every third time without the old one in the set.
        let names: Vec<&str> = if swap % 3 == 0 { vec![&new] } else { vec![&new, &old] };
        worker.inlets.push_models(&model_set(&names)).unwrap();
        wait_for(&worker, &new, Phase::Serving).await;
        worker.inlets.push_models(&model_set(&[&new])).unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(good.load(Ordering::Relaxed) > 100);
    let answer = Http::new(&worker).chat(&ask_with("last", json!({}))).await;
    assert_eq!(answer.header("x-tidegate-model-version"), "v51");
    let mut versions = worker.versions.clone();
    let only = versions.wait_for(|all| all.len() == 1);
    tokio::time::timeout(Duration::from_secs(10), only).await.expect("old versions are gone").unwrap();
}

#[tokio::test]
async fn a_request_in_flight_stays_on_its_version() {
    let worker = chat_worker(|c| c.delay = Duration::from_millis(10)).await;
    let http = Http::new(&worker);
    let long = "word ".repeat(20);
    let asked = {
        let (http, long) = (http.clone(), long.clone());
        tokio::spawn(async move { http.chat(&ask_with(&long, json!({"stream": true}))).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    worker.inlets.push_models(&model_set(&["v2"])).unwrap();
    wait_for(&worker, "v2", Phase::Serving).await;
    let now = http.chat(&ask_with("x", json!({}))).await;
    assert_eq!(now.header("x-tidegate-model-version"), "v2");
    let answer = asked.await.unwrap();
    assert_eq!((read(&answer).0, answer.header("x-tidegate-model-version")), (answer_to("v1", &long), "v1"));
}

#[tokio::test]
async fn a_version_that_is_no_longer_wanted_lingers_for_who_still_names_it() {
    let worker = chat_worker(|_| {}).await;
    let http = Http::new(&worker);
    worker.inlets.push_models(&model_set(&["v2"])).unwrap();
    wait_for(&worker, "v2", Phase::Serving).await;
    let named = [("x-tidegate-model-version", "v1")];
    assert_eq!(http.chat_with(&named, &ask_with("x", json!({}))).await.content(), answer_to("v1", "x"));
    tokio::time::sleep(Duration::from_millis(600)).await;
    let late = http.chat_with(&named, &ask_with("x", json!({}))).await;
    assert_eq!((late.status, late.header("x-tidegate-retry")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
}

#[tokio::test]
async fn weights_that_do_not_load_leave_the_old_version_and_are_tried_again() {
    let loader = loader(|_| {});
    let refuse = loader.refuse.clone();
    let worker = start_with(loader).await;
    worker.inlets.push_models(&model_set(&["v1"])).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    refuse.lock().unwrap().push("v2".into());
    worker.inlets.push_models(&model_set(&["v2"])).unwrap();
    wait_for(&worker, "v2", Phase::Failed).await;
    let error = worker.versions.borrow().iter().find(|v| v.name == "v2").unwrap().error.clone();
    assert!(error.starts_with("TG-2017: "), "{error}");
    let http = Http::new(&worker);
    assert_eq!(http.chat(&ask_with("x", json!({}))).await.content(), answer_to("v1", "x"));
    refuse.lock().unwrap().clear();
    wait_for(&worker, "v2", Phase::Serving).await;
    assert_eq!(http.chat(&ask_with("x", json!({}))).await.content(), answer_to("v2", "x"));
}

#[tokio::test]
async fn a_push_that_is_not_valid_changes_nothing_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("v1")).unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join("out")).unwrap();
    let mut loader = loader(|_| {});
    loader.roots = Some(ModelRoots::new([dir.path().to_path_buf()]).unwrap());
    let worker = start_with(loader).await;
    worker.inlets.push_models(&model_set(&["v1"])).unwrap();
    wait_for(&worker, "v1", Phase::Serving).await;
    type Spoil = fn(&mut tidegate_proto::worker::ModelSet);
    let bad: Vec<(&str, Spoil)> = vec![
        ("TG-2013", |s| s.versions[0].uri = "file:out".into()),
        ("TG-2013", |s| s.versions[0].uri = "file:///etc".into()),
        ("TG-2011", |s| s.versions[0].uri = "file:../x".into()),
        ("TG-2011", |s| s.versions[0].uri = "https://example.com/x".into()),
        ("TG-2012", |s| s.versions[0].files[0].path = "../model.onnx".into()),
        ("TG-2012", |s| s.versions[0].files[0].path = "/etc/passwd".into()),
        ("64 lower-case hex", |s| s.versions[0].files[0].sha256 = "beef".into()),
        ("stands twice", |s| s.versions.push(s.versions[0].clone())),
        ("stands twice", |s| {
            let f = s.versions[0].files[0].clone();
            s.versions[0].files.push(f);
        }),
        ("tokenizer", |s| s.versions[0].tokenizer = "other.json".into()),
        ("chat template", |s| s.versions[0].chat_template = String::new()),
        ("task", |s| s.versions[0].task = 0),
        ("task", |s| s.versions[0].task = 99),
        ("no chat template", |s| s.versions[0].task = 2),
        ("files", |s| s.versions[0].files.clear()),
        ("name", |s| s.versions[0].name = "a b".into()),
        ("model_id", |s| s.model_id = String::new()),
        ("allowed", |s| s.timeouts.as_mut().unwrap().inference_ms = u32::MAX),
        ("allowed", |s| s.queue.as_mut().unwrap().max_requests = u32::MAX),
        ("allowed", |s| s.batching.as_mut().unwrap().max_batch = 1_000),
    ];
    for (expect, spoil) in bad {
        let mut set = model_set(&["v1"]);
        spoil(&mut set);
        let error = worker.inlets.push_models(&set).expect_err(expect).report();
        assert!(error.starts_with("TG-2110: model ") && error.contains(expect), "{expect}: {error}");
    }
    // A folder that is not there yet is a load that fails, not a push that is refused.
    worker.inlets.push_models(&model_set(&["v1", "v7"])).unwrap();
    assert_eq!(Http::new(&worker).chat(&ask_with("x", json!({}))).await.content(), answer_to("v1", "x"));
}
