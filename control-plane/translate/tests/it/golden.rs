//! One folder per case: `in.yaml` (policies, and `# key:` lines) and what they become. `UPDATE=1` rewrites the outs.
use std::{fs, path::Path};

use serde_json::{Map, Value};
use tidegate_proto::contract::{TYPE_LIMIT_SET, TYPE_MODEL_SET};
use tidegate_translate::{GatewaySettings, Otlp, gateway, pool, types};
use tidegate_xds::resources::ResourceSet;

use crate::{json, world};

fn check(case: &str, settings: &GatewaySettings) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(case);
    let snapshot = world::snapshot(&fs::read_to_string(dir.join("in.yaml")).unwrap());
    let set = gateway(&snapshot, settings);
    let mut stale = Vec::new();
    for (file, url) in [
        ("listeners", types::LISTENER),
        ("routes", types::ROUTE),
        ("clusters", types::CLUSTER),
        ("endpoints", types::ENDPOINT),
        ("extensions", types::EXTENSION),
    ] {
        compare(&dir.join(format!("{file}.json")), &all(&set, url), &mut stale);
    }
    let workers: Map<String, Value> = snapshot
        .pools
        .iter()
        .flat_map(|(name, plan)| {
            let set = pool(&snapshot, plan);
            [TYPE_MODEL_SET, TYPE_LIMIT_SET]
                .map(|url| (format!("{name} {}", url.rsplit('.').next().unwrap()), all(&set, url)))
        })
        .collect();
    compare(&dir.join("worker.json"), &Value::Object(workers), &mut stale);
    let known = [
        "in.yaml",
        "listeners.json",
        "routes.json",
        "clusters.json",
        "endpoints.json",
        "extensions.json",
        "worker.json",
    ];
    for entry in fs::read_dir(&dir).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(known.iter().any(|k| name == *k), "nothing makes {}", dir.join(name).display());
    }
    assert!(stale.is_empty(), "differs (UPDATE=1 rewrites): {stale:#?}");
}

fn all(set: &ResourceSet, url: &str) -> Value {
    let resources = set.of_type(url).into_iter().flatten();
    Value::Object(resources.map(|(name, r)| (name.clone(), json::of(url, &r.body))).collect())
}

fn compare(path: &Path, value: &Value, stale: &mut Vec<String>) {
    let fresh = format!("{:#}\n", sorted(value));
    if fs::read_to_string(path).unwrap_or_default() == fresh {
        return;
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, fresh).unwrap();
    } else {
        stale.push(path.display().to_string());
    }
}

/// Keys in order, whether or not serde_json keeps theirs.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(k, v)| (k.clone(), sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// A folder that no test reads would look like a tested case.
#[test]
fn every_case_is_tested() {
    let source = include_str!("golden.rs");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden")).unwrap() {
        let case = entry.unwrap().file_name().into_string().unwrap();
        assert!(source.contains(&format!("check(\"{case}\",")), "{case}");
    }
}

#[test]
fn a_model_without_policies_goes_to_its_first_version() {
    check("plain", &GatewaySettings::default());
}

#[test]
fn a_release_becomes_rules_and_a_split_by_hash() {
    check("release", &GatewaySettings::default());
}

#[test]
fn a_bucket_condition_turns_the_table_into_a_tree() {
    check("buckets", &GatewaySettings::default());
}

#[test]
fn limits_become_buckets_by_extension_and_breakers_by_cluster() {
    check("limits", &GatewaySettings::default());
}

#[test]
fn a_model_that_nobody_serves_and_other_settings() {
    let otlp = Some(Otlp { host: "otel.example".to_owned(), port: 4317, sample_percent: 10 });
    let settings = GatewaySettings { require_api_key: false, otlp, max_body_bytes: 4096, ..GatewaySettings::default() };
    check("idle", &settings);
}
