//! The files of a version, mapped read-only and privately, with their digests checked over the very bytes that will be used.
//! A mapping must outlive every session that borrows from it; files are published by rename, never rewritten in place.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use memmap2::{Mmap, MmapOptions};
use sha2::{Digest, Sha256};

use crate::error::EngineError;
use crate::load::{FileSpec, LoadCancel};
use crate::roots::{ModelRoots, VersionDir};

/// Bytes hashed between two looks at the cancellation.
const CHUNK: usize = 8 << 20;
/// Threads that hash at a time.
const HASHERS: usize = 4;

/// All files of one version, verified.
pub(crate) struct Weights {
    files: BTreeMap<String, Mapped>,
}

struct Mapped {
    /// `None` for an empty file.
    map: Option<Mmap>,
}

impl Weights {
    /// Opens, maps and verifies every file; the first failure in the order of `files` is reported.
    pub(crate) fn open(
        roots: &ModelRoots,
        dir: &VersionDir,
        files: &[FileSpec],
        cancel: &LoadCancel,
    ) -> Result<Self, EngineError> {
        let mut mapped = Vec::with_capacity(files.len());
        for spec in files {
            mapped.push((spec, map(roots, dir, spec)?));
        }
        verify(&mapped, cancel)?;
        Ok(Self { files: mapped.into_iter().map(|(spec, map)| (spec.path.clone(), map)).collect() })
    }

    /// The bytes of a file; `None` when the version does not list it.
    pub(crate) fn bytes(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Mapped::bytes)
    }

    /// The paths of all files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}

impl Mapped {
    fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}

fn map(roots: &ModelRoots, dir: &VersionDir, spec: &FileSpec) -> Result<Mapped, EngineError> {
    let file = roots.open(dir, &spec.path, spec.size)?;
    if spec.size == 0 {
        return Ok(Mapped { map: None });
    }
    // SAFETY: the mapping is private and read-only. The bytes stay as they are as long as nobody rewrites or truncates the
    // file in place; docs/reference/model-format.md demands publishing by rename, and the digest is taken from this mapping.
    let map = unsafe { MmapOptions::new().map_copy_read_only(&file) };
    let map = map.map_err(|source| EngineError::FileRead { path: spec.path.clone(), source })?;
    Ok(Mapped { map: Some(map) })
}

/// Hashes with at most [`HASHERS`] threads, the largest files first.
fn verify(files: &[(&FileSpec, Mapped)], cancel: &LoadCancel) -> Result<(), EngineError> {
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_key(|i| files.get(*i).map(|(spec, _)| spec.size));
    let queue = Mutex::new(order);
    let failed = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..HASHERS.min(files.len()) {
            scope.spawn(|| {
                while let Some(index) = queue.lock().unwrap_or_else(PoisonError::into_inner).pop() {
                    if let Some((spec, map)) = files.get(index)
                        && let Err(error) = check(spec, map.bytes(), cancel)
                    {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).insert(index, error);
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

fn check(spec: &FileSpec, bytes: &[u8], cancel: &LoadCancel) -> Result<(), EngineError> {
    let mut hash = Sha256::new();
    for chunk in bytes.chunks(CHUNK) {
        if cancel.is_cancelled() {
            return Err(EngineError::LoadCancelled);
        }
        hash.update(chunk);
    }
    let found = hex::encode(hash.finalize());
    if found.eq_ignore_ascii_case(&spec.sha256) {
        return Ok(());
    }
    Err(EngineError::DigestDiffers { path: spec.path.clone(), expected: spec.sha256.chars().take(64).collect(), found })
}
