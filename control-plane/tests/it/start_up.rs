//! What `up` is given and what it says of it: a certificate of its own for the admin API, documents that are wrong or come too late,
//! a gateway that stops answering.
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::scene::{PROGRAM, Scene, command, eventually};

/// A flag's value that lives as long as the test.
fn flag(path: &Path) -> &'static str {
    Box::leak(path.display().to_string().into_boxed_str())
}

/// Writes a self-signed certificate and its key.
fn certificate(dir: &Path, name: &str) -> [PathBuf; 2] {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let paths = [dir.join(format!("{name}.crt")), dir.join(format!("{name}.key"))];
    std::fs::write(&paths[0], made.cert.pem()).unwrap();
    std::fs::write(&paths[1], made.signing_key.serialize_pem()).unwrap();
    paths
}

/// Exit status and everything that a command printed.
fn run(scene: &Scene, args: &[&str]) -> (Option<i32>, String) {
    let output = command(PROGRAM).args(args).arg("--data-dir").arg(&scene.data).current_dir("/").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// The commands of this machine trust the certificate that the server of the data directory named, and no other.
#[test]
fn over_tls_the_commands_trust_the_certificate_of_their_own_server_only() {
    let mut scene = Scene::new();
    let [cert, key] = certificate(scene.dir.path(), "own");
    scene.flags = vec!["--admin-tls-cert-file", flag(&cert), "--admin-tls-key-file", flag(&key)];
    scene.start(Path::new(PROGRAM), &[]);
    assert!(scene.printed().contains("admin API   https://127.0.0.1:"), "{}", scene.printed());
    assert_eq!(run(&scene, &["get", "all"]).0, Some(0));

    let wrong = scene.dir.path().join("wrong-token");
    std::fs::write(&wrong, "tga_0123456789abcdef0123456789abcdef0123456789a\n").unwrap();
    let (status, said) = run(&scene, &["get", "all", "--token-file", flag(&wrong)]);
    assert_eq!(status, Some(77), "{said}");
    assert!(said.contains("TG-1543") && said.contains(flag(&wrong)), "{said}");

    let by_url = format!("https://127.0.0.1:{}", scene.ports[0]);
    let [other, _] = certificate(scene.dir.path(), "other");
    for (trusted, works) in [(&cert, true), (&other, false)] {
        let (status, said) = run(&scene, &["get", "all", "--server", &by_url, "--ca-file", flag(trusted)]);
        assert_eq!(status == Some(0), works, "{said}");
    }
    // As if a stranger had the port now: the file names a certificate that the server does not show.
    std::fs::copy(&other, &cert).unwrap();
    let (status, said) = run(&scene, &["get", "all"]);
    assert_eq!(status, Some(69), "{said}");
    assert!(said.contains("TG-1510"), "{said}");
}

#[test]
fn a_document_with_a_mistake_is_told_before_anything_starts() {
    let mut scene = Scene::new();
    let file = scene.dir.path().join("bad.yaml");
    std::fs::write(&file, "apiVersion: tidegate.dev/v1alpha1\nkind: Model\nmetadata: {name: m}\nspec: {version: []}\n")
        .unwrap();
    scene.flags = vec!["--apply", flag(&file)];
    let began = Instant::now();
    let output = scene.up_command(Path::new(PROGRAM), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("TG-1546") && said.contains("bad.yaml"), "{said}");
    assert!(said.contains("versions"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(5) && !scene.data.join("postgres").exists(), "{:?}", began.elapsed());
}

/// What only the store can know is told when the server refuses it, and what serves goes on.
#[test]
fn a_document_that_the_server_refuses_is_told_and_everything_runs() {
    let mut scene = Scene::new();
    let file = scene.dir.path().join("stale.yaml");
    let text = "apiVersion: tidegate.dev/v1alpha1\nkind: WorkerPool\nmetadata: {name: p, resourceVersion: \"7\"}\n\
                spec: {modelRef: {name: m}, versions: [v1], replicas: 0}\n";
    std::fs::write(&file, text).unwrap();
    scene.flags = vec!["--apply", flag(&file)];
    scene.start(Path::new(PROGRAM), &[]);
    let said = scene.printed();
    assert!(
        said.contains("not applied, so everything runs with what the store holds") && said.contains("TG-1201"),
        "{said}"
    );
}

/// `--apply <(helm template …)`: a pipe gives what it holds once.
#[test]
fn documents_of_a_pipe_are_applied() {
    let mut scene = Scene::new();
    let pipe = scene.dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pool = |name: &str, namespace: &str| {
        format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: WorkerPool\nmetadata: {{name: {name}{namespace}}}\n\
             spec: {{modelRef: {{name: m}}, versions: [v1], replicas: 0}}\n"
        )
    };
    let (writer, text) = (pipe.clone(), pool("piped", ""));
    let written = std::thread::spawn(move || std::fs::write(writer, text));
    scene.flags = vec!["--apply", flag(&pipe)];
    scene.start(Path::new(PROGRAM), &[]);
    written.join().unwrap().unwrap();
    assert!(scene.printed().contains("workerpool.tidegate.dev/piped created"), "{}", scene.printed());

    // One name in two namespaces is two objects, also when one of the two is not written.
    let file = scene.dir.path().join("two.yaml");
    std::fs::write(&file, format!("{}---\n{}", pool("p", ""), pool("p", ", namespace: default"))).unwrap();
    let apply = |variables: &[(&str, &str)]| {
        let mut apply = command(PROGRAM);
        apply.args(["apply", "-f"]).arg(&file).arg("--data-dir").arg(&scene.data).envs(variables.iter().copied());
        let output = apply.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (status, said) = apply(&[]);
    assert!(status == Some(66) && said.contains("stands in"), "{said}");
    let (status, said) = apply(&[("TIDEGATE_NAMESPACE", "team-a")]);
    assert!(status == Some(0) && said.contains("team-a/p created"), "{said}");
}

#[test]
fn a_gateway_that_hangs_is_told_and_so_is_its_return() {
    let mut scene = Scene::new();
    scene.start(Path::new(PROGRAM), &[]);
    if !scene.printed().contains("gateway ready") {
        return; // There is no Envoy here.
    }
    let pid = Pid::from_raw(i32::try_from(scene.part_pid("gateway", None)).unwrap()).unwrap();
    let said = |what: &str| eventually(what, || scene.printed().contains(what).then_some(()));
    kill_process(pid, Signal::STOP).unwrap();
    said("gateway does not answer (TG-1549)");
    kill_process(pid, Signal::CONT).unwrap();
    said("gateway answers again");
}
