//! The one reader of text files that operators name. A byte order mark and Windows line ends do no harm; another encoding, a NUL,
//! a folder, a missing right or endless input is said by name, with the remedy. It must never put what a file holds into a
//! message: the file may hold a secret.
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

use tidegate_text::{Mistake, decode};

/// Largest configuration, certificate or key file.
pub const MAX_SMALL: u64 = 1 << 20;

/// Largest file that holds one token or URL.
const MAX_LINE: u64 = 16 << 10;

/// Why a file cannot be used. The text follows the name of the file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("there is no such file")]
    Missing,
    #[error("this is a folder; a file is wanted")]
    Folder,
    #[error("this is a {0}; a file is wanted")]
    Special(&'static str),
    #[error("user {user} may not read it{}", whose(*.mode, *.owner))]
    Forbidden { user: u32, mode: Option<u32>, owner: Option<u32> },
    #[error("it is larger than {}", size(*.0))]
    TooLarge(u64),
    #[error("{0}")]
    Text(Mistake),
    #[error("it is empty")]
    Empty,
    #[error("it holds more than one line; one is wanted, and nothing else")]
    Lines,
    #[error("it cannot be read: {}", plain(.0))]
    Io(io::Error),
}

impl Problem {
    /// Whether there is no file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

/// The text of a file, at most `max` bytes. Pipes (`<(command)`) are read to their end.
///
/// # Errors
/// See [`Problem`].
pub fn read(path: &Path, max: u64) -> Result<String, Problem> {
    let file = File::open(path).map_err(|e| refused(path, e))?;
    let meta = file.metadata().map_err(Problem::Io)?;
    if meta.is_dir() {
        return Err(Problem::Folder);
    }
    if meta.file_type().is_block_device() {
        return Err(Problem::Special("block device"));
    }
    if meta.is_file() && meta.len() > max {
        return Err(Problem::TooLarge(max));
    }
    read_from(file, max)
}

/// The text of standard input or another stream, at most `max` bytes.
///
/// # Errors
/// See [`Problem`].
pub fn read_from(stream: impl Read, max: u64) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    stream.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(Problem::Io)?;
    if bytes.len() as u64 > max {
        return Err(Problem::TooLarge(max));
    }
    decode(&bytes).map(str::to_owned).map_err(Problem::Text)
}

/// The only line of a file that holds one token or URL, without the space around it.
///
/// # Errors
/// See [`Problem`].
pub fn read_line(path: &Path) -> Result<String, Problem> {
    let text = read(path, MAX_LINE)?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next()) {
        (None, _) => Err(Problem::Empty),
        (Some(line), None) => Ok(line.to_owned()),
        (Some(_), Some(_)) => Err(Problem::Lines),
    }
}

fn refused(path: &Path, error: io::Error) -> Problem {
    let meta = || path.metadata().ok();
    match error.kind() {
        io::ErrorKind::NotFound => Problem::Missing,
        io::ErrorKind::IsADirectory => Problem::Folder,
        io::ErrorKind::PermissionDenied => {
            let (mode, owner) = (meta().map(|m| m.mode() & 0o7777), meta().map(|m| m.uid()));
            Problem::Forbidden { user: rustix::process::geteuid().as_raw(), mode, owner }
        }
        _ if meta().is_some_and(|m| m.file_type().is_socket()) => Problem::Special("socket"),
        _ => Problem::Io(error),
    }
}

fn whose(mode: Option<u32>, owner: Option<u32>) -> String {
    match (mode, owner) {
        (Some(mode), Some(owner)) => format!(": it belongs to user {owner} and has the mode {mode:04o}"),
        _ => ", or not enter a folder on the way to it".to_owned(),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        n if n >= 1 << 20 => format!("{} MiB", n >> 20),
        n => format!("{} KiB", n >> 10),
    }
}

/// The system's words without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
