//! A `tidegate up` in a temporary directory on free ports, and what the tests ask about its processes. Dropping it kills it.
use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");

/// A clean environment: settings of the developer do not reach the program. Only where the tools are is kept.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (key, _) in std::env::vars_os().filter(|(k, _)| k.to_string_lossy().starts_with("TIDEGATE_")) {
        if key == "TIDEGATE_TOOLS" {
            continue;
        }
        command.env_remove(key);
    }
    command
}

pub struct Scene {
    pub dir: tempfile::TempDir,
    pub data: PathBuf,
    pub up: Option<Child>,
    /// More flags of `up`.
    pub flags: Vec<&'static str>,
    /// Variables of the shell that starts `up`.
    pub env: Vec<(&'static str, &'static str)>,
    output: PathBuf,
    /// Of the admin API, of ADS, of the gateway.
    pub ports: [u16; 3],
}

/// Ports that this process has given to a scene.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A free port, given once, below those that the kernel picks for outgoing connections: until `up` binds it nobody else
/// is likely to.
fn free_port() -> u16 {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let free = |port: &u16| !given.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = std::iter::repeat_with(|| rand::random_range(10_000..32_000)).take(1_000).find(free).unwrap();
    given.insert(port);
    port
}

impl Scene {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("tg-").tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let (data, output) = (dir.path().join("data"), dir.path().join("out"));
        Self {
            dir,
            data,
            up: None,
            flags: Vec::new(),
            env: Vec::new(),
            output,
            ports: [free_port(), free_port(), free_port()],
        }
    }

    /// A worker program; as node `plain` it is one process, else it has a child of its own.
    pub fn worker_script(&self) -> PathBuf {
        let path = self.dir.path().join("worker.sh");
        std::fs::write(
            &path,
            "#!/bin/sh\ncase \"$*\" in *'--node-id plain'*) exec sleep 1000;; esac\nsleep 1000 &\nwait\n",
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(self.dir.path().join("lib.so"), "\x7fELF").unwrap();
        path
    }

    pub fn up_command(&self, program: &Path, prefix: &[&str]) -> Command {
        let mut command = match prefix.split_first() {
            Some((first, rest)) => {
                let mut command = self::command(first);
                command.args(rest).arg(program);
                command
            }
            None => self::command(program),
        };
        command.arg("up").arg("--data-dir").arg(&self.data).current_dir("/");
        for (flag, port) in ["--admin-listen", "--grpc-listen", "--gateway-listen"].iter().zip(self.ports) {
            command.args([flag, format!("127.0.0.1:{port}").as_str()]);
        }
        command
            .arg("--worker-bin")
            .arg(self.worker_script())
            .arg("--onnxruntime-lib")
            .arg(self.dir.path().join("lib.so"));
        command.args(&self.flags).envs(self.env.iter().copied()).stdin(Stdio::null());
        command
    }

    /// Of the admin API, of ADS, of the gateway.
    pub fn addresses(&self) -> [String; 3] {
        self.ports.map(|port| format!("127.0.0.1:{port}"))
    }

    /// Starts `up` and waits for its line `ready`.
    pub fn start(&mut self, program: &Path, prefix: &[&str]) {
        let out = std::fs::File::create(&self.output).unwrap();
        let mut command = self.up_command(program, prefix);
        self.up = Some(command.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap());
        let begun = Instant::now();
        while !self.printed().lines().any(|l| l == "ready") {
            let ended = self.up.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < Duration::from_secs(90),
                "not ready ({ended:?}):\n{}",
                self.printed()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.up.as_ref().unwrap().id()).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Waits for the end of `up`.
    pub fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.up.as_mut().unwrap().try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "up did not end:\n{}", self.printed());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// One exchange with the supervisor's socket: status and body.
    pub fn supervisor(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = UnixStream::connect(self.data.join("supervisor.sock")).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Waits until the control plane answers and reads its store.
    pub fn await_readiness(&self) {
        let address = format!("127.0.0.1:{}", self.ports[0]);
        eventually("/readyz to say 200", || {
            let mut stream = TcpStream::connect(&address).ok()?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            text.starts_with("HTTP/1.1 200").then_some(())
        });
    }

    /// `serve` wants its own set of workers; while it is stopped, the set is the test's.
    pub fn pause_serve(&self, paused: bool) {
        let pid = i32::try_from(self.part_pid("serve", None)).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), if paused { Signal::STOP } else { Signal::CONT }).unwrap();
    }

    /// Process id of a part, once it runs and is not `other`.
    pub fn part_pid(&self, name: &str, other: Option<i64>) -> i64 {
        eventually(&format!("{name} to run"), || {
            let (_, parts) = self.supervisor("GET", "/v1/parts", "");
            let part = parts.as_array()?.iter().find(|p| p["name"] == name && p["state"] == "Running")?.clone();
            part["pid"].as_i64().filter(|pid| Some(*pid) != other)
        })
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(mut up) = self.up.take() {
            let _ = up.kill();
            let _ = up.wait();
        }
    }
}

/// Polls for up to 30 s.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "waited 30 s for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// (pid, start time) of every process below `root`.
pub fn descendants(root: i32) -> Vec<(i32, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        if let Some((parent, started)) = stat(pid) {
            all.push((pid, parent, started));
        }
    }
    let mut found: Vec<(i32, String)> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for (pid, above, started) in &all {
            if *above == parent {
                parents.push(*pid);
                found.push((*pid, started.clone()));
            }
        }
    }
    found
}

/// Parent and start time; None for a process that is gone or only a zombie.
fn stat(pid: i32) -> Option<(i32, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    (fields[0] != "Z").then(|| (fields[1].parse().unwrap_or(0), fields[19].to_owned()))
}

/// Waits until none of the processes is there any more.
pub fn all_gone(processes: &[(i32, String)]) {
    eventually("every process to be gone", || {
        let left = processes.iter().filter(|(pid, started)| stat(*pid).is_some_and(|(_, s)| s == *started));
        (left.count() == 0).then_some(())
    });
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
