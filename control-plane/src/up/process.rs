//! Starts a process so that it cannot outlive `up`: its own group, and a death signal from the kernel. Output goes to a log file.
use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{
    environment,
    plan::{Class, Told},
};

/// A log that is longer is moved to `<name>.log.1`, over an older one.
const MAX_LOG: u64 = 16 << 20;

/// Another user to run as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// What a process is started with. Holds no secret: those are in files that it names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(String, String)>,
    /// None: as `up` itself.
    pub user: Option<User>,
    /// Whether it reaches a database of the operator, for which `PG*` variables count as they do for every client of Postgres.
    pub operators_database: bool,
    pub class: Class,
}

impl Launch {
    /// Everything that makes two launches differ.
    pub fn recipe(&self) -> String {
        format!("{self:?}")
    }
}

/// `<logs>/<name>.log`.
pub fn log_file(logs: &Path, name: &str) -> PathBuf {
    logs.join(format!("{name}.log"))
}

fn open_log(logs: &Path, name: &str) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(log_file(logs, name))
}

/// Bounds every log. The child holds the file open for appending, so the text is copied away and the file cut.
pub fn rotate(logs: &Path) {
    let Ok(entries) = std::fs::read_dir(logs) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let long = entry.metadata().is_ok_and(|m| m.len() > MAX_LOG);
        if long && path.extension().is_some_and(|e| e == "log") {
            let done = std::fs::copy(&path, path.with_extension("log.1"))
                .and_then(|_| OpenOptions::new().write(true).open(&path)?.set_len(0));
            if let Err(error) = done {
                tracing::warn!(%error, path = %path.display(), "a log could not be rotated");
            }
        }
    }
}

/// How long the log of a part is: what it writes from now on begins there.
pub fn log_length(logs: &Path, name: &str) -> u64 {
    std::fs::metadata(log_file(logs, name)).map_or(0, |m| m.len())
}

/// The last lines of a part's log after its first `from` bytes, at most ten and 4 KiB.
pub fn last_lines(logs: &Path, name: &str, from: u64) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log_file(logs, name)) {
        let length = file.metadata().map(|m| m.len()).unwrap_or(0);
        // A log that was cut in between is all new.
        let from = if from > length { 0 } else { from };
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(4096).max(from)));
        let _ = file.take(4096).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].iter().map(|l| format!("  {l}\n")).collect::<String>().trim_end().to_owned()
}

/// The command line of `launch`, with what ties its life to this process in front.
fn command(launch: &Launch) -> std::io::Result<std::process::Command> {
    let signal = if launch.class == Class::Database { "INT" } else { "KILL" };
    let mut command = match &launch.user {
        Some(user) => {
            let mut command = std::process::Command::new("setpriv");
            command.args(["--reuid", &user.uid.to_string(), "--regid", &user.gid.to_string(), "--clear-groups"]);
            command.args(["--pdeathsig", signal]);
            command
        }
        None => {
            let mut command = std::process::Command::new(std::env::current_exe()?);
            let parent = std::process::id().to_string();
            command.args(["exec-child", "--parent", &parent, "--signal", signal, "--"]);
            command
        }
    };
    command.arg(&launch.program).args(&launch.args);
    Ok(command)
}

/// Starts `launch`. Must run on the main thread: the kernel sends the death signal when the thread that started a child ends.
///
/// # Errors
/// When the log cannot be opened or the program cannot be run.
pub fn spawn(launch: &Launch, name: &str, logs: &Path) -> std::io::Result<tokio::process::Child> {
    let log = open_log(logs, name)?;
    let mut command = command(launch)?;
    command.env_clear().envs(environment::of(launch, std::env::vars_os()));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    if launch.class == Class::Database {
        command.current_dir("/");
    }
    tokio::process::Command::from(command).spawn()
}

/// Tells a process to go. A process that is gone already is no error.
pub fn tell(pid: i32, class: Class, what: Told) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    let result = match (what, class) {
        (Told::Kill, _) => kill_process_group(pid, Signal::KILL),
        (Told::Abort, _) => rustix::process::kill_process(pid, Signal::QUIT),
        (Told::Stop, Class::Database) => rustix::process::kill_process(pid, Signal::INT),
        (Told::Stop, Class::Worker | Class::Gateway | Class::Serve) => rustix::process::kill_process(pid, Signal::TERM),
    };
    if let Err(error) = result {
        tracing::debug!(%error, pid = pid.as_raw_pid(), "signal not delivered");
    }
}

/// Ends what a process has left behind in its group.
pub fn sweep(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}
