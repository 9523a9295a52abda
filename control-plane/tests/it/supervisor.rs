//! `tidegate up`: start, restart, stop, and every way to end it, with the real Postgres and small real children.
use std::{os::unix::fs::MetadataExt as _, path::Path, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::scene::{PROGRAM, Scene, all_gone, command, descendants, eventually, is_root};

const WORKER: &str = "default.chat-v1.0";

fn want(scene: &Scene, token: Option<&str>) -> (u16, serde_json::Value) {
    let mut worker = json!({"name": WORKER, "nodeId": "default.chat-v1.0", "pool": "default/chat"});
    if let Some(token) = token {
        worker["token"] = json!(token);
    }
    scene.supervisor("PUT", "/v1/workers", &json!({"workers": [worker]}).to_string())
}

fn kill9(pid: i64) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn up_starts_restarts_and_ctrl_c_leaves_nothing_running() {
    let mut scene = Scene::new();
    scene.start(Path::new(PROGRAM), &[]);
    let printed = scene.printed();
    assert!(printed.contains("postgres ready") && printed.contains("control plane ready"), "{printed}");

    // Its files: private ones private, the URLs readable.
    for (file, mode) in
        [("postgres-password", 0o600), ("supervisor.sock", 0o600), ("run", 0o700), ("logs", 0o700), ("postgres", 0o700)]
    {
        assert_eq!(std::fs::metadata(scene.data.join(file)).unwrap().mode() & 0o777, mode, "{file}");
    }
    let urls: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(scene.data.join("up.json")).unwrap()).unwrap();
    assert_eq!(urls["pid"], scene.pid());
    let password = std::fs::read_to_string(scene.data.join("postgres-password")).unwrap();
    assert!(password.len() >= 32);

    // Postgres listens on no port and does not run as root.
    let postgres = scene.part_pid("postgres", None);
    let owner = std::fs::metadata(format!("/proc/{postgres}")).unwrap().uid();
    assert_ne!(owner, 0, "postgres runs as root");
    assert!(scene.data.join("models").is_dir(), "the default folder of models is made");
    let said = scene.printed();
    assert!(!said.contains(" INFO ") && !said.contains(" DEBUG "), "quiet unless it is asked: {said}");

    scene.pause_serve(true);
    worker_life(&scene, password.trim());
    scene.pause_serve(false);

    // Every part that is killed comes back.
    for part in ["serve", "postgres"] {
        let pid = scene.part_pid(part, None);
        kill9(pid);
        scene.part_pid(part, Some(pid));
        scene.await_readiness();
    }

    let processes = descendants(scene.pid());
    assert!(processes.len() >= 4, "{processes:?}");
    scene.signal(Signal::INT);
    assert_eq!(scene.ended(), Some(0), "{}", scene.printed());
    all_gone(&processes);
    assert!(scene.printed().ends_with("stopped; nothing is left running\n"), "{}", scene.printed());
    assert!(!scene.data.join("supervisor.sock").exists() && !scene.data.join("up.json").exists());
    assert!(!scene.data.join("postgres/postmaster.pid").exists(), "postgres was not stopped cleanly");

    // The same directory starts again, with the same database. A lost admin token is replaced by one that is good.
    let made = std::fs::metadata(scene.data.join("postgres/PG_VERSION")).unwrap().mtime_nsec();
    let token_file = scene.data.join("admin-token");
    let lost = std::fs::read_to_string(&token_file).unwrap();
    std::fs::remove_file(&token_file).unwrap();
    scene.flags = vec!["--new-admin-token", "--log-level", "debug"];
    scene.start(Path::new(PROGRAM), &[]);
    assert_eq!(std::fs::metadata(scene.data.join("postgres/PG_VERSION")).unwrap().mtime_nsec(), made);
    assert_ne!(std::fs::read_to_string(&token_file).unwrap(), lost);
    let listed = command(PROGRAM).args(["get", "models", "--data-dir"]).arg(&scene.data).output().unwrap();
    assert_eq!(listed.status.code(), Some(0), "{}", String::from_utf8_lossy(&listed.stderr));
    let said = scene.printed();
    assert!(said.contains(" DEBUG ") && said.contains("part=\"postgres\""), "--log-level counts: {said}");
}

/// Every part runs, the one worker too; each names its secrets by file.
fn secrets_are_on_no_command_line(scene: &Scene, secrets: &[&str]) {
    let lines: Vec<String> = descendants(scene.pid())
        .iter()
        .filter_map(|(pid, _)| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok())
        .collect();
    let token_file = format!("run/worker-{WORKER}.token");
    assert!(lines.iter().any(|l| l.contains(&token_file)), "the worker is not among {lines:?}");
    let file = std::fs::read_to_string(scene.data.join(&token_file)).unwrap();
    assert!(secrets.contains(&file.trim()), "{token_file} holds another token");
    for line in &lines {
        assert!(secrets.iter().all(|secret| !line.contains(secret)), "a secret on a command line: {line}");
    }
}

/// A worker needs a token, runs, comes back when it dies, with what it left behind gone, and goes when it is not wanted.
fn worker_life(scene: &Scene, password: &str) {
    let state = |workers: &serde_json::Value| workers[0]["state"].as_str().unwrap_or_default().to_owned();
    assert_eq!(state(&want(scene, None).1), "NoToken");
    assert_eq!(want(scene, Some("tgn_secret")).0, 200);
    let pid = scene.part_pid(WORKER, None);
    let children = eventually("the worker's own child", || {
        Some(descendants(i32::try_from(pid).unwrap())).filter(|c| !c.is_empty())
    });
    secrets_are_on_no_command_line(scene, &[password, "tgn_secret"]);
    kill9(pid);
    all_gone(&children);
    let second = scene.part_pid(WORKER, Some(pid));
    let list = scene.supervisor("GET", "/v1/workers", "").1;
    assert_eq!(list[0]["restarts"], 1, "{list}");

    for (body, word) in [
        (json!({"workers": [{"name": "../x", "nodeId": "a", "pool": "b/c"}]}).to_string(), "../x"),
        (json!({"workers": [{"name": "serve", "nodeId": "a", "pool": "b/c"}]}).to_string(), "serve"),
        (json!({"workers": vec![json!({"name": "a", "nodeId": "a", "pool": "b/c"}); 2]}).to_string(), "twice"),
        (json!({"workers": (0..17).map(|i| json!({"name": format!("w{i}"), "nodeId": "a", "pool": "b/c"})).collect::<Vec<_>>()}).to_string(), "maxWorkers"),
        ("{".to_owned(), "JSON"),
    ] {
        let (status, answer) = scene.supervisor("PUT", "/v1/workers", &body);
        assert_eq!((status, answer["code"].as_str()), (400, Some("TG-1528")), "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains(word), "{answer}");
    }
    assert_eq!(scene.part_pid(WORKER, None), second, "a refused set changes nothing");

    let processes = descendants(i32::try_from(second).unwrap());
    scene.supervisor("PUT", "/v1/workers", r#"{"workers": []}"#);
    all_gone(&processes);
    assert!(!scene.data.join(format!("run/worker-{WORKER}.token")).exists());
}

#[test]
fn kill_9_of_up_leaves_nothing_running_and_the_next_up_starts() {
    let mut scene = Scene::new();
    scene.start(Path::new(PROGRAM), &[]);
    scene.pause_serve(true);
    let set = r#"{"workers": [{"name": "w", "nodeId": "plain", "pool": "a/b", "token": "tgn_x"}]}"#;
    eventually("the worker to run", || {
        (scene.supervisor("PUT", "/v1/workers", set).1[0]["state"] == "Running").then_some(())
    });
    let processes = descendants(scene.pid());
    assert!(processes.len() >= 4, "{processes:?}");
    scene.signal(Signal::KILL);
    scene.ended();
    all_gone(&processes);
    scene.start(Path::new(PROGRAM), &[]);
}

#[test]
fn a_second_up_on_the_same_directory_is_refused_and_harms_nothing() {
    let mut scene = Scene::new();
    scene.start(Path::new(PROGRAM), &[]);
    let output =
        scene.up_command(Path::new(PROGRAM), &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("TG-1520") && said.contains(&scene.pid().to_string()), "{said}");
    assert_eq!(scene.supervisor("GET", "/v1/parts", "").0, 200, "the first one goes on");
}

#[test]
fn an_ordinary_user_needs_no_root() {
    if !is_root() {
        return; // The other tests ran as one.
    }
    let mut scene = Scene::new();
    let program = scene.dir.path().join("tidegate");
    std::fs::copy(PROGRAM, &program).unwrap();
    std::fs::create_dir(&scene.data).unwrap();
    std::os::unix::fs::chown(&scene.data, Some(65534), Some(65534)).unwrap();
    let as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    scene.start(&program, &as_nobody);
    let postgres = scene.part_pid("postgres", None);
    assert_eq!(std::fs::metadata(format!("/proc/{postgres}")).unwrap().uid(), 65534);
    let processes = descendants(scene.pid());
    scene.signal(Signal::TERM);
    assert_eq!(scene.ended(), Some(0), "{}", scene.printed());
    all_gone(&processes);
}

#[test]
fn a_directory_that_postgres_cannot_enter_or_that_is_too_deep_is_named() {
    let mut scene = Scene::new();
    let data = scene.data.clone();
    scene.data = scene.dir.path().join("x".repeat(100));
    let output = scene.up_command(Path::new(PROGRAM), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("TG-1525"), "{said}");
    if is_root() {
        let closed = scene.dir.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        scene.data = closed.join("data");
        let output = scene.up_command(Path::new(PROGRAM), &[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("TG-1522") && said.contains("chmod o+x"), "{said}");
    }
    scene.data = data;
}

#[test]
fn a_child_whose_parent_is_gone_already_does_not_start() {
    let output = command(PROGRAM).args(["exec-child", "--parent", "1", "--", "echo", "started"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}
