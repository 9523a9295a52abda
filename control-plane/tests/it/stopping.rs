//! A control plane that is told to stop answers what it has begun to read.
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::scene::{PROGRAM, Scene, eventually};

#[test]
fn an_open_request_is_answered_after_the_signal() {
    let mut scene = Scene::new();
    scene.start(Path::new(PROGRAM), &[]);
    let urls: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(scene.data.join("up.json")).unwrap()).unwrap();
    let address = urls["adminUrl"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let token = std::fs::read_to_string(scene.data.join("admin-token")).unwrap();

    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let head = format!(
        "POST /api/v1/apply HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: 2\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
        token.trim()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // Said when the handler asks for the body: from here on the request is open.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    let serve = i32::try_from(scene.part_pid("serve", None)).unwrap();
    kill_process(Pid::from_raw(serve).unwrap(), Signal::TERM).unwrap();
    eventually("no new connection to be taken", || TcpStream::connect(&address).is_err().then_some(()));

    stream.write_all(b"{}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4") && answer.contains("application/problem+json"), "{answer}");
}
