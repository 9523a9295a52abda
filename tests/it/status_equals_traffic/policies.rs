//! Faults in what documents say of each other: references to nothing, arms that nobody serves, limits that act nowhere.
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    files::chat,
    look::Ask,
    standing::{Fault, Traffic, document, model, pool},
    weights::FILES,
};

const RELEASE: &str = "releasepolicies/r";
const LIMIT: &str = "ratelimitpolicies/l";

/// Every fault of this file.
///
/// # Errors
/// When a file cannot be written.
pub fn faults(root: &Path) -> Result<Vec<Fault>> {
    let mut all = pools(root)?;
    all.extend(candidates(root)?);
    all.extend(stables(root)?);
    all.extend(limits(root)?);
    Ok(all)
}

/// Good versions `v1` and `v2` of a namespace.
fn both(root: &Path, namespace: &str) -> Result<[Value; 2]> {
    Ok([chat(root, namespace, "v1", "v1")?.spec, chat(root, namespace, "v2", "v2")?.spec])
}

fn release(namespace: &str, stable: &str, candidate: Option<&str>, weight: u32) -> Value {
    let mut spec =
        json!({"targetRef": {"kind": "Model", "name": "m"}, "stable": stable, "assignment": {"header": "x-user-id"}});
    if let Some(candidate) = candidate {
        spec["candidate"] = json!(candidate);
        spec["steps"] = json!([{"weight": weight}]);
        spec["rules"] = json!([{
            "match": [{"type": "Header", "header": {"name": "X-Gray-Tag", "type": "Exact", "value": "v2"}}], "to": "Candidate",
        }]);
    }
    document("ReleasePolicy", namespace, "r", spec)
}

fn pools(root: &Path) -> Result<Vec<Fault>> {
    let mut all = Vec::new();
    let ns = "pool-no-model";
    all.push(
        Fault::new(ns, vec![pool(ns, "p", &["v1"], 1)])
            .says(&["workerpools/p"], &["does not exist"])
            .traffic(Traffic::Fails),
    );
    let ns = "pool-no-version";
    let [v1, _] = both(root, ns)?;
    all.push(
        Fault::new(ns, vec![model(ns, &[v1]), pool(ns, "p", &["v9"], 1)])
            .says(&["models/m", "workerpools/p"], &["no version v9"])
            .traffic(Traffic::Fails),
    );
    let ns = "pool-half";
    let [v1, _] = both(root, ns)?;
    all.push(
        Fault::new(ns, vec![model(ns, &[v1]), pool(ns, "p", &["v1", "v9"], 1)])
            .says(&["workerpools/p"], &["no version v9"]),
    );
    let ns = "pool-zero";
    let [v1, _] = both(root, ns)?;
    all.push(
        Fault::new(ns, vec![model(ns, &[v1]), pool(ns, "p", &["v1"], 0)])
            .says(&["models/m"], &["replicas", "NoWorker", "no worker"])
            .traffic(Traffic::Fails),
    );
    let ns = "model-alone";
    let [v1, _] = both(root, ns)?;
    all.push(
        Fault::new(ns, vec![model(ns, &[v1])])
            .says(&["models/m"], &["NoWorkerPool", "no WorkerPool"])
            .traffic(Traffic::Fails),
    );
    let ns = "pool-zero-beside";
    let [v1, v2] = both(root, ns)?;
    let documents = vec![model(ns, &[v1, v2]), pool(ns, "p", &["v1"], 0), pool(ns, "q", &["v2"], 1)];
    all.push(Fault::new(ns, documents));
    let ns = "control";
    let [v1, v2] = both(root, ns)?;
    let documents = vec![
        model(ns, &[v1, v2]),
        pool(ns, "p", &["v1"], 1),
        pool(ns, "q", &["v2"], 1),
        release(ns, "v1", Some("v2"), 50),
    ];
    all.push(Fault::new(ns, documents));
    Ok(all)
}

/// A candidate that nobody can serve: everybody gets the stable version, and the policy says why.
fn candidates(root: &Path) -> Result<Vec<Fault>> {
    let mut all = Vec::new();
    for weight in [0, 1, 50, 100] {
        let ns = format!("candidate-not-in-model-{weight}");
        let [v1, _] = both(root, &ns)?;
        let documents = vec![model(&ns, &[v1]), pool(&ns, "p", &["v1"], 1), release(&ns, "v1", Some("v9"), weight)];
        all.push(Fault::new(ns, documents).says(&[RELEASE], &["v9"]));
        let ns = format!("candidate-not-in-pool-{weight}");
        let [v1, v2] = both(root, &ns)?;
        let documents = vec![model(&ns, &[v1, v2]), pool(&ns, "p", &["v1"], 1), release(&ns, "v1", Some("v2"), weight)];
        all.push(Fault::new(ns, documents).says(&[RELEASE], &["v2"]));
        let ns = format!("candidate-zero-{weight}");
        let [v1, v2] = both(root, &ns)?;
        let documents = vec![
            model(&ns, &[v1, v2]),
            pool(&ns, "p", &["v1"], 1),
            pool(&ns, "q", &["v2"], 0),
            release(&ns, "v1", Some("v2"), weight),
        ];
        all.push(Fault::new(ns, documents).says(&[RELEASE], &["v2"]));
        let ns = format!("candidate-broken-{weight}");
        let v1 = chat(root, &ns, "v1", "v1")?.spec;
        let v2 = chat(root, &ns, "v2", "v2")?.say("model.onnx", "sha256", json!("0".repeat(64))).spec;
        let documents = vec![
            model(&ns, &[v1, v2]),
            pool(&ns, "p", &["v1"], 1),
            pool(&ns, "q", &["v2"], 1),
            release(&ns, "v1", Some("v2"), weight),
        ];
        all.push(Fault::new(ns, documents).says(&[RELEASE, "workerpools/q"], &["TG-2017"]));
    }
    all.extend(broken_candidates(root)?);
    let ns = "younger-policy";
    let [v1, v2] = both(root, ns)?;
    let mut younger = release(ns, "v2", None, 0);
    younger["metadata"]["name"] = json!("younger");
    let documents = vec![model(ns, &[v1, v2]), pool(ns, "p", &["v1", "v2"], 1), release(ns, "v1", None, 0), younger];
    all.push(Fault::new(ns, documents).says(&["releasepolicies/younger"], &["SplitShadowed", "older"]));
    Ok(all)
}

/// Each file of a candidate, broken in several ways: beside a good stable version, in a pool of its own and in the same pool.
fn broken_candidates(root: &Path) -> Result<Vec<Fault>> {
    let mut all = Vec::new();
    for (file, short) in FILES {
        for (what, cause) in [("digest", "TG-2017"), ("size", "TG-20"), ("gone", "TG-2014"), ("noise", "TG-20")] {
            let ns = format!("canary-{what}-{short}");
            let v1 = chat(root, &ns, "v1", "v1")?.spec;
            let v2 = chat(root, &ns, "v2", "v2")?;
            let v2 = match what {
                "digest" => v2.say(file, "sha256", json!("1".repeat(64))),
                "size" => v2.say(file, "size", json!(1)),
                "gone" => v2.lose(file)?,
                _ => v2.write(file, [0x92, 0xff, 0xfe, 0x80].repeat(64))?,
            };
            let documents = vec![
                model(&ns, &[v1, v2.spec]),
                pool(&ns, "p", &["v1"], 1),
                pool(&ns, "q", &["v2"], 1),
                release(&ns, "v1", Some("v2"), 50),
            ];
            all.push(Fault::new(ns, documents).says(&[RELEASE, "workerpools/q"], &[cause]));
        }
        let ns = format!("beside-{short}");
        let v1 = chat(root, &ns, "v1", "v1")?.spec;
        let v2 = chat(root, &ns, "v2", "v2")?.lose(file)?.spec;
        let documents =
            vec![model(&ns, &[v1, v2]), pool(&ns, "p", &["v1", "v2"], 1), release(&ns, "v1", Some("v2"), 50)];
        all.push(Fault::new(ns, documents).says(&[RELEASE, "workerpools/p"], &["TG-2014"]));
    }
    Ok(all)
}

fn stables(root: &Path) -> Result<Vec<Fault>> {
    let mut all = Vec::new();
    let ns = "release-no-model";
    all.push(
        Fault::new(ns, vec![release(ns, "v1", None, 0)]).says(&[RELEASE], &["does not exist"]).traffic(Traffic::Fails),
    );
    let ns = "stable-broken";
    let v1 = chat(root, ns, "v1", "v1")?.say("model.onnx", "sha256", json!("0".repeat(64))).spec;
    let documents = vec![model(ns, &[v1]), pool(ns, "p", &["v1"], 1), release(ns, "v1", None, 0)];
    let not_ready: &[&str] = &["models/m", "workerpools/p", RELEASE];
    all.push(Fault::new(ns, documents).says(not_ready, &["TG-2017"]).traffic(Traffic::Fails));
    let ns = "stable-not-in-pool";
    let [v1, _] = both(root, ns)?;
    let documents = vec![model(ns, &[v1]), release(ns, "v1", None, 0)];
    all.push(Fault::new(ns, documents).says(&["models/m", RELEASE], &["no WorkerPool"]).traffic(Traffic::Fails));
    Ok(all)
}

fn limits(root: &Path) -> Result<Vec<Fault>> {
    let mut all = Vec::new();
    let limit = |ns: &str, targets: Value, mode: &str| {
        let spec = json!({
            "targetRefs": targets, "mode": mode,
            "limits": [{"name": "n", "requests": {"rate": 1, "window": "1h", "burst": 2}}],
        });
        document("RateLimitPolicy", ns, "l", spec)
    };
    let good = |root: &Path, ns: &str| -> Result<Vec<Value>> {
        Ok(vec![model(ns, &[chat(root, ns, "v1", "v1")?.spec]), pool(ns, "p", &["v1"], 1)])
    };
    let missing = [
        ("limit-typo-model", json!([{"kind": "Model", "name": "mm"}])),
        ("limit-typo-pool", json!([{"kind": "WorkerPool", "name": "pp"}])),
        ("limit-typo-both", json!([{"kind": "Model", "name": "mm"}, {"kind": "WorkerPool", "name": "pp"}])),
    ];
    for (ns, targets) in missing {
        let mut documents = good(root, ns)?;
        documents.push(limit(ns, targets, "Enforce"));
        all.push(Fault::new(ns, documents).says(&[LIMIT], &["does not exist"]).ask(Ask::Burst(12)));
    }
    let ns = "limit-half";
    let mut documents = good(root, ns)?;
    documents.push(limit(ns, json!([{"kind": "Model", "name": "m"}, {"kind": "Model", "name": "mm"}]), "Enforce"));
    let half = Fault::new(ns, documents).says(&[LIMIT], &["mm does not exist"]).ask(Ask::Burst(12));
    all.push(half.traffic(Traffic::Limited));
    for (ns, kind, name) in [("limit-model", "Model", "m"), ("limit-pool", "WorkerPool", "p")] {
        let mut documents = good(root, ns)?;
        documents.push(limit(ns, json!([{"kind": kind, "name": name}]), "Enforce"));
        all.push(Fault::new(ns, documents).ask(Ask::Burst(12)).traffic(Traffic::Limited));
    }
    let ns = "limit-shadow";
    let mut documents = good(root, ns)?;
    documents.push(limit(ns, json!([{"kind": "Model", "name": "m"}]), "Shadow"));
    all.push(Fault::new(ns, documents).ask(Ask::Burst(12)));
    Ok(all)
}
