//! What a Postgres that is gone has left in its directory: two files with its process number. The number may live again as
//! another process (after a restart of the machine or of a container), and Postgres would then refuse to start for ever.
//! Touches nothing while a Postgres of this directory runs; the caller holds `up.lock`.
use std::{
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use crate::error::Error;

/// How long a Postgres of an earlier `up`, which was told to end when that `up` died, may take.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// A process number that no process can have: larger than any `pid_max`.
const NOBODY: &str = "2147483647";
/// Name of the socket file of port 5432, without its directory.
pub const SOCKET: &str = ".s.PGSQL.5432";

/// Waits until no Postgres runs on `data`, then makes the lock files that name a process harmless.
///
/// # Errors
/// TG-1522 when one goes on, or when a file cannot be written.
pub async fn settle(data: &Path, sockets: &Path) -> Result<(), Error> {
    let begun = Instant::now();
    while let Some(who) = running(data, sockets) {
        if begun.elapsed() > ENDS_WITHIN {
            let reason = format!("{who} uses it, and does not end; stop it, or choose another --data-dir");
            return Err(Error::DataDir { path: data.to_owned(), reason });
        }
        tokio::time::sleep(POLL).await;
    }
    clear(data, sockets).map_err(|e| Error::DataDir { path: data.to_owned(), reason: e.to_string() })
}

/// The Postgres that runs on `data` or answers in `sockets`, in words.
fn running(data: &Path, sockets: &Path) -> Option<String> {
    if let Some(pid) = number(&data.join("postmaster.pid")).filter(|pid| is_postgres(*pid, data)) {
        return Some(format!("Postgres (process {pid})"));
    }
    // Also one whose process cannot be seen from here, as in another container.
    UnixStream::connect(sockets.join(SOCKET)).is_ok().then(|| "a Postgres that answers on its socket".to_owned())
}

/// The number on the first line; negative for a single-user server.
fn number(file: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().next()?.trim().trim_start_matches('-').parse().ok()
}

/// Whether the process is a Postgres server that works in `data`: it goes there at its start and never leaves.
fn is_postgres(pid: u32, data: &Path) -> bool {
    let of = |name: &str| format!("/proc/{pid}/{name}");
    let Ok(name) = std::fs::read_to_string(of("comm")) else { return false };
    let canonical = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let same = |path: &Path| path == data || path.canonicalize().is_ok_and(|path| path == canonical);
    let there = std::fs::read_link(of("cwd")).is_ok_and(|cwd| same(&cwd));
    let told = std::fs::read(of("cmdline")).unwrap_or_default();
    let told = told.split(|b| *b == 0).any(|arg| same(Path::new(&*String::from_utf8_lossy(arg))));
    name.starts_with("post") && (there || told)
}

/// The file of the data directory stays, with a number that nobody has: Postgres still looks in it whether processes of the
/// dead server hold its shared memory.
fn clear(data: &Path, sockets: &Path) -> std::io::Result<()> {
    let absent = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    absent(std::fs::remove_file(sockets.join(format!("{SOCKET}.lock"))))?;
    let file = data.join("postmaster.pid");
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match text.split_once('\n') {
        Some((pid, rest)) if pid.trim().trim_start_matches('-').parse::<u32>().is_ok() => {
            std::fs::write(&file, format!("{NOBODY}\n{rest}"))
        }
        // Cut off by a crash: it says nothing, and Postgres would not start with it.
        Some(_) | None => absent(std::fs::remove_file(&file)),
    }
}

#[cfg(test)]
mod tests {
    //! Whose number it is.
    use super::*;

    #[tokio::test]
    async fn the_number_of_a_stranger_is_taken_out_and_the_rest_of_the_file_stays() {
        let (data, sockets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (pid, lock) = (data.path().join("postmaster.pid"), sockets.path().join(".s.PGSQL.5432.lock"));
        let me = std::process::id();
        std::fs::write(&pid, format!("{me}\n/data\n1700000000\n5432\n/s\n\n   123456   7\nready\n")).unwrap();
        std::fs::write(&lock, format!("{me}\n")).unwrap();
        settle(data.path(), sockets.path()).await.unwrap();
        let left = std::fs::read_to_string(&pid).unwrap();
        assert_eq!(left, "2147483647\n/data\n1700000000\n5432\n/s\n\n   123456   7\nready\n");
        assert!(!lock.exists());
        std::fs::write(&pid, "").unwrap();
        settle(data.path(), sockets.path()).await.unwrap();
        assert!(!pid.exists(), "an empty file stops Postgres");
    }

    #[test]
    fn a_socket_that_answers_is_a_server_that_runs() {
        let (data, sockets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let listens = std::os::unix::net::UnixListener::bind(sockets.path().join(SOCKET)).unwrap();
        assert!(running(data.path(), sockets.path()).is_some());
        drop(listens);
        assert_eq!(running(data.path(), sockets.path()), None, "only its file is left");
    }
}
