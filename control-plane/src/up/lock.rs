//! One `up` per data directory: an advisory lock that the kernel drops with the process, however it ends.
use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use crate::error::Error;

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// # Errors
/// TG-1520 when another process holds it, TG-1522 when the file cannot be made.
pub fn lock(dir: &Path) -> Result<Lock, Error> {
    let path = dir.join("up.lock");
    let unusable = |e: std::io::Error| Error::DataDir { path: path.clone(), reason: e.to_string() };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(unusable)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        let _ = (&file).take(32).read_to_string(&mut holder);
        return Err(Error::Locked { dir: dir.to_owned(), holder: holder.trim().to_owned() });
    }
    let mut write = || {
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())
    };
    write().map_err(unusable)?;
    Ok(Lock { _file: file })
}
