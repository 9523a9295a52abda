//! The private Postgres of `up`: found on the machine, made once, reached over a Unix socket with a random password. It refuses root,
//! so under root it runs as `postgres` or `nobody`. Nothing here speaks SQL except to create the empty database.
use std::{
    ffi::OsString,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Stdio,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    environment,
    plan::Class,
    process::{Launch, User},
    stale,
};
use crate::{admin_token::write_private, config::Settings, error::Error};

/// Role and database.
const NAME: &str = "tidegate";
/// The longest path of a Unix socket on Linux, without the final zero.
const MAX_SOCKET_PATH: usize = 107;

/// Where the parts of the private Postgres are.
#[derive(Clone, Debug)]
pub struct Postgres {
    bin: PathBuf,
    data: PathBuf,
    sockets: PathBuf,
    password_file: PathBuf,
    user: Option<User>,
}

/// Finds the programs and the user; makes nothing yet.
///
/// # Errors
/// TG-1521, TG-1525.
pub fn find(settings: &Settings) -> Result<Postgres, Error> {
    let sockets = settings.in_data_dir("postgres-socket");
    let longest = sockets.join(stale::SOCKET);
    if longest.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(Error::SocketPath { path: longest, max: MAX_SOCKET_PATH });
    }
    let user = if rustix::process::geteuid().is_root() { Some(unprivileged()?) } else { None };
    Ok(Postgres {
        bin: bin_dir(settings)?,
        data: settings.in_data_dir("postgres"),
        sockets,
        password_file: settings.in_data_dir("postgres-password"),
        user,
    })
}

fn bin_dir(settings: &Settings) -> Result<PathBuf, Error> {
    let complete = |dir: &PathBuf| dir.join("postgres").is_file() && dir.join("initdb").is_file();
    if let Some(dir) = &settings.up.postgres_bin_dir {
        return Some(dir.clone())
            .filter(complete)
            .ok_or_else(|| Error::NoPostgres { searched: dir.display().to_string() });
    }
    let mut searched: Vec<PathBuf> =
        std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default();
    let tools = super::find::tools_dir().join("postgres");
    for base in [PathBuf::from("/usr/lib/postgresql"), tools.join("usr/lib/postgresql")] {
        let versions = std::fs::read_dir(base).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default();
        searched.extend(newest_first(versions).into_iter().map(|dir| dir.join("bin")));
    }
    searched.extend([PathBuf::from("/usr/local/pgsql/bin"), tools.join("bin")]);
    let found: Vec<Server> = searched.into_iter().filter(complete).map(Server::at).collect();
    let made_by = std::fs::read_to_string(settings.in_data_dir("postgres").join("PG_VERSION")).ok();
    let cluster = major(made_by.as_deref().map(str::trim));
    let chosen = choose(&found, cluster).map(|server| server.bin.clone());
    chosen.ok_or_else(|| {
        let searched = "PATH, /usr/lib/postgresql/*/bin, the tools cache".to_owned();
        let wanted = cluster.map(|v| format!("; version {v} made the database, and only it can open it"));
        Error::NoPostgres { searched: searched + &wanted.unwrap_or_default() }
    })
}

/// A folder with initdb and postgres.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Server {
    /// None: its path does not tell.
    version: Option<u32>,
    bin: PathBuf,
}

impl Server {
    /// The version is that of `…/<version>/bin/postgres`, links followed.
    fn at(bin: PathBuf) -> Self {
        let program = bin.join("postgres").canonicalize().unwrap_or_default();
        let version = major(program.ancestors().nth(2).and_then(Path::file_name).and_then(|n| n.to_str()));
        Self { version, bin }
    }
}

/// 15 of `15` or `15.3`.
fn major(version: Option<&str>) -> Option<u32> {
    version?.split('.').next()?.parse().ok()
}

/// Folders whose names are versions, by number; others last.
fn newest_first(mut dirs: Vec<PathBuf>) -> Vec<PathBuf> {
    dirs.sort_by_key(|dir| std::cmp::Reverse(major(dir.file_name().and_then(|n| n.to_str()))));
    dirs
}

/// The server that can open the cluster; without a cluster the first one.
fn choose(found: &[Server], cluster: Option<u32>) -> Option<&Server> {
    let Some(cluster) = cluster else { return found.first() };
    let same = found.iter().find(|s| s.version == Some(cluster));
    same.or_else(|| found.iter().find(|s| s.version.is_none()))
}

/// `postgres`, or else `nobody`.
fn unprivileged() -> Result<User, Error> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = |name: &str| {
        let line = passwd.lines().find(|l| l.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(User { name: name.to_owned(), uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    };
    entry("postgres").or_else(|| entry("nobody")).ok_or_else(|| {
        Error::MissingPart(
            "Postgres does not run as root, and the machine has neither a user `postgres` nor `nobody`; add one"
                .to_owned(),
        )
    })
}

impl Postgres {
    /// Makes the cluster on the first start, and what every start needs. An interrupted first start leaves nothing that a later one trips over.
    ///
    /// # Errors
    /// TG-1522, TG-1524.
    pub async fn prepare(&self) -> Result<(), Error> {
        self.own_dir(&self.sockets)?;
        if self.data.join("PG_VERSION").is_file() {
            if !self.password_file.is_file() {
                return Err(self.unusable("its password file is gone"));
            }
            return stale::settle(&self.data, &self.sockets).await;
        }
        let password = self.new_password()?;
        let fresh = self.data.with_extension("new");
        if fresh.exists() {
            std::fs::remove_dir_all(&fresh).map_err(|e| self.unusable(&e.to_string()))?;
        }
        self.own_dir(&fresh)?;
        self.check_reachable(&fresh)?;
        let pwfile = self.sockets.join("password");
        write_private(&pwfile, &password).map_err(|e| self.unusable(&e.to_string()))?;
        if let Some(user) = &self.user {
            chown(&pwfile, Some(user.uid), Some(user.gid)).map_err(|e| self.unusable(&e.to_string()))?;
        }
        let mut args: Vec<OsString> = vec!["-D".into(), fresh.clone().into(), "--pwfile".into(), pwfile.clone().into()];
        args.extend(
            ["-U", NAME, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"]
                .map(OsString::from),
        );
        let made = self.run("initdb", args, "").await;
        let _ = std::fs::remove_file(&pwfile);
        made?;
        let args = ["--single", "-D"]
            .map(OsString::from)
            .into_iter()
            .chain([fresh.clone().into(), "postgres".into()])
            .collect();
        self.run("postgres", args, &format!("CREATE DATABASE {NAME};\n")).await?;
        std::fs::rename(&fresh, &self.data).map_err(|e| self.unusable(&e.to_string()))
    }

    fn unusable(&self, reason: &str) -> Error {
        Error::DataDir { path: self.data.clone(), reason: reason.to_owned() }
    }

    /// A folder that only the server's user can enter.
    fn own_dir(&self, dir: &Path) -> Result<(), Error> {
        let make = || {
            std::fs::create_dir_all(dir)?;
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
            match &self.user {
                Some(user) => chown(dir, Some(user.uid), Some(user.gid)),
                None => Ok(()),
            }
        };
        make().map_err(|e| Error::DataDir { path: dir.to_owned(), reason: e.to_string() })
    }

    /// Under root: whether the other user can get there at all.
    fn check_reachable(&self, dir: &Path) -> Result<(), Error> {
        let Some(user) = &self.user else { return Ok(()) };
        let ids = [user.uid.to_string(), user.gid.to_string()];
        let status = std::process::Command::new("setpriv")
            .args(["--reuid", &ids[0], "--regid", &ids[1], "--clear-groups", "test", "-w"])
            .arg(dir)
            .stderr(Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(Error::DataDir {
                path: dir.to_owned(),
                reason: format!(
                    "Postgres runs as the user {}, who cannot get there; let every folder above it be entered (chmod o+x), or choose another --data-dir",
                    user.name
                ),
            }),
            Err(e) => Err(Error::MissingPart(format!(
                "the program setpriv (package util-linux) is needed to start Postgres from root: {e}"
            ))),
        }
    }

    fn new_password(&self) -> Result<String, Error> {
        let password = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>());
        write_private(&self.password_file, &password).map_err(|e| self.unusable(&e.to_string()))?;
        Ok(password)
    }

    async fn run(&self, program: &str, args: Vec<OsString>, input: &str) -> Result<(), Error> {
        let failed = |reason: String| Error::InitDb { reason };
        let mut command = match &self.user {
            Some(user) => {
                let mut command = tokio::process::Command::new("setpriv");
                command.args([
                    "--reuid",
                    &user.uid.to_string(),
                    "--regid",
                    &user.gid.to_string(),
                    "--clear-groups",
                    "--pdeathsig",
                    "KILL",
                ]);
                command.arg(self.bin.join(program));
                command
            }
            None => tokio::process::Command::new(self.bin.join(program)),
        };
        let environment = environment::of(&self.launch(), std::env::vars_os());
        command.args(args).current_dir("/").env_clear().envs(environment).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| failed(format!("{program}: {e}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stdin, input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.map_err(|e| failed(format!("{program}: {e}")))?;
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // The single-user server exits with 0 after a failed statement.
        if output.status.success() && !text.contains("ERROR:") {
            return Ok(());
        }
        Err(failed(format!("{program} ({}): {text}", output.status)))
    }

    /// How the server is run.
    pub fn launch(&self) -> Launch {
        let mut args: Vec<OsString> =
            vec!["-D".into(), self.data.clone().into(), "-k".into(), self.sockets.clone().into()];
        for setting in [
            "listen_addresses=",
            "port=5432",
            "unix_socket_permissions=0700",
            "password_encryption=scram-sha-256",
            "fsync=on",
            "synchronous_commit=on",
            "full_page_writes=on",
            "max_connections=40",
            "log_min_messages=warning",
            "log_statement=none",
            "log_min_error_statement=panic",
        ] {
            args.extend(["-c".into(), setting.into()]);
        }
        let program = self.bin.join("postgres");
        Launch {
            program,
            args,
            env: self.env(),
            user: self.user.clone(),
            operators_database: false,
            class: Class::Database,
        }
    }

    /// A server that was unpacked into the tools cache, and not installed, finds its libraries there.
    fn env(&self) -> Vec<(String, String)> {
        let mut env = Vec::new();
        let unpacked = super::find::tools_dir().join("postgres/usr/lib");
        if self.bin.starts_with(&unpacked) {
            let below = std::fs::read_dir(&unpacked)
                .map(|d| d.flatten().map(|e| e.path()).collect())
                .unwrap_or_else(|_| Vec::new());
            let dirs = below.into_iter().filter(|p| p.to_string_lossy().ends_with("-linux-gnu")).chain([unpacked]);
            env.push((
                "LD_LIBRARY_PATH".to_owned(),
                dirs.map(|p| p.display().to_string()).collect::<Vec<_>>().join(":"),
            ));
        }
        env
    }

    /// Whether the server `pid` accepts connections, as it says in its own pid file.
    pub fn ready(&self, pid: i32) -> bool {
        let text = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        lines.next().and_then(|l| l.trim().parse::<i32>().ok()) == Some(pid)
            && lines.nth(6).is_some_and(|l| l.trim() == "ready")
    }

    /// The URL for `serve`. A secret.
    ///
    /// # Errors
    /// TG-1522 when the password cannot be read.
    pub fn url(&self) -> Result<String, Error> {
        let password = std::fs::read_to_string(&self.password_file).map_err(|e| self.unusable(&e.to_string()))?;
        let host = escaped(&self.sockets.to_string_lossy());
        Ok(format!("postgres://{NAME}:{}@localhost:5432/{NAME}?host={host}&sslmode=disable", password.trim()))
    }

    /// Whom the server runs as, when not as `up`.
    pub fn user_name(&self) -> Option<&str> {
        self.user.as_ref().map(|u| u.name.as_str())
    }
}

/// Percent-encodes what a query cannot hold.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => char::from(b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    //! Which server is taken, out of those that a machine may have.
    use super::*;

    fn servers(found: &[(Option<u32>, &str)]) -> Vec<Server> {
        found.iter().map(|(version, bin)| Server { version: *version, bin: PathBuf::from(bin) }).collect()
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let bases = ["9.6", "15", "main", "9", "17"].map(|v| PathBuf::from("/usr/lib/postgresql").join(v));
        let order = newest_first(bases.to_vec());
        let names: Vec<&str> = order.iter().filter_map(|p| p.file_name()?.to_str()).collect();
        assert_eq!(names[..2], ["17", "15"]);
        assert_eq!(names[4], "main", "{names:?}");
        assert_eq!([Some("15"), Some("9.6"), Some("main"), None].map(major), [Some(15), Some(9), None, None]);
    }

    #[test]
    fn a_cluster_is_opened_by_the_version_that_made_it() {
        let found = servers(&[(None, "/opt/bin"), (Some(17), "/d/17/bin"), (Some(9), "/d/9.6/bin")]);
        let chosen = |cluster| choose(&found, cluster).map(|s| s.bin.to_str().unwrap());
        assert_eq!(chosen(None), Some("/opt/bin"), "the first one makes a new cluster");
        assert_eq!(chosen(Some(9)), Some("/d/9.6/bin"));
        assert_eq!(chosen(Some(16)), Some("/opt/bin"), "it may be that version");
        assert_eq!(choose(&found[1..], Some(16)), None, "none of them can open it");
        assert_eq!(choose(&[], None), None);
    }
}
