//! The rules of the house, held by reading the sources: who may depend on whom, what a pure room must not name, how long a
//! file may be, and that every error code has its page. The tables below are the documentation of these rules.
#![allow(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each room may use of the others. Arrows go down only; adapters never use each other.
const MAY_USE: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("program", &["tidegate-text"]),
    ("proto", &[]),
    ("proto/error-pages", &[]),
    ("limiter", &[]),
    ("xds", &[]),
    ("xds/client", &["tidegate-program", "tidegate-xds"]),
    ("control-plane/policy", &["tidegate-limiter", "tidegate-text"]),
    ("control-plane/translate", &["tidegate-policy", "tidegate-limiter", "tidegate-proto", "tidegate-xds"]),
    ("control-plane/store", &["tidegate-policy"]),
    (
        "control-plane/api",
        &["tidegate-error-pages", "tidegate-policy", "tidegate-proto", "tidegate-text", "tidegate-xds"],
    ),
    (
        "control-plane",
        &[
            "tidegate-api",
            "tidegate-error-pages",
            "tidegate-policy",
            "tidegate-program",
            "tidegate-proto",
            "tidegate-store",
            "tidegate-text",
            "tidegate-translate",
            "tidegate-xds",
        ],
    ),
    ("worker/engine", &[]),
    ("worker/scheduler", &[]),
    (
        "worker",
        &[
            "tidegate-engine",
            "tidegate-error-pages",
            "tidegate-limiter",
            "tidegate-program",
            "tidegate-proto",
            "tidegate-scheduler",
            "tidegate-text",
            "tidegate-xds",
            "tidegate-xds-client",
        ],
    ),
];

/// Rooms that compute and never act.
const PURE: &[&str] =
    &["text", "limiter", "xds", "control-plane/policy", "control-plane/translate", "worker/scheduler"];

/// What only one room may depend on.
const ONLY: &[(&str, &str)] = &[
    ("sqlx", "control-plane/store"),
    ("ort", "worker/engine"),
    ("kube", "control-plane/controllers"),
    ("serde-saphyr", "text"),
];

/// Crates that a pure room must not depend on, outside its tests.
const IMPURE_CRATES: &[&str] = &["tokio", "tonic", "sqlx", "axum", "reqwest", "hyper", "kube", "rand", "rustix"];

/// Words that a pure room must not contain, outside its tests.
const IMPURE_WORDS: &[&str] =
    &["SystemTime::now", "Instant::now", "Utc::now", "std::env", "std::net::Tcp", "std::fs", "std::process", "rand::"];

/// Module names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "core", "misc"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "gen", "node_modules", "__pycache__"].contains(&name.as_str()) {
                walk(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn files(extension: &str) -> Vec<(String, String)> {
    let read = files_or_none(extension);
    assert!(!read.is_empty(), "no .{extension} file was found: this test looks in the wrong place");
    read
}

fn files_or_none(extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(root(), &mut found);
    let mut read: Vec<(String, String)> = found
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == extension))
        .map(|p| (p.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&p).unwrap()))
        .collect();
    read.sort();
    read
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.starts_with("tests/") || path.ends_with("tests.rs") || path.contains("/examples/")
}

/// Names under `[dependencies]` of a Cargo.toml.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let section = manifest.split("\n[dependencies]").nth(1).unwrap_or_default();
    let lines = section.lines().skip(1).take_while(|l| !l.starts_with('['));
    lines
        .filter_map(|l| l.split(['.', '=', ' ']).next())
        .filter(|n| !n.is_empty() && !n.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn arrows_between_rooms_go_down_only() {
    let mut broken = Vec::new();
    for (room, allowed) in MAY_USE {
        let manifest = fs::read_to_string(root().join(room).join("Cargo.toml")).unwrap();
        for used in dependencies(&manifest).iter().filter(|d| d.starts_with("tidegate")) {
            if !allowed.contains(&used.as_str()) {
                broken.push(format!("{room} must not use {used}"));
            }
        }
    }
    report(broken);
}

#[test]
fn every_room_is_in_the_table() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    let members: BTreeSet<&str> =
        members.split(['"', ',', '\n', ' ']).filter(|m| !m.is_empty() && *m != "tests").collect();
    assert_eq!(members, MAY_USE.iter().map(|(room, _)| *room).collect());
}

#[test]
fn only_one_room_knows_each_outside_system() {
    let mut broken = Vec::new();
    for (room, _) in MAY_USE {
        let manifest = fs::read_to_string(root().join(room).join("Cargo.toml")).unwrap();
        for (dependency, owner) in ONLY {
            if dependencies(&manifest).contains(*dependency) && room != owner {
                broken.push(format!("{room} depends on {dependency}: only {owner} may"));
            }
        }
    }
    for (path, text) in files("rs") {
        if !path.starts_with("control-plane/translate/") && !is_test(&path) && names_resource_types(&text) {
            broken.push(format!("{path} names Envoy's resource types: only control-plane/translate may"));
        }
    }
    report(broken);
}

/// Envoy's resource types are all of `envoy.extensions` and of `envoy.config` except `core.v3`, also inside braces of a `use`.
fn names_resource_types(text: &str) -> bool {
    let flat: String = text.split_whitespace().collect();
    flat.match_indices("envoy::").any(|(at, found)| {
        let rest = &flat[at + found.len()..];
        let Some(block) = rest.strip_prefix('{') else { return is_resource_path(rest) };
        let mut depth = 1;
        let mut begins = true;
        for (at, c) in block.char_indices() {
            if depth == 1 && begins && is_resource_path(&block[at..]) {
                return true;
            }
            begins = c == ',';
            depth += i32::from(c == '{') - i32::from(c == '}');
            if depth == 0 {
                break;
            }
        }
        false
    })
}

fn is_resource_path(path: &str) -> bool {
    let config = path.strip_prefix("config::");
    path.starts_with("extensions::") || config.is_some_and(|rest| !rest.starts_with("core::v3"))
}

#[test]
fn the_rule_on_resource_types_sees_every_way_to_name_them() {
    for bad in [
        "use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;",
        "use envoy_types::pb::envoy::{config::cluster::v3::Cluster, service::x};",
        "use envoy_types::pb::envoy::{\n    config::{core::v3::Node, route::v3::Route},\n};",
    ] {
        assert!(names_resource_types(bad), "{bad}");
    }
    for good in [
        "use envoy_types::pb::envoy::config::core::v3::Node;",
        "use envoy_types::pb::envoy::{config::core::v3::Node, service::discovery::v3::DiscoveryRequest};",
        "use envoy_types::pb::envoy::service::x; use crate::config::Settings;",
    ] {
        assert!(!names_resource_types(good), "{good}");
    }
}

#[test]
fn pure_rooms_have_no_io_no_clock_and_no_chance() {
    let mut broken = Vec::new();
    for room in PURE {
        let manifest = fs::read_to_string(root().join(room).join("Cargo.toml")).unwrap();
        for banned in IMPURE_CRATES.iter().filter(|c| dependencies(&manifest).contains(**c)) {
            broken.push(format!("{room} is pure and must not depend on {banned}"));
        }
        for (path, text) in files("rs").iter().filter(|(p, _)| p.starts_with(&format!("{room}/src/")) && !is_test(p)) {
            for word in IMPURE_WORDS.iter().filter(|w| text.contains(**w)) {
                broken.push(format!("{path} is in a pure room and must not contain {word}"));
            }
        }
    }
    report(broken);
}

#[test]
fn files_open_with_their_purpose_and_stay_short() {
    let mut broken = Vec::new();
    for (path, text) in files("rs") {
        let lines = text.lines().count();
        if !text.starts_with("//!") {
            broken.push(format!("{path} does not open with //! and its purpose"));
        }
        if lines > 600 {
            broken.push(format!("{path} has {lines} lines: more than 600"));
        }
        if path.ends_with("src/main.rs") && lines > 30 {
            broken.push(format!("{path} has {lines} lines: a main.rs has at most 30"));
        }
        let stem = Path::new(&path).file_stem().unwrap().to_str().unwrap();
        let folder = Path::new(&path).parent().and_then(Path::file_name).and_then(|n| n.to_str()).unwrap_or_default();
        if EMPTY_NAMES.contains(&stem) || EMPTY_NAMES.contains(&folder) {
            broken.push(format!("{path}: that name says nothing"));
        }
    }
    report(broken);
}

#[test]
fn nothing_is_left_open_or_switched_off() {
    let words = ["to\u{64}o!(", "unimpl\u{65}mented!(", "FIX\u{4d}E", "XX\u{58}", "#[ign\u{6f}re"];
    let mut broken = Vec::new();
    for (path, text) in files("rs") {
        for word in words.iter().filter(|w| text.contains(**w)) {
            broken.push(format!("{path} contains {word}"));
        }
    }
    report(broken);
}

#[test]
fn unsafe_code_is_only_in_the_engine_and_says_why_it_is_sound() {
    let mut broken = Vec::new();
    for (path, text) in files("rs").iter().filter(|(p, _)| p != "tests/tidy.rs") {
        let lines: Vec<&str> = text.lines().collect();
        for (n, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, l)| l.contains("unsafe {") || l.contains("unsafe fn") || l.contains("unsafe impl"))
        {
            if !path.starts_with("worker/engine/") && !is_test(path) {
                broken.push(format!("{path}:{}: unsafe outside worker/engine", n + 1));
            }
            let explained = lines[n.saturating_sub(6)..=n].iter().any(|l| l.contains("SAFETY:"));
            if !explained {
                broken.push(format!("{path}:{}: unsafe without a SAFETY: line: {}", n + 1, line.trim()));
            }
        }
    }
    report(broken);
}

/// Codes `TG-nnnn` in a text.
fn codes(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("TG-").map(|(at, _)| at);
    let code = |at: usize| text.get(at..at + 7).filter(|c| c[3..].bytes().all(|b| b.is_ascii_digit()));
    starts.filter_map(code).map(str::to_owned).collect()
}

#[test]
fn every_error_code_has_a_page_and_every_page_a_code() {
    let mut used: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in files("rs").into_iter().filter(|(p, _)| !is_test(p)) {
        // A code in a comment is not emitted by it.
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for code in lines.flat_map(codes) {
            used.entry(code).or_insert_with(|| path.clone());
        }
    }
    let pages: BTreeSet<String> = files("md")
        .into_iter()
        .filter_map(|(p, _)| p.strip_prefix("docs/errors/")?.strip_suffix(".md").map(str::to_owned))
        .filter(|name| name.starts_with("TG-"))
        .collect();
    let mut broken = Vec::new();
    for (code, path) in used.iter().filter(|(code, _)| !pages.contains(*code)) {
        broken.push(format!("{code} ({path}) has no page docs/errors/{code}.md"));
    }
    for page in pages.iter().filter(|page| !used.contains_key(*page)) {
        broken.push(format!("docs/errors/{page}.md is about a code that nothing uses"));
    }
    report(broken);
}

#[test]
fn no_text_sends_its_reader_to_pages_on_the_internet_that_are_not_there() {
    let gone = format!("{}{}", "tidegate.dev", "/errors");
    let all = ["rs", "md", "sh"].into_iter().flat_map(files_or_none);
    report(all.filter(|(_, text)| text.contains(&gone)).map(|(path, _)| format!("{path} names {gone}")).collect());
}

#[test]
fn every_metric_is_in_the_reference() {
    let pages =
        ["metrics", "worker"].map(|page| fs::read_to_string(root().join(format!("docs/reference/{page}.md"))).unwrap());
    let mut broken = Vec::new();
    let mut seen = 0;
    for (path, text) in files("rs").into_iter().filter(|(p, t)| !is_test(p) && t.contains("opentelemetry")) {
        let named = text.split('"').skip(1).step_by(2).filter(|literal| literal.starts_with("tidegate_"));
        // Not instruments: the target of log lines, and a member of error bodies.
        for name in named.filter(|n| !["tidegate_worker", "tidegate_code"].contains(n)) {
            seen += 1;
            if !pages.iter().any(|page| page.contains(&format!("`{name}"))) {
                broken.push(format!("{path}: the metric {name} is in no page of docs/reference"));
            }
        }
    }
    assert!(seen > 20, "only {seen} metrics were found");
    report(broken);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for (path, text) in files("md") {
        // What stands between backticks is code and no link.
        let prose: String = text.split('`').step_by(2).collect();
        for target in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.contains(' ') {
                continue;
            }
            if !root().join(&path).parent().unwrap().join(file).exists() {
                broken.push(format!("{path} links to {target}, which is not there"));
            }
        }
    }
    report(broken);
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let broken = MAY_USE.iter().map(|(room, _)| *room).chain(["tests"]).filter(|room| {
        let manifest = fs::read_to_string(root().join(room).join("Cargo.toml")).unwrap();
        !manifest.contains("[lints]\nworkspace = true")
    });
    report(broken.map(|room| format!("{room}/Cargo.toml lacks [lints] workspace = true")).collect());
}
