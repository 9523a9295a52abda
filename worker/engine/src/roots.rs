//! Where model files may lie. What is pushed to a worker is untrusted: a path is used only when it is, with all its links
//! resolved, a regular file under a root that the machine's own configuration allows.
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use crate::error::EngineError;

/// Longest path of a file inside a version, bytes.
const MAX_PATH: usize = 512;
/// `O_NONBLOCK` on Linux, for every architecture we build for: opening a FIFO must not hang.
const O_NONBLOCK: i32 = 0o4000;

/// The allow-listed roots, in the order in which a relative uri is tried.
#[derive(Clone, Debug)]
pub struct ModelRoots {
    roots: Vec<PathBuf>,
}

/// The directory of a version, links resolved, under one of the roots.
#[derive(Clone, Debug)]
pub struct VersionDir {
    path: PathBuf,
}

impl ModelRoots {
    /// Each must be a directory that exists.
    pub fn new(roots: impl IntoIterator<Item = PathBuf>) -> Result<Self, EngineError> {
        let resolve = |path: PathBuf| match path.canonicalize() {
            Ok(root) if root.is_dir() => Ok(root),
            Ok(_) => Err(EngineError::RootInvalid { path, source: std::io::ErrorKind::NotADirectory.into() }),
            Err(source) => Err(EngineError::RootInvalid { path, source }),
        };
        Ok(Self { roots: roots.into_iter().map(resolve).collect::<Result<_, _>>()? })
    }

    /// Finds the directory of a version. `file:relative/dir` is looked for under each root in order, `file:///absolute/dir`
    /// must lie under one of them. No other scheme, no `..`, no percent-encoding.
    pub fn version_dir(&self, uri: &str) -> Result<VersionDir, EngineError> {
        let invalid = |reason| EngineError::UriInvalid { uri: uri.to_owned(), reason };
        let rest = uri.strip_prefix("file:").ok_or_else(|| invalid("only file: is supported"))?;
        if rest.is_empty() || rest.contains(['\0', '%', '?', '#']) {
            return Err(invalid("it is empty or has a character that is not allowed"));
        }
        if let Some(absolute) = rest.strip_prefix("//") {
            if !absolute.starts_with('/') {
                return Err(invalid("a host is not supported"));
            }
            if !Path::new(absolute).components().skip(1).all(|c| matches!(c, Component::Normal(_))) {
                return Err(invalid("`..` is not allowed"));
            }
            return self.inside(Path::new(absolute), uri);
        }
        let relative = Path::new(rest);
        if !relative.components().all(|c| matches!(c, Component::Normal(_))) {
            return Err(invalid("a relative path without `.` and `..` is needed"));
        }
        let mut missing = EngineError::FileMissing { path: uri.to_owned() };
        for root in &self.roots {
            match self.inside(&root.join(relative), uri) {
                Err(error @ EngineError::FileMissing { .. }) => missing = error,
                found => return found,
            }
        }
        Err(missing)
    }

    fn inside(&self, path: &Path, uri: &str) -> Result<VersionDir, EngineError> {
        let real = path.canonicalize().map_err(|_| EngineError::FileMissing { path: uri.to_owned() })?;
        self.check(&real, uri)?;
        if !real.is_dir() {
            return Err(EngineError::UriInvalid { uri: uri.to_owned(), reason: "it is not a directory" });
        }
        Ok(VersionDir { path: real })
    }

    fn check(&self, real: &Path, shown: &str) -> Result<(), EngineError> {
        if self.roots.iter().any(|root| real.starts_with(root)) {
            Ok(())
        } else {
            Err(EngineError::OutsideRoots { path: shown.to_owned() })
        }
    }

    /// Opens a file of a version for reading: regular, under the roots, with exactly `size` bytes.
    pub fn open(&self, dir: &VersionDir, path: &str, size: u64) -> Result<File, EngineError> {
        check_path(path)?;
        let shown = || path.to_owned();
        let read = |source| EngineError::FileRead { path: path.to_owned(), source };
        let real = match dir.path.join(path).canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(EngineError::FileMissing { path: shown() });
            }
            Err(error) => return Err(read(error)),
        };
        self.check(&real, path)?;
        if !std::fs::symlink_metadata(&real).map_err(read)?.is_file() {
            return Err(EngineError::NotAFile { path: shown() });
        }
        let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&real).map_err(read)?;
        // What was opened is what counts: a link may have been put in place between the check and the open.
        let opened = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(read)?;
        self.check(&opened, path)?;
        let metadata = file.metadata().map_err(read)?;
        if !metadata.is_file() {
            return Err(EngineError::NotAFile { path: shown() });
        }
        if metadata.len() != size {
            return Err(EngineError::SizeDiffers { path: shown(), expected: size, found: metadata.len() });
        }
        Ok(file)
    }
}

/// Whether a path may name a file inside a version: relative, only plain names, at most 512 bytes. Looks at no disk.
pub fn check_path(path: &str) -> Result<(), EngineError> {
    let invalid = |reason| Err(EngineError::PathInvalid { path: path.chars().take(128).collect(), reason });
    if path.is_empty() || path.len() > MAX_PATH || path.contains('\0') {
        return invalid("it is empty, too long or has a zero byte");
    }
    if Path::new(path).is_absolute() {
        return invalid("it is absolute");
    }
    // Compared with the text, because `components` drops an inner `.` and doubled slashes.
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return invalid("only plain names are allowed between slashes");
    }
    Ok(())
}
