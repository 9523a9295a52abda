//! What the configuration accepts, refuses and prints.
use std::{collections::BTreeMap, ffi::OsString};

use super::{Asked, EngineChoice, read};

struct Bench {
    dir: tempfile::TempDir,
    env: BTreeMap<String, String>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "tgn_0123456789\n").unwrap();
        std::fs::write(dir.path().join("ort.so"), "x").unwrap();
        Self { dir, env: BTreeMap::new() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn good(&self) -> Vec<String> {
        let mut args: Vec<String> =
            ["w", "--node-id", "w1", "--pool", "default/chat", "--engine", "fake"].map(str::to_owned).to_vec();
        args.extend(["--node-token-file".to_owned(), self.path("token")]);
        args
    }

    fn read(&self, args: &[String]) -> Asked {
        read(args.iter().map(OsString::from), &self.env)
    }
}

fn refused(asked: Asked) -> String {
    match asked {
        Asked::Refused(text) => text,
        Asked::Run(_) | Asked::Print(_) => panic!("was accepted"),
    }
}

#[test]
fn flag_wins_over_environment_wins_over_file_wins_over_default() {
    let mut bench = Bench::new();
    std::fs::write(bench.path("c.yaml"), "listen: 127.0.0.1:1\ngrace: 5s\nsettle: 3s\nmodelRoot: [\".\"]\n").unwrap();
    bench.env.insert("TIDEGATE_WORKER_LISTEN".into(), "127.0.0.1:2".into());
    bench.env.insert("TIDEGATE_WORKER_GRACE".into(), "6s".into());
    let mut args = bench.good();
    args.extend(["--config".into(), bench.path("c.yaml"), "--listen".into(), "127.0.0.1:3".into()]);
    let Asked::Run(settings) = bench.read(&args) else { panic!("refused") };
    assert_eq!(settings.listen.port(), 3);
    assert_eq!(settings.grace.as_secs(), 6);
    assert_eq!(settings.settle.as_secs(), 3);
    assert_eq!(settings.linger.as_secs(), 2);
    assert_eq!(settings.model_roots.len(), 1);
    args.push("--check-config".into());
    let Asked::Print(text) = bench.read(&args) else { panic!("refused") };
    for line in ["(flag)", "(environment)", "(file ", "(default)", "(not set)"] {
        assert!(text.contains(line), "{line} missing in\n{text}");
    }
}

#[test]
fn all_mistakes_are_named_at_once() {
    let bench = Bench::new();
    std::fs::write(bench.path("c.yaml"), "lisen: 1\ngrace: {a: 1}\n").unwrap();
    let args =
        ["w", "--config", &bench.path("c.yaml"), "--listen", "here", "--provider", "tpu", "--intra-threads", "-1"];
    let text = refused(bench.read(&args.map(str::to_owned)));
    for name in [
        "lisen:",
        "grace:",
        "listen:",
        "provider:",
        "intra-threads:",
        "node-id:",
        "pool:",
        "node-token-file:",
        "ort-dylib:",
        "model-root:",
    ] {
        assert!(text.contains(&format!("  {name}")), "{name} missing in\n{text}");
    }
    assert!(text.contains("TG-2100"));
}

#[test]
fn each_bad_value_is_refused_by_name() {
    let bench = Bench::new();
    std::fs::write(bench.path("not-a-token"), "hello").unwrap();
    let cases: &[(&str, &str)] = &[
        ("node-id", "a b"),
        ("pool", "chat"),
        ("node-token-file", "/does/not/exist"),
        ("control-plane", "ftp://x"),
        ("control-plane", "https://x:1"),
        ("listen", "localhost"),
        ("advertise", "0.0.0.0:80"),
        ("model-root", "/does/not/exist"),
        ("engine", "llama"),
        ("device", "x"),
        ("prepacking", "yes"),
        ("max-connections", "0"),
        ("settle", "1"),
        ("grace", "9999h"),
        ("slow-client", "0s"),
        ("otlp-endpoint", "collector"),
        ("otlp-endpoint", "https://x:1"),
        ("log-format", "xml"),
        ("log", "=nonsense=["),
    ];
    for (name, value) in cases {
        let mut args: Vec<String> = bench.good();
        args.retain(|a| a != "--engine" && a != "fake");
        args.extend(["--ort-dylib".into(), bench.path("ort.so"), "--model-root".into(), bench.path("")]);
        if let Some(at) = args.iter().position(|a| a == &format!("--{name}")) {
            args.drain(at..at + 2);
        }
        args.extend([format!("--{name}={value}")]);
        let text = refused(bench.read(&args));
        assert!(text.contains(&format!("  {name}: ")), "{name}={value}:\n{text}");
    }
    let mut args = bench.good();
    args.extend(["--listen".into(), "0.0.0.0:1".into()]);
    assert!(refused(bench.read(&args)).contains("advertise"));
}

#[test]
fn the_fake_engine_must_be_asked_for() {
    let bench = Bench::new();
    let Asked::Run(settings) = bench.read(&bench.good()) else { panic!("refused") };
    assert_eq!(settings.engine, EngineChoice::Fake);
    let mut args = bench.good();
    args.retain(|a| a != "--engine" && a != "fake");
    assert!(refused(bench.read(&args)).contains("ort-dylib"));
}

#[test]
fn help_shows_every_setting_and_examples() {
    let Asked::Print(text) = read(["w", "--help"].map(OsString::from), &BTreeMap::new()) else { panic!("refused") };
    for key in super::keys::KEYS {
        assert!(text.contains(&format!("--{}", key.name)), "{}", key.name);
    }
    assert!(text.contains("Examples:"));
}

#[test]
fn the_worker_has_the_pages_of_its_error_codes() {
    let ask = |args: &[&str]| read(args.iter().map(OsString::from), &BTreeMap::new());
    let Asked::Print(page) = ask(&["tidegate-worker", "errors", "TG-2017"]) else { panic!("no page") };
    assert!(page.starts_with("TG-2017: ") && page.contains("What to do."), "{page}");
    let Asked::Print(list) = ask(&["tidegate-worker", "errors"]) else { panic!("no list") };
    assert!(list.contains("TG-2100"), "{list}");
    let Asked::Refused(text) = ask(&["tidegate-worker", "errors", "TG-9999"]) else { panic!("not refused") };
    assert!(text.contains("no error code"), "{text}");
    let Asked::Refused(text) = ask(&["tidegate-worker"]) else { panic!("not refused") };
    assert!(text.contains("what to do: tidegate-worker errors TG-2100"), "{text}");
}

#[test]
fn a_variable_that_is_mistyped_is_refused_and_one_of_a_service_is_left_out() {
    let mut bench = Bench::new();
    bench.env.insert("TIDEGATE_WORKER_PORT".to_owned(), "tcp://10.0.0.1:80".to_owned());
    bench.env.insert("TIDEGATE_WORKER_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned());
    let Asked::Run(settings) = bench.read(&bench.good()) else { panic!("refused") };
    assert!(settings.left_out.is_some_and(|text| text.contains("TG-1547") && text.contains("and 1 more")));
    for (name, value) in [("TIDEGATE_WORKER_LISTEM", "127.0.0.1:0"), ("TIDEGATE_WORKER_PORT", "8000")] {
        bench.env.insert(name.to_owned(), value.to_owned());
        let text = refused(bench.read(&bench.good()));
        assert!(text.contains("TG-2100") && text.contains(name), "{text}");
    }
}
