//! A private Postgres for these tests: Unix socket only, in a temporary directory, one server per test binary and one
//! database per test. It is stopped with the test process, whatever happens to that.
use std::{
    io::{Read, Seek},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A running server.
pub struct Server {
    root: TempDir,
    child: Child,
    settings: Vec<&'static str>,
}

static SHARED: OnceLock<Server> = OnceLock::new();
static DATABASES: AtomicUsize = AtomicUsize::new(0);

/// A fresh database on the server that all tests of this binary share.
pub fn database() -> String {
    SHARED.get_or_init(shared).database()
}

/// The shared server is started by a thread that lives as long as the process: `--pdeathsig` is about the thread that
/// started a child, and a test's thread ends with the test. A static is never dropped, so a guardian removes the folder.
fn shared() -> Server {
    const GUARD: &str = r#"sleep 1000000 & trap "kill $!; sleep 1; rm -rf \"$0\"" TERM; wait"#;
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let server = Server::start(&[]);
        let mut guard = Command::new("setpriv");
        guard.args(["--pdeathsig", "TERM", "sh", "-c", GUARD]).arg(server.root.path()).process_group(0);
        guard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guard = guard.spawn().unwrap();
        sender.send(server).unwrap();
        guard.wait().unwrap();
    });
    receiver.recv().unwrap()
}

/// `$TIDEGATE_TOOLS`, or `~/.cache/tidegate/tools`: there packages are unpacked that are not installed.
pub fn tools() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/tidegate/tools");
    std::env::var_os("TIDEGATE_TOOLS").map_or_else(home, PathBuf::from)
}

/// The `bin` folders of the versions below `base`, the newest first: 9 is older than 15.
pub fn versions(base: &Path) -> Vec<PathBuf> {
    let version = |dir: &Path| dir.file_name()?.to_str()?.parse::<u32>().ok();
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir(base)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((version(&entry.path())?, entry.path().join("bin"))))
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, bin)| bin).collect()
}

/// Where programs of Postgres are: the first folder that has a server, then all others, for what that one lacks.
fn folders() -> &'static [PathBuf] {
    static FOLDERS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        let mut all: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
        all.extend(versions(Path::new("/usr/lib/postgresql")));
        all.extend(versions(&tools().join("postgres/usr/lib/postgresql")));
        let server = all.iter().find(|dir| dir.join("initdb").exists() && dir.join("postgres").exists()).cloned();
        server.into_iter().chain(all).collect()
    })
}

fn program(name: &str) -> PathBuf {
    let found = folders().iter().map(|dir| dir.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing: run `make tools`, or install the package postgresql"))
}

/// The libraries of a program that was unpacked below `tools`, and not installed.
pub fn libraries(program: &Path, tools: &Path) -> Option<std::ffi::OsString> {
    let unpacked = tools.join("postgres/usr/lib");
    if !program.starts_with(&unpacked) {
        return None;
    }
    let below = std::fs::read_dir(&unpacked).into_iter().flatten().flatten().map(|entry| entry.path());
    let machine = below.filter(|dir| dir.to_string_lossy().ends_with("-linux-gnu"));
    std::env::join_paths(machine.chain([unpacked.clone()])).ok()
}

fn with_libraries(mut command: Command, program: &Path) -> Command {
    if let Some(libraries) = libraries(program, &tools()) {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command
}

/// Postgres refuses root: there it runs as `postgres` or `nobody`.
pub fn user() -> Option<&'static str> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let has = |name: &str| passwd.lines().any(|l| l.starts_with(&format!("{name}:")));
    rustix::process::geteuid().is_root().then(|| if has("postgres") { "postgres" } else { "nobody" })
}

fn command(program: &Path) -> Command {
    let mut command = match user() {
        Some(user) => {
            let mut c = Command::new("setpriv");
            c.args(["--reuid", user, "--clear-groups", "--pdeathsig", "INT"]).arg(program);
            c
        }
        None => {
            let mut c = Command::new("setpriv");
            c.args(["--pdeathsig", "INT"]).arg(program);
            c
        }
    };
    command.current_dir("/").env("LC_ALL", "C").process_group(0).stdin(Stdio::null());
    with_libraries(command, program)
}

/// A client program; it runs as who runs the tests.
fn client(name: &str) -> Command {
    let program = program(name);
    with_libraries(Command::new(&program), &program)
}

impl Server {
    /// Makes a cluster and starts it with `settings` (`name=value`).
    pub fn start(settings: &[&'static str]) -> Self {
        let root = tempfile::Builder::new().prefix("tg-pg-").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let data = root.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
        let socket = root.path().join("s");
        std::fs::create_dir(&socket).unwrap();
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).unwrap();
        if let Some(user) = user() {
            assert!(Command::new("chown").arg(user).arg(&data).status().unwrap().success());
        }
        let made = command(&program("initdb"))
            .args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let child = spawn(root.path(), settings);
        let server = Self { root, child, settings: settings.to_vec() };
        server.wait();
        server
    }

    /// The folder of its socket.
    pub fn socket(&self) -> PathBuf {
        self.root.path().join("s")
    }

    /// URL of one of its databases.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.socket().display())
    }

    /// Makes a database and returns its URL.
    pub fn database(&self) -> String {
        let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.client("psql", &["-qc", &format!("CREATE DATABASE {name}"), "postgres"]);
        self.url(&name)
    }

    /// Runs a client program against the server and returns what it printed.
    pub fn client(&self, name: &str, args: &[&str]) -> String {
        let socket = self.root.path().join("s");
        let out = client(name).arg("-h").arg(socket).args(["-U", "postgres"]).args(args).output();
        let out = out.unwrap();
        assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// SIGKILL to every process of the server, as a crash would.
    pub fn kill(&mut self) {
        let group = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same data.
    pub fn restart(&mut self) {
        let _ = std::fs::remove_file(self.root.path().join("data/postmaster.pid"));
        self.child = spawn(self.root.path(), &self.settings);
        self.wait();
    }

    fn wait(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        let ready = || {
            let ask = client("pg_isready").arg("-qh").arg(self.root.path().join("s")).status();
            ask.unwrap().success()
        };
        while !ready() {
            if Instant::now() > end {
                let mut log = String::new();
                let mut file = std::fs::File::open(self.root.path().join("log")).unwrap();
                file.rewind().unwrap();
                file.read_to_string(&mut log).unwrap();
                panic!("Postgres did not start:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn spawn(root: &Path, settings: &[&str]) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(root.join("log")).unwrap();
    let mut server = command(&program("postgres"));
    server.arg("-D").arg(root.join("data")).arg("-k").arg(root.join("s"));
    for setting in ["listen_addresses=", "max_connections=200", "shared_buffers=32MB"].iter().chain(settings) {
        server.arg("-c").arg(setting);
    }
    server.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let _ = self.child.wait();
    }
}
