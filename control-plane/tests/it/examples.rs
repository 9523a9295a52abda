//! The documents in examples/ name the weights that lie beside them, digest by digest, and are accepted as they are.
use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn documents() -> Vec<Value> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(examples()).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    files.iter().flat_map(|f| tidegate_text::values(&std::fs::read_to_string(f).unwrap()).unwrap()).collect()
}

fn files(list: &Value) -> BTreeMap<String, (String, u64)> {
    let file = |f: &Value| {
        (
            f["path"].as_str().unwrap().to_owned(),
            (f["sha256"].as_str().unwrap().to_owned(), f["size"].as_u64().unwrap()),
        )
    };
    list.as_array().unwrap().iter().map(file).collect()
}

#[test]
fn the_digests_are_those_of_the_manifests_and_of_the_committed_files() {
    let mut versions = 0;
    for model in documents().iter().filter(|d| d["kind"] == "Model") {
        for version in model["spec"]["versions"].as_array().unwrap() {
            versions += 1;
            let uri = version["uri"].as_str().unwrap().strip_prefix("file:").unwrap();
            let dir = examples().join("models").join(uri);
            let manifest: Value =
                serde_json::from_str(&std::fs::read_to_string(dir.join("manifest.json")).unwrap()).unwrap();
            let mut expected = files(&manifest["files"]);
            expected.retain(|path, _| !matches!(path.as_str(), "LICENSE" | "NOTICE"));
            let named = files(&version["files"]);
            assert_eq!(named, expected, "{uri}");
            for (path, (sha256, size)) in named {
                // Exported at set-up: not in the source tree.
                let Ok(bytes) = std::fs::read(dir.join(&path)) else {
                    assert!(uri.starts_with("all-minilm"), "{uri}/{path} is missing");
                    continue;
                };
                assert_eq!((hex::encode(Sha256::digest(&bytes)), bytes.len() as u64), (sha256, size), "{uri}/{path}");
            }
        }
    }
    assert_eq!(versions, 3);
}

#[test]
fn every_document_is_valid() {
    let mut kinds = BTreeMap::<String, usize>::new();
    for file in ["10-models.yaml", "20-pools.yaml", "30-release.yaml", "40-limits.yaml"] {
        let bytes = std::fs::read(examples().join(file)).unwrap();
        for object in tidegate_policy::validate::parse(&bytes).unwrap_or_else(|e| panic!("{file}: {e:?}")) {
            *kinds.entry(object.key().kind.name().to_owned()).or_default() += 1;
        }
    }
    let expected = [("Model", 2), ("WorkerPool", 3), ("ReleasePolicy", 1), ("RateLimitPolicy", 1)];
    assert_eq!(kinds, expected.map(|(k, n)| (k.to_owned(), n)).into());
}
