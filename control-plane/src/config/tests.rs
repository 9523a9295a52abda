//! Precedence, completeness of the error report, redaction.
use super::*;

fn inputs() -> Inputs {
    Inputs { cwd: std::env::temp_dir(), ..Inputs::default() }
}

fn with_file(text: &str) -> Inputs {
    Inputs { file: Some(GivenFile { path: "t.yaml".into(), text: Ok(text.to_owned()) }), ..inputs() }
}

fn codes(inputs: &Inputs) -> Vec<&'static str> {
    match Settings::resolve(inputs) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.0.iter().map(|e| e.code).collect(),
    }
}

#[test]
fn every_combination_of_layers_is_won_by_the_highest_one() {
    for bits in 0..8_u8 {
        let (flag, env, file) = (bits & 4 != 0, bits & 2 != 0, bits & 1 != 0);
        let mut given = if file { with_file("maxWorkers: 3\n") } else { inputs() };
        if env {
            given.env.insert("TIDEGATE_MAX_WORKERS".into(), "2".into());
        }
        if flag {
            given.flags.insert("max_workers", vec!["1".into()]);
        }
        let settings = Settings::resolve(&given).unwrap();
        let (value, origin) = match (flag, env, file) {
            (true, _, _) => (1, Origin::Flag("max-workers".into())),
            (false, true, _) => (2, Origin::Env("TIDEGATE_MAX_WORKERS".into())),
            (false, false, true) => (3, Origin::File("t.yaml".into())),
            (false, false, false) => (16, Origin::Default),
        };
        assert_eq!((settings.max_workers, &settings.layers["max_workers"].origin), (value, &origin), "{bits:03b}");
    }
}

#[test]
fn the_precedence_holds_for_every_setting() {
    for field in FIELDS {
        let sample = |n: u16| match field.key {
            "admin_listen" | "grpc_listen" | "gateway_listen" => format!("127.0.0.1:{}", 40000 + n),
            "log_level" => ["warn", "error", "debug"][usize::from(n)].to_owned(),
            "log_format" => ["json", "text", "json"][usize::from(n)].to_owned(),
            "worker_provider" => ["cuda", "cpu", "cuda"][usize::from(n)].to_owned(),
            "require_api_key" | "new_admin_token" => ["true", "false", "true"][usize::from(n)].to_owned(),
            "cors_origins" => format!("https://app{n}.example.com"),
            "allowed_worker_ips" => format!("10.0.0.{n}"),
            "admin_hosts" => format!("admin{n}.example"),
            "max_body_bytes" => (2048 + n).to_string(),
            "max_workers" | "drain_timeout_seconds" => (1 + n).to_string(),
            "database_url" => format!("postgres://u:p{n}@h/d"),
            "otlp_endpoint" => format!("http://127.0.0.1:{}", 4317 + n),
            _ => format!("/some/path{n}"),
        };
        let mut given = with_file(&format!("{}: {:?}\n", field.file_key(), sample(0)));
        if field.shape == Shape::Many {
            given = with_file(&format!("{}: [{:?}]\n", field.file_key(), sample(0)));
        }
        let mut errors = Vec::new();
        assert_eq!(layers::layer(&given, &mut errors)[field.key].values, [sample(0)], "{}", field.key);
        given.env.insert(field.env(), sample(1));
        assert_eq!(layers::layer(&given, &mut errors)[field.key].values, [sample(1)], "{}", field.key);
        given.flags.insert(field.key, vec![sample(2)]);
        assert_eq!(layers::layer(&given, &mut errors)[field.key].values, [sample(2)], "{}", field.key);
        assert_eq!(errors, []);
    }
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let mut given = with_file("adminListn: 1.2.3.4:1\nlogFormat: xml\nmodelRoots: nope\n");
    given.env.insert("TIDEGATE_MAX_WORKERS".into(), "900".into());
    given.env.insert("TIDEGATE_DATA_DIRR".into(), "x".into());
    given.flags.insert("admin_listen", vec!["localhost:9080".into()]);
    let errors = Settings::resolve(&given).unwrap_err();
    let text = errors.to_string();
    for expected in [
        "TG-1502 file t.yaml: adminListn: there is no such setting; did you mean adminListen?",
        "TG-1503 file t.yaml: logFormat: \"xml\" is not text or json",
        "TG-1503 file t.yaml: modelRoots: this value is not a list of texts",
        "TG-1503 env TIDEGATE_MAX_WORKERS: \"900\" is not a whole number from 0 to 64",
        "TG-1502 env TIDEGATE_DATA_DIRR: there is no such setting; did you mean TIDEGATE_DATA_DIR?",
        "TG-1503 flag --admin-listen: \"localhost:9080\" is not an IP address and a port, such as 127.0.0.1:9080",
    ] {
        assert!(text.contains(expected), "{expected}\nin\n{text}");
    }
    assert_eq!(errors.0.len(), 6, "{text}");
}

#[test]
fn a_bind_beyond_loopback_is_refused_unless_it_is_protected() {
    for (key, value) in
        [("admin_listen", "0.0.0.0:9080"), ("grpc_listen", "10.1.2.3:18000"), ("gateway_listen", "[::]:10000")]
    {
        let mut given = inputs();
        given.flags.insert(key, vec![value.into()]);
        given.flags.insert("require_api_key", vec!["false".into()]);
        assert_eq!(codes(&given), ["TG-1504"], "{key}");
    }
    let mut given = inputs();
    given.flags.insert("gateway_listen", vec!["0.0.0.0:10000".into()]);
    given.flags.insert("require_api_key", vec!["true".into()]);
    assert_eq!(codes(&given), [""; 0]);
}

/// As compose files and charts write a setting that is not set.
#[test]
fn an_empty_setting_is_not_set() {
    for field in FIELDS {
        for empty in ["", " "] {
            let mut given = with_file(&format!("{}: {empty:?}\n", field.file_key()));
            if field.shape == Shape::Many {
                given = with_file(&format!("{}: [{empty:?}]\n", field.file_key()));
            }
            given.env.insert(field.env(), empty.into());
            given.flags.insert(field.key, vec![empty.into()]);
            let settings = Settings::resolve(&given).unwrap();
            let unset = Settings::resolve(&inputs()).unwrap();
            assert_eq!(settings.layers[field.key], unset.layers[field.key], "{}", field.key);
        }
        assert_eq!(codes(&with_file(&format!("{}:\n", field.file_key()))), [""; 0], "{}", field.key);
    }
    let mut given = with_file("maxWorkers: 3\nallowedWorkerIps: [10.0.0.1]\nrequireApiKey: true\n");
    for name in ["TIDEGATE_MAX_WORKERS", "TIDEGATE_ALLOWED_WORKER_IPS", "TIDEGATE_REQUIRE_API_KEY"] {
        given.env.insert(name.into(), String::new());
    }
    let settings = Settings::resolve(&given).unwrap();
    assert_eq!((settings.max_workers, settings.require_api_key), (3, true), "the next layer counts");
    assert_eq!(settings.allowed_worker_ips.len(), 1);
}

#[test]
fn a_mistake_in_one_setting_makes_no_second_one_elsewhere() {
    let mut given = inputs();
    given.flags.insert("gateway_listen", vec!["0.0.0.0:10000".into()]);
    given.flags.insert("require_api_key", vec!["perhaps".into()]);
    assert_eq!(codes(&given), ["TG-1503"]);
}

#[test]
fn each_command_takes_the_settings_that_it_reads() {
    let flags = |command: clap::Command| -> Vec<String> {
        command.get_arguments().filter_map(|a| a.get_long().map(str::to_owned)).collect()
    };
    let serve = flags(<ServeArgs as clap::Args>::augment_args(clap::Command::new("serve")));
    let up = flags(<UpArgs as clap::Args>::augment_args(clap::Command::new("up")));
    for (flag, in_serve, in_up) in [
        ("model-roots", false, true),
        ("drain-timeout-seconds", false, true),
        ("supervisor-socket", true, false),
        ("max-workers", true, true),
        ("database-url", false, false),
    ] {
        let found = [&serve, &up].map(|flags| flags.iter().any(|f| f == flag));
        assert_eq!(found, [in_serve, in_up], "{flag}");
    }
}

#[test]
fn a_mistake_is_told_in_names_that_a_person_can_write() {
    let mut given = with_file("adminTlsKeyFile: k.pem\ngrpcListen: 127.0.0.1:9080\n");
    given.flags.insert("database_url_file", vec!["f".into()]);
    given.flags.insert("gateway_listen", vec!["0.0.0.0:1".into()]);
    given.flags.insert("require_api_key", vec!["false".into()]);
    given.env.insert("TIDEGATE_DATABASE_URL".into(), "postgres://h/d".into());
    let text = Settings::resolve(&given).unwrap_err().to_string();
    for expected in [
        "file t.yaml: adminTlsKeyFile: --admin-tls-key-file needs --admin-tls-cert-file",
        "give TIDEGATE_DATABASE_URL or --database-url-file, not both",
        "only with --require-api-key=true",
        "default of adminListen and file t.yaml: grpcListen: both are 127.0.0.1:9080",
    ] {
        assert!(text.contains(expected), "{expected}\nin\n{text}");
    }
    given.flags.insert("admin_listen", vec!["0.0.0.0:1".into()]);
    let text = Settings::resolve(&given).unwrap_err().to_string();
    assert!(FIELDS.iter().filter(|f| f.key.contains('_')).all(|f| !text.contains(f.key)), "{text}");
}

#[test]
fn contradictions_are_named() {
    let mut given = inputs();
    given.flags.insert("admin_tls_cert_file", vec!["c.pem".into()]);
    given.flags.insert("database_url", vec!["postgres://h/d".into()]);
    given.flags.insert("database_url_file", vec!["f".into()]);
    given.flags.insert("admin_listen", vec!["127.0.0.1:18000".into()]);
    assert_eq!(codes(&given), ["TG-1505", "TG-1505", "TG-1505"]);
}

#[test]
fn a_secret_is_never_shown() {
    let mut given = inputs();
    for url in ["postgres://u:hunter2@h/d", "mysql://u:hunter2@h/d"] {
        given.env.insert("TIDEGATE_DATABASE_URL".into(), url.into());
        let report = report(&given, Vec::new());
        assert!(!report.text().contains("hunter2"), "{}", report.text());
        assert!(report.text().contains("(redacted)"));
        assert!(!serde_json::to_string(&report).unwrap().contains("hunter2"));
    }
    given.env.insert("TIDEGATE_DATABASE_URL".into(), "postgres://u:hunter2@h/d".into());
    let shown = format!("{:?}", Settings::resolve(&given).unwrap().database_url);
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_file_that_is_no_mapping_or_not_there_is_one_clear_error() {
    for text in ["- a\n", "a: [", "logLevel: info\nlogLevel: warn\n"] {
        assert_eq!(codes(&with_file(text)), ["TG-1501"], "{text}");
    }
    let mut given = inputs();
    given.file = Some(GivenFile { path: "no.yaml".into(), text: Err("No such file".into()) });
    assert_eq!(codes(&given), ["TG-1501"]);
    assert_eq!(codes(&with_file("")), [""; 0]);
}

#[test]
fn relative_paths_start_at_the_working_directory() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("a")).unwrap();
    let here = |given: Inputs| Inputs { cwd: dir.path().to_owned(), ..given };
    let settings = Settings::resolve(&here(with_file("dataDir: ./d\nmodelRoots: [a, /]\n"))).unwrap();
    assert_eq!(settings.data_dir, dir.path().join("d"));
    assert_eq!(settings.model_roots, [dir.path().join("a"), PathBuf::from("/")]);
    assert_eq!(Settings::resolve(&here(inputs())).unwrap().data_dir, dir.path().join(".tidegate"));
    let root = layers::layer(&Inputs { root: true, ..inputs() }, &mut Vec::new());
    assert_eq!(root["data_dir"].values, ["/var/lib/tidegate"]);
}

#[test]
fn what_cannot_be_used_is_told_before_anything_starts_and_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("file"), "text").unwrap();
    let mut given = inputs();
    for (key, value) in [
        ("data_dir", path("file/d")),
        ("model_roots", path("nope")),
        ("envoy_bin", path("file")),
        ("worker_bin", path("nope")),
        ("onnxruntime_lib", path("file")),
        ("postgres_bin_dir", path("")),
        ("admin_tls_cert_file", path("file")),
        ("admin_tls_key_file", path("file")),
        ("max_workers", "65".to_owned()),
    ] {
        given.flags.insert(key, vec![value]);
    }
    let text = Settings::resolve(&given).unwrap_err().to_string();
    for expected in [
        &format!("TG-1545 flag --data-dir: {} cannot be made: {} is not a folder", path("file/d"), path("file")),
        &format!("TG-1545 flag --model-roots: {} cannot be used: No such file", path("nope")),
        &format!("TG-1506 flag --envoy-bin: cannot read {}: not executable", path("file")),
        &format!("TG-1506 flag --worker-bin: cannot read {}: no such file", path("nope")),
        "TG-1506 flag --onnxruntime-lib",
        "TG-1506 flag --postgres-bin-dir",
        "TG-1541 flag --admin-tls-cert-file",
        "TG-1503 flag --max-workers",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    // What `serve` does not use it does not check: one file serves both.
    let serve = Inputs { flags: [("model_roots", vec![path("nope")])].into(), reader: Reader::Serve, ..inputs() };
    assert!(Settings::resolve(&serve).is_ok());
}

#[test]
fn a_certificate_that_was_saved_on_windows_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut given = inputs();
    for (key, name, text) in [
        ("admin_tls_cert_file", "cert.pem", made.cert.pem()),
        ("admin_tls_key_file", "key.pem", made.signing_key.serialize_pem()),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
        given.flags.insert(key, vec![path.display().to_string()]);
    }
    Settings::resolve(&given).unwrap();
}

#[test]
fn addresses_that_cannot_be_had_together_are_a_contradiction() {
    for (a, b, both) in [
        ("127.0.0.1:1000", "127.0.0.1:1000", false),
        ("127.0.0.1:1000", "0.0.0.0:1000", false),
        ("127.0.0.1:1000", "[::]:1000", false),
        ("[::1]:1000", "[::]:1000", false),
        ("[::1]:1000", "0.0.0.0:1000", true),
        ("127.0.0.1:1000", "[::1]:1000", true),
        ("127.0.0.1:1000", "127.0.0.2:1000", true),
        ("127.0.0.1:1000", "127.0.0.1:1001", true),
    ] {
        let mut given = inputs();
        given.flags.insert("admin_listen", vec![a.into()]);
        given.flags.insert("gateway_listen", vec![b.into()]);
        let expected: &[&str] = if both { &[] } else { &["TG-1505"] };
        assert_eq!(codes(&given), expected, "{a} {b}");
    }
}

#[test]
fn services_of_kubernetes_and_no_workers_at_all_are_worth_a_word() {
    let mut given = inputs();
    given.env.insert("TIDEGATE_PORT".into(), "tcp://10.0.0.1:9080".into());
    given.flags.insert("max_workers", vec!["0".into()]);
    let warnings = Settings::resolve(&given).unwrap().warnings;
    assert!(
        warnings.len() == 2 && warnings[0].contains("TG-1547") && warnings[1].contains("--max-workers"),
        "{warnings:?}"
    );
    let text = report(&given, Vec::new()).text();
    assert!(text.contains("Warning: TG-1547") && text.contains("The configuration is good"), "{text}");
}

/// The table of docs/reference/configuration.md, from the table of settings.
fn documented() -> String {
    let mut out =
        String::from("| file key | flag | environment | default | for | meaning |\n|---|---|---|---|---|---|\n");
    for field in FIELDS {
        let flag = if field.secret { "none".to_owned() } else { format!("`--{}`", field.flag) };
        let default = if field.default.is_empty() { String::new() } else { format!("`{}`", field.default) };
        out.push_str(&format!(
            "| `{}` | {flag} | `{}` | {default} | {} | {} |\n",
            field.file_key(),
            field.env(),
            field.scope.name(),
            field.help
        ));
    }
    out
}

#[test]
fn the_reference_page_lists_every_setting() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/configuration.md");
    let text = std::fs::read_to_string(page).unwrap();
    let start = text.find("| file key").unwrap();
    let end = start + text[start..].find("\n\n").unwrap() + 1;
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(page, format!("{}{}{}", &text[..start], documented(), &text[end..])).unwrap();
        return;
    }
    assert_eq!(&text[start..end], documented(), "run with UPDATE=1 to rewrite the page");
}
