//! Checks a pushed `ModelSet` before anything changes. What can be seen at once (shape, names, digests' form, uris that leave the
//! roots) refuses the whole set; whether the weights are good is only known after loading and is reported by version.
use std::{collections::BTreeSet, time::Duration};

use tidegate_engine::{EngineError, FileSpec, ModelRoots, Task, VersionSpec, check_path, version_digest};
use tidegate_proto::{
    contract::{MAX_DECLARED_VERSIONS, MAX_RETAINED_VERSIONS},
    worker::{self as pb, ModelSet},
};

use super::{plan::VersionKey, table::PoolSettings};
use crate::error::WorkerError;

/// Most versions of one set: what the pool asks for, and what is kept until no route points at it.
pub const MAX_VERSIONS: usize = MAX_DECLARED_VERSIONS + MAX_RETAINED_VERSIONS;
/// Most files of one version.
const MAX_FILES: usize = 64;
const MAX_REQUESTS: u32 = 10_000;
const MAX_BATCH: u32 = 64;
const HOUR_MS: u32 = 3_600_000;

/// A set that was checked; the plan acts on nothing else.
#[derive(Clone, Debug)]
pub struct ValidModelSet {
    pub generation: i64,
    pub model_id: String,
    /// The first is the default.
    pub versions: Vec<(VersionKey, VersionSpec)>,
    pub pool: PoolSettings,
}

/// Checks everything that can be checked without reading a file. `roots`: None for the fake engine, which reads none.
pub fn check(set: &ModelSet, roots: Option<&ModelRoots>) -> Result<ValidModelSet, WorkerError> {
    let refuse = |reason: String| WorkerError::ModelSetRefused { model_id: set.model_id.clone(), reason };
    if set.model_id.is_empty() || set.model_id.len() > 512 {
        return Err(refuse("model_id must have 1 to 512 bytes".to_owned()));
    }
    if set.versions.len() > MAX_VERSIONS {
        return Err(refuse(format!("{} versions, {MAX_VERSIONS} are allowed", set.versions.len())));
    }
    let pool = pool_settings(set).map_err(&refuse)?;
    let mut names = BTreeSet::new();
    let mut versions = Vec::with_capacity(set.versions.len());
    for version in &set.versions {
        let at = |reason: String| refuse(format!("version {:?}: {reason}", version.name));
        if !names.insert(version.name.as_str()) {
            return Err(at("stands twice".to_owned()));
        }
        let spec = spec(&set.model_id, version, pool.max_batch).map_err(at)?;
        if let Some(roots) = roots {
            under_roots(roots, &spec.uri).map_err(at)?;
        }
        versions.push((key(&spec), spec));
    }
    Ok(ValidModelSet { generation: set.generation, model_id: set.model_id.clone(), versions, pool })
}

/// What makes a version another one: everything that decides its answers, and nothing else.
fn key(spec: &VersionSpec) -> VersionKey {
    VersionKey {
        model_id: spec.model_id.clone(),
        name: spec.name.clone(),
        digest: version_digest(&spec.files),
        usage: format!("{:?}\0{}\0{}", spec.task, spec.tokenizer, spec.chat_template.as_deref().unwrap_or_default()),
    }
}

/// A folder that is not there (yet) is no reason to refuse: the load fails, says so, and is tried again.
fn under_roots(roots: &ModelRoots, uri: &str) -> Result<(), String> {
    match roots.version_dir(uri) {
        Ok(_) | Err(EngineError::FileMissing { .. }) => Ok(()),
        Err(error) => Err(format!("{}: {}", error.code(), error.report())),
    }
}

fn spec(model_id: &str, version: &pb::ModelVersion, max_batch: u32) -> Result<VersionSpec, String> {
    let name_ok = !version.name.is_empty()
        && version.name.len() <= 128
        && version.name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if !name_ok {
        return Err("the name must be 1 to 128 of A-Z a-z 0-9 - . _".to_owned());
    }
    let task = match version.task() {
        pb::Task::Chat => Task::Chat,
        pb::Task::Embedding => Task::Embedding,
        pb::Task::Unspecified => return Err("the task is neither Chat nor Embedding".to_owned()),
    };
    if version.files.is_empty() || version.files.len() > MAX_FILES {
        return Err(format!("{} files, 1 to {MAX_FILES} are allowed", version.files.len()));
    }
    let mut paths = BTreeSet::new();
    for file in &version.files {
        check_file(file)?;
        if !paths.insert(file.path.as_str()) {
            return Err(format!("the file {:?} stands twice", file.path));
        }
    }
    if !paths.contains(version.tokenizer.as_str()) {
        return Err(format!("the tokenizer {:?} is not one of its files", version.tokenizer));
    }
    let chat_template = match (task, version.chat_template.as_str()) {
        (Task::Chat, path) if !paths.contains(path) => {
            return Err(format!("the chat template {path:?} is not one of its files"));
        }
        (Task::Chat, path) => Some(path.to_owned()),
        (Task::Embedding, "") => None,
        (Task::Embedding, _) => return Err("an embedding version has no chat template".to_owned()),
    };
    Ok(VersionSpec {
        model_id: model_id.to_owned(),
        name: version.name.clone(),
        uri: version.uri.clone(),
        files: version.files.iter().map(file_spec).collect(),
        task,
        tokenizer: version.tokenizer.clone(),
        chat_template,
        max_batch: usize::try_from(max_batch).unwrap_or(1),
    })
}

fn file_spec(file: &pb::ModelFile) -> FileSpec {
    FileSpec { path: file.path.clone(), sha256: file.sha256.clone(), size: file.size }
}

fn check_file(file: &pb::ModelFile) -> Result<(), String> {
    check_path(&file.path).map_err(|error| format!("{}: {}", error.code(), error.report()))?;
    let hex = file.sha256.len() == 64 && file.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hex { Ok(()) } else { Err(format!("the sha256 of {:?} is not 64 lower-case hex digits", file.path)) }
}

fn pool_settings(set: &ModelSet) -> Result<PoolSettings, String> {
    let default = PoolSettings::default();
    let batching = set.batching.unwrap_or_default();
    let queue = set.queue.unwrap_or_default();
    let timeouts = set.timeouts.unwrap_or_default();
    let within = |name: &str, value: u32, max: u32| {
        if value <= max { Ok(value) } else { Err(format!("{name} is {value}, at most {max} is allowed")) }
    };
    let time = |name: &str, value: u32, default: Duration| match within(name, value, HOUR_MS)? {
        0 => Ok::<_, String>(default),
        ms => Ok(Duration::from_millis(u64::from(ms))),
    };
    let count = |value: u32, default: u32| if value == 0 { default } else { value };
    let max_requests = within("queue.max_requests", queue.max_requests, MAX_REQUESTS)?;
    Ok(PoolSettings {
        inference: time("timeouts.inference_ms", timeouts.inference_ms, default.inference)?,
        drain: time("timeouts.drain_ms", timeouts.drain_ms, default.drain)?,
        max_requests: usize::try_from(count(max_requests, 256)).unwrap_or(default.max_requests),
        max_batch: count(within("batching.max_batch", batching.max_batch, MAX_BATCH)?, default.max_batch),
        max_delay: Duration::from_millis(u64::from(within("batching.max_delay_ms", batching.max_delay_ms, 1_000)?)),
    })
}

#[cfg(test)]
mod tests {
    use tidegate_proto::worker::{ModelFile, ModelVersion};

    use super::*;

    fn set(change: impl FnOnce(&mut ModelVersion)) -> ModelSet {
        let paths = ["model.onnx", "a.json", "b.json", "a.jinja", "b.jinja"];
        let file = |path: &&str| ModelFile { path: (*path).to_owned(), sha256: "a".repeat(64), size: 1 };
        let mut version = ModelVersion {
            name: "v1".to_owned(),
            uri: "file:v1".to_owned(),
            files: paths.iter().map(file).collect(),
            task: pb::Task::Chat.into(),
            tokenizer: "a.json".to_owned(),
            chat_template: "a.jinja".to_owned(),
            ..ModelVersion::default()
        };
        change(&mut version);
        ModelSet { model_id: "chat".to_owned(), versions: vec![version], ..ModelSet::default() }
    }

    fn key_of(change: impl FnOnce(&mut ModelVersion)) -> VersionKey {
        check(&set(change), None).unwrap().versions.remove(0).0
    }

    #[test]
    fn a_version_is_another_one_when_its_answers_can_differ() {
        let plain = key_of(|_| {});
        let changes: [fn(&mut ModelVersion); 4] = [
            |v| v.tokenizer = "b.json".to_owned(),
            |v| v.chat_template = "b.jinja".to_owned(),
            |v| (v.task, v.chat_template) = (pb::Task::Embedding.into(), String::new()),
            |v| v.files[0].sha256 = "b".repeat(64),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            assert_ne!(key_of(change), plain, "change {n}");
        }
        assert_eq!(key_of(|v| v.uri = "file:elsewhere".to_owned()), plain, "the same files from another folder");
        assert_eq!(key_of(|v| v.quantization = 2), plain);
    }
    #[test]
    fn a_pool_with_all_the_versions_that_it_may_ask_for_can_swap() {
        let many = |n: usize| {
            let mut set = set(|_| {});
            let named = |i| ModelVersion { name: format!("v{i}"), ..set.versions[0].clone() };
            set.versions = (0..n).map(named).collect();
            check(&set, None)
        };
        assert!(many(MAX_DECLARED_VERSIONS + 1).is_ok(), "one more is retained meanwhile");
        assert!(many(MAX_VERSIONS).is_ok());
        assert!(many(MAX_VERSIONS + 1).is_err());
    }
}
