//! What the command line says when it cannot do what it was told: a code, a sentence, an exit status, and never the token.
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::Output,
};

use tidegate_api::credentials::{
    proof::{Claim, NONCE_CHARS},
    sha256,
};

use crate::scene::{PROGRAM, command};

fn run(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output: Output = command(PROGRAM).args(args).current_dir(dir).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn with_token() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".tidegate")).unwrap();
    std::fs::write(dir.path().join(".tidegate/admin-token"), "tga_verysecret\n").unwrap();
    dir
}

/// Proves that it knows the token, answers one request, and gives back what that was.
fn stub(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, asked) = next_request(&listener);
        let nonce = asked.split("nonce=").nth(1).unwrap().split([' ', '&']).next().unwrap();
        let claim = Claim { instance: "stub".to_owned(), address };
        let proof = claim.prove(nonce, &sha256("tga_verysecret"));
        let body = format!("{{\"instance\":\"stub\",\"address\":\"{address}\",\"proof\":\"{proof}\"}}");
        let length = body.len();
        write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        drop(stream);
        let (mut stream, request) = next_request(&listener);
        stream.write_all(answer.as_bytes()).unwrap();
        request
    });
    (format!("http://{address}"), served)
}

fn next_request(listener: &TcpListener) -> (std::net::TcpStream, String) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    // The body follows the head at once; a short pause means that it is complete.
    stream.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        request.extend_from_slice(&buffer[..n]);
    }
    (stream, String::from_utf8(request).unwrap())
}

#[test]
fn each_failure_has_its_code_and_its_exit_status() {
    let dir = with_token();
    let none = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.yaml"), "kind: Model\nmetadata: {name: [\n").unwrap();
    std::fs::write(dir.path().join("twice.yaml"), "kind: Model\nkind: Model\n").unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let nobody = "http://127.0.0.1:9";
    for (args, status, words) in [
        (&["get", "models", "--server", nobody][..], 69, "TG-1510"),
        (&["get", "pods", "--server", nobody], 64, "TG-1515"),
        (&["get"], 64, "Usage"),
        (&["frobnicate"], 64, "unrecognized"),
        (&["get", "models", "--server", "http://192.0.2.1:9080"], 77, "TG-1514"),
        (&["apply", "-f", "absent.yaml"], 66, "absent.yaml"),
        (&["apply", "-f", "bad.yaml"], 66, "bad.yaml"),
        (&["apply", "-f", "twice.yaml"], 66, "stands twice"),
        (&["apply", "-f", "empty"], 66, "no .yaml"),
        (&["apply", "-f", "https://example.com/x.yaml"], 66, "TG-1512"),
        (&["explain", "--model", "m", "--header", "x", "--server", nobody], 64, "Name: value"),
        (&["get", "models", "--server", nobody, "--ca-file", "bad.yaml"], 66, "TG-1516"),
        (&["get", "models", "--server", nobody, "--ca-file", "absent.pem"], 66, "TG-1516"),
        (&["history", "rel", "--server", nobody], 64, "TG-1515"),
        (&["bootstrap", "--node-id", "g", "--token-file", "t", "--grpc", "10.0.0.1:1"], 64, "TG-1515"),
    ] {
        let (code, out, err) = run(dir.path(), args);
        assert_eq!(code, Some(status), "{args:?}\n{out}{err}");
        assert!(err.contains(words), "{args:?}\n{err}");
        assert!(!err.contains("verysecret") && !out.contains("verysecret"));
    }
    let (code, _, err) = run(none.path(), &["get", "models", "--data-dir", "nowhere"]);
    assert_eq!((code, err.contains("TG-1511") && err.contains("nowhere/admin-token")), (Some(77), true), "{err}");
    for args in [&["--help"][..], &["up", "--help"], &["api-key", "create", "--help"], &["--version"], &["version"]] {
        let (code, out, _) = run(none.path(), args);
        assert_eq!((code, out.is_empty()), (Some(0), false), "{args:?}");
    }
}

/// As compose files write variables that are not set.
#[test]
fn an_empty_variable_is_not_set() {
    let dir = with_token();
    let (url, served) = stub("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"items\": []}");
    let names = ["SERVER", "TOKEN_FILE", "CA_FILE", "DATA_DIR", "NAMESPACE"].map(|n| format!("TIDEGATE_{n}"));
    std::fs::write(dir.path().join(".tidegate/server.json"), format!("{{\"adminUrl\": {url:?}}}")).unwrap();
    let mut get = command(PROGRAM);
    let output = get.args(["get", "models"]).envs(names.map(|n| (n, ""))).current_dir(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(served.join().unwrap().starts_with("GET /api/v1/namespaces/default/models?"));
}

/// Root in the folder of somebody who laid out a `.tidegate` there.
#[test]
fn a_token_does_not_go_where_another_users_folder_says() {
    if !crate::scene::is_root() {
        return; // Nobody else can give a folder away; `trusted` is tested by itself.
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    for foreign in ["", "server.json", "admin-token"] {
        let dir = with_token();
        let data = dir.path().join(".tidegate");
        std::fs::write(data.join("server.json"), format!("{{\"adminUrl\": {url:?}}}")).unwrap();
        std::os::unix::fs::chown(data.join(foreign), Some(65534), None).unwrap();
        for more in [&[][..], &["--data-dir", ".tidegate"], &["--server", &url], &["--token-file", "/etc/hostname"]] {
            let (code, _, err) = run(dir.path(), &[&["get", "models"][..], more].concat());
            assert_eq!((code, err.contains("TG-1518")), (Some(77), true), "{foreign} {more:?}: {err}");
        }
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody connected");
}

#[test]
fn a_refused_document_is_traced_to_its_file() {
    let dir = with_token();
    std::fs::write(dir.path().join("a.yaml"), "kind: Model\n---\n---\nkind: WorkerPool\n").unwrap();
    let (url, served) = stub(
        "HTTP/1.1 422 Unprocessable Entity\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\r\n\
         {\"title\":\"invalid\",\"status\":422,\"code\":\"TG-1301\",\"detail\":\"nothing was stored\",\
         \"errors\":[{\"path\":\"$.spec\",\"message\":\"is missing\",\"code\":\"TG-1003\",\"document\":1}]}",
    );
    let (code, out, err) = run(dir.path(), &["apply", "-f", "a.yaml", "--server", &url]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(
        err,
        "error: TG-1301 nothing was stored\n  a.yaml (document 2): $.spec: is missing (TG-1003)\nwhat to do: tidegate errors TG-1301 TG-1003\n"
    );
    let request = served.join().unwrap();
    assert!(request.starts_with("POST /api/v1/apply HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: Bearer tga_verysecret\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n[{\"kind\":\"Model\"},{\"kind\":\"WorkerPool\"}]"), "{request}");
}

#[test]
fn an_answer_that_is_not_from_tidegate_is_told() {
    let dir = with_token();
    let (url, served) = stub("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>login</html>");
    let (code, _, err) = run(dir.path(), &["get", "models", "--server", &url]);
    assert_eq!((code, err.contains("TG-1513")), (Some(1), true), "{err}");
    served.join().unwrap();
}

/// Takes every connection, keeps every byte, and answers each request with what `answer` makes of it.
fn stranger(answer: impl Fn(&str) -> String + Send + 'static) -> (String, std::sync::Arc<std::sync::Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = seen.clone();
    std::thread::spawn(move || {
        loop {
            let (mut stream, request) = next_request(&listener);
            kept.lock().unwrap().extend_from_slice(request.as_bytes());
            let body = answer(&request);
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        }
    });
    (url, seen)
}

/// Whoever listens where the server is expected gets nothing that is good for anything: by the default, by an old note of the
/// data directory, and by a URL given by hand.
#[test]
fn a_stranger_on_the_port_gets_no_token() {
    let claim = Claim { instance: "x".to_owned(), address: "127.0.0.1:1".parse().unwrap() };
    let replayed = claim.prove(&"A".repeat(NONCE_CHARS), &sha256("tga_verysecret"));
    type Answer = Box<dyn Fn(&str) -> String + Send>;
    let strangers: Vec<(Answer, &str)> = vec![
        (Box::new(|_| "{\"items\": []}".to_owned()), "TG-1542"),
        (Box::new(|_| "<html>login</html>".to_owned()), "TG-1542"),
        (Box::new(|_| "{\"instance\":\"x\",\"address\":\"127.0.0.1:1\",\"proof\":null}".to_owned()), "TG-1543"),
        (
            Box::new(move |_| format!("{{\"instance\":\"x\",\"address\":\"127.0.0.1:1\",\"proof\":\"{replayed}\"}}")),
            "TG-1542",
        ),
        // Passes the question on to the real server, and its answer back.
        (
            Box::new(move |request| {
                let nonce = request.split("nonce=").nth(1).unwrap_or_default().split([' ', '&']).next().unwrap();
                let proof = claim.prove(nonce, &sha256("tga_verysecret"));
                format!("{{\"instance\":\"x\",\"address\":\"127.0.0.1:1\",\"proof\":\"{proof}\"}}")
            }),
            "TG-1542",
        ),
    ];
    for (answer, code) in strangers {
        let dir = with_token();
        let (url, seen) = stranger(answer);
        std::fs::write(dir.path().join(".tidegate/server.json"), format!("{{\"adminUrl\": {url:?}}}")).unwrap();
        let local = url.replace("127.0.0.1", "localhost");
        for args in [
            &["get", "models"][..],
            &["get", "models", "--server", &url],
            &["get", "models", "--server", &local],
            &["api-key", "create", "--tenant", "secret-tenant"],
            &["delete", "model", "secret-model"],
        ] {
            let (status, out, err) = run(dir.path(), args);
            assert_eq!((status, err.contains(code)), (Some(77), true), "{args:?}: {out}{err}");
        }
        let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
        assert!(seen.contains("GET /proof?key="), "{seen}");
        for secret in ["tga_", "verysecret", "authorization", "secret-tenant", "secret-model"] {
            assert!(!seen.to_lowercase().contains(secret), "{secret} was sent: {seen}");
        }
    }
}

/// The address that a data directory had is named when nobody answers there.
#[test]
fn where_the_server_of_a_data_directory_was_is_told() {
    let dir = with_token();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = format!("{{\"adminUrl\": \"http://127.0.0.1:{port}\", \"pid\": 1}}");
    std::fs::write(dir.path().join(".tidegate/server.json"), place).unwrap();
    let (status, _, err) = run(dir.path(), &["get", "models"]);
    assert_eq!(status, Some(69), "{err}");
    assert!(
        err.contains(&format!("http://127.0.0.1:{port}")) && err.contains("tidegate up --data-dir .tidegate"),
        "{err}"
    );
}

/// A name that is mistyped, or that Kubernetes gave, means the same to every command.
#[test]
fn variables_are_judged_alike_by_every_command() {
    let dir = with_token();
    for args in [&["get", "models"][..], &["serve"], &["up"], &["check-config"]] {
        let mut typed = command(PROGRAM);
        let output = typed.args(args).env("TIDEGATE_NAMESAPCE", "a").current_dir(dir.path()).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(64), "{args:?}: {said}");
        assert!(said.contains("TG-1502") && said.contains("TIDEGATE_NAMESPACE"), "{args:?}: {said}");
        // Wrong on purpose, so that `serve` and `up` end: only what is said about the Service matters.
        let mut of_service = command(PROGRAM);
        of_service.args(args).env("TIDEGATE_PORT", "tcp://10.0.0.1:9080").env("TIDEGATE_SERVICE_HOST", "10.0.0.1");
        if args[0] != "get" {
            of_service.args(["--max-body-bytes", "1"]);
        }
        let output = of_service.current_dir(dir.path()).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains("TG-1502") && said.contains("TG-1547"), "{args:?}: {said}");
    }
}
