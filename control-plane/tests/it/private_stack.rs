//! The private stack is private: neither the shell's variables nor what an earlier life left behind reach it, and it shares no
//! port. With the real Postgres and Envoy.
use std::{net::TcpListener, path::Path, process::Command, time::Duration};

use rustix::process::Signal;

use crate::scene::{PROGRAM, Scene, all_gone, descendants};

#[test]
fn variables_of_the_shell_do_not_reach_the_database_or_its_client() {
    let mut scene = Scene::new();
    scene.env = vec![
        ("PGPORT", "5433"),
        ("PGHOST", "/nowhere"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGUSER", "nobody"),
        ("PGPASSWORD", "wrong"),
        ("PGDATABASE", "none"),
        ("PGDATA", "/nowhere"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/nowhere"),
        ("PGOPTIONS", "-c default_transaction_read_only=on -c statement_timeout=1"),
        ("PGTZ", "Mars/Base"),
        ("PGCLIENTENCODING", "LATIN1"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("TZ", "Mars/Base"),
    ];
    // With a document: the store is written.
    let model = scene.dir.path().join("model.yaml");
    std::fs::write(&model, MODEL).unwrap();
    scene.flags = vec!["--apply", Box::leak(model.display().to_string().into_boxed_str())];
    scene.start(Path::new(PROGRAM), &[]);
    assert!(scene.printed().contains("created"), "{}", scene.printed());
    for (pid, name) in descendants(scene.pid()) {
        let seen = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let seen = String::from_utf8_lossy(&seen).into_owned();
        assert!(!seen.split('\0').any(|v| v.starts_with("PG")), "{name} ({pid}) sees {seen:?}");
    }
}

const MODEL: &str = "apiVersion: tidegate.dev/v1alpha1
kind: Model
metadata: {name: m}
spec:
  versions:
    - name: v1
      uri: file:m/v1
      task: Embedding
      files: [{path: model.onnx, sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, size: 1}, {path: tokenizer.json, sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, size: 1}]
";

/// A machine that was switched off and on again: the files of Postgres name a process that is now somebody else.
#[test]
fn a_process_number_that_lives_again_does_not_keep_postgres_away() {
    let mut scene = Scene::new();
    scene.start(Path::new(PROGRAM), &[]);
    let processes = descendants(scene.pid());
    scene.signal(Signal::KILL);
    scene.ended();
    all_gone(&processes);
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    let (data, sockets) = (scene.data.join("postgres"), scene.data.join("postgres-socket"));
    let number = stranger.id();
    // As they are left: three lines are enough for Postgres to ask whether the process lives.
    std::fs::write(data.join("postmaster.pid"), format!("{number}\n{}\n1700000000\n5432\n", data.display())).unwrap();
    std::fs::write(sockets.join(".s.PGSQL.5432.lock"), format!("{number}\n{}\n1700000000\n5432\n", data.display()))
        .unwrap();
    scene.start(Path::new(PROGRAM), &[]);
    scene.signal(Signal::INT);
    assert_eq!(scene.ended(), Some(0), "{}", scene.printed());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn every_address_that_is_taken_is_told_at_once_with_who_has_it() {
    let scene = Scene::new();
    let taken = scene.addresses().map(|at| TcpListener::bind(at).unwrap());
    let began = std::time::Instant::now();
    let output = scene.up_command(Path::new(PROGRAM), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let me = format!("process {} (", std::process::id());
    for (at, flag) in scene.addresses().iter().zip(["--admin-listen", "--grpc-listen", "--gateway-listen"]) {
        let line = said.lines().find(|line| line.contains(at)).unwrap_or_else(|| panic!("{at} is not in {said}"));
        assert!(line.contains(flag) && line.contains(&me), "{line}");
    }
    assert!(said.contains("TG-1540") && !scene.data.join("postgres").exists(), "{said}");
    drop(taken);
}

/// Two instances, one gateway port: the second says so, and the first keeps every request.
#[test]
fn a_second_up_does_not_share_the_gateway_of_the_first() {
    let mut first = Scene::new();
    first.start(Path::new(PROGRAM), &[]);
    if !first.printed().contains("gateway ready") {
        return; // Without Envoy there is nothing to share.
    }
    let mut second = Scene::new();
    second.ports[2] = first.ports[2];
    let output = second.up_command(Path::new(PROGRAM), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("TG-1540") && said.contains("envoy"), "{said}");
    // Also for whoever starts an Envoy by hand: the listener shares its port with nobody.
    let port = first.ports[2];
    let listeners = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ours = listeners.lines().filter(|l| l.contains(&format!(":{port:04X} 00000000:0000 0A"))).count();
    assert_eq!(ours, 1, "one socket, not one per thread:\n{listeners}");
}
