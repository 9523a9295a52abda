//! A whole Tidegate: `tidegate up` on free ports in a temporary directory, and the command line against it.
//! Processes are stopped by pid; dropping it leaves nothing behind.
use std::{
    fs,
    net::SocketAddr,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{client::Client, ports, tools, wait};

/// How long a cold start may take on a slow machine.
const START_LIMIT: Duration = Duration::from_secs(90);

/// A running `tidegate up`.
pub struct Tidegate {
    up: Child,
    /// Removed at the end; absent where the place is the user's own.
    temporary: Option<tempfile::TempDir>,
    place: Place,
}

/// Where an instance keeps its state and listens.
#[derive(Clone, Debug)]
pub struct Place {
    pub data: PathBuf,
    /// Scratch files and what `up` prints.
    pub scratch: PathBuf,
    pub admin: SocketAddr,
    pub gateway: SocketAddr,
    pub grpc: SocketAddr,
}

/// What a run of the command line said.
#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Tidegate {
    /// Starts everything with the defaults and waits until `up` says that it is ready.
    ///
    /// # Errors
    /// When it is not ready in time; the error ends with what `up` printed.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[], &[]).await
    }

    /// As [`Self::start`], with further flags and environment variables for `up`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(flags: &[&str], variables: &[(&str, &str)]) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::Builder::new().prefix("tidegate-").tempdir()?;
        // Postgres runs as a user of its own and must be able to walk here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let (data, scratch) = (dir.path().join("data"), dir.path().to_owned());
        let place = Place { data, scratch, admin: ports::free()?, gateway: ports::free()?, grpc: ports::free()? };
        let mut command = up_command(&place)?;
        command.args(flags).envs(variables.iter().copied());
        let mut running = Self { up: command.spawn().context("start `tidegate up`")?, temporary: Some(dir), place };
        running.await_ready().await?;
        Ok(running)
    }

    /// Starts at a place that outlives it, in a process group of its own: a Ctrl-C in the terminal is for the caller alone.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_at(place: Place) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        fs::create_dir_all(&place.scratch)?;
        let up = up_command(&place)?.process_group(0).spawn().context("start `tidegate up`")?;
        let mut running = Self { up, temporary: None, place };
        running.await_ready().await?;
        Ok(running)
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    async fn await_ready(&mut self) -> Result<()> {
        let log = self.place.scratch.join("up.out");
        let began = std::time::Instant::now();
        loop {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.lines().any(|line| line.starts_with("ready")) {
                return Ok(());
            }
            if let Some(status) = self.up.try_wait()? {
                bail!("`tidegate up` ended with {status}: {said}");
            }
            ensure!(began.elapsed() < START_LIMIT, "`tidegate up` is not ready; it said: {said}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.place.data.clone()
    }

    /// A scratch path beside the data directory.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.place.scratch.join(name)
    }

    /// Everything that `up` printed.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.scratch("up.out")).unwrap_or_default()
    }

    /// Runs the command line against this instance.
    ///
    /// # Errors
    /// When the program cannot be run; a refusal is no error here.
    pub async fn cli(&self, args: &[&str]) -> Result<Said> {
        let mut command = tokio::process::Command::new(tools::program("tidegate")?);
        command.env("TIDEGATE_SERVER", format!("http://{}", self.place.admin));
        command.env("TIDEGATE_TOKEN_FILE", self.data().join("admin-token"));
        command.args(args).stdin(Stdio::null());
        Ok(Said::from(command.output().await?))
    }

    /// Runs the command line and fails unless it succeeds.
    ///
    /// # Errors
    /// With what it said.
    pub async fn ok(&self, args: &[&str]) -> Result<String> {
        let said = self.cli(args).await?;
        ensure!(said.status == Some(0), "tidegate {args:?} failed: {said:?}");
        Ok(said.out)
    }

    /// Applies YAML text.
    ///
    /// # Errors
    /// When it was refused.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        let file = self.scratch(&format!("apply-{}.yaml", rand::random::<u32>()));
        fs::write(&file, yaml)?;
        self.ok(&["apply", "-f", &file.to_string_lossy()]).await
    }

    /// Any request to the admin API, with the admin token.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn admin(&self, method: &str, path: &str, body: Option<String>) -> Result<(u16, serde_json::Value)> {
        let token = fs::read_to_string(self.data().join("admin-token"))?;
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build()?;
        let url = format!("http://{}{path}", self.place.admin);
        let mut request = client.request(method.parse()?, url).bearer_auth(token.trim());
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))))
    }

    /// Fails unless at least `least` nodes are there, and every one is connected with all its types SYNCED.
    ///
    /// # Errors
    /// With the node that is not.
    pub async fn synced(&self, least: usize) -> Result<()> {
        let (status, nodes) = self.admin("GET", "/api/v1/nodes", None).await?;
        ensure!(status == 200, "{status}: {nodes}");
        let items = nodes["items"].as_array().context("items")?;
        ensure!(items.len() >= least, "{} of {least} nodes: {nodes}", items.len());
        for node in items {
            let types = node["types"].as_array().context("types")?;
            let synced = !types.is_empty() && types.iter().all(|t| t["state"] == "SYNCED");
            ensure!(node["connected"] == true && synced, "not in sync: {node}");
        }
        Ok(())
    }

    /// A client of the gateway with a fresh API key for `tenant`.
    ///
    /// # Errors
    /// When no key was made.
    pub async fn client(&self, tenant: &str) -> Result<Client> {
        let (_, made) = self.admin("POST", "/api/v1/api-keys", Some(format!(r#"{{"tenant":"{tenant}"}}"#))).await?;
        let key = made["key"].as_str().with_context(|| format!("no key in {made}"))?;
        let client = Client::new(format!("http://{}", self.place.gateway), Some(key.to_owned()))?;
        wait::until("the gateway to know the key", Duration::from_secs(10), async || {
            // Until a worker serves something it is 503.
            let status = client.get("/v1/models").await?.status;
            ensure!(matches!(status, 200 | 503), "status {status}");
            Ok(())
        })
        .await?;
        Ok(client)
    }

    /// A GET of Envoy's admin interface, over its Unix socket.
    ///
    /// # Errors
    /// When Envoy does not answer.
    pub async fn envoy_admin(&self, path: &str) -> Result<String> {
        let socket = self.data().join("envoy-admin.sock");
        let client = reqwest::Client::builder().unix_socket(socket).timeout(Duration::from_secs(20)).build()?;
        let answer = client.get(format!("http://envoy{path}")).send().await?.error_for_status()?;
        Ok(answer.text().await?)
    }

    /// Everything in the policy store, as SQL text.
    ///
    /// # Errors
    /// When pg_dump fails.
    pub async fn dump_database(&self) -> Result<String> {
        let url = fs::read_to_string(self.data().join("run/database-url"))?;
        let mut command = tokio::process::Command::from(tools::postgres("pg_dump")?);
        let output = command.arg("--dbname").arg(url.trim()).output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Pids of children of `up` (or of their children) whose command line contains `needle`.
    pub fn pids(&self, needle: &str) -> Vec<i32> {
        processes()
            .into_iter()
            .filter(|p| p.descends(self.up.id()) && p.command.contains(needle))
            .map(|p| p.pid)
            .collect()
    }

    /// Resident memory of a process, KiB.
    pub fn resident_kib(pid: i32) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
    }

    /// kill -9 of one process.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn kill_9(pid: i32) -> Result<()> {
        let pid = Pid::from_raw(pid).context("pid 0")?;
        Ok(kill_process(pid, Signal::KILL)?)
    }

    /// Stops everything as Ctrl-C does and says what was still running five seconds after `up` had ended.
    ///
    /// # Errors
    /// When `up` does not end within a minute.
    pub async fn stop(mut self) -> Result<Vec<String>> {
        let before: Vec<i32> = processes().into_iter().filter(|p| p.descends(self.up.id())).map(|p| p.pid).collect();
        kill_process(Pid::from_child(&self.up), Signal::INT)?;
        wait::until("`tidegate up` to end", Duration::from_secs(60), async || {
            ensure!(self.up.try_wait()?.is_some(), "it runs");
            Ok(())
        })
        .await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let left = processes().into_iter().filter(|p| before.contains(&p.pid) && !p.zombie);
        Ok(left.map(|p| format!("{} {}", p.pid, p.command)).collect())
    }
}

impl Tidegate {
    /// Copies the logs to `tidegate-logs/<test>` among the temporary files, over those of the test's last run.
    fn keep_logs(&self) {
        let Some(dir) = &self.temporary else { return };
        let thread = std::thread::current();
        let kept =
            std::env::temp_dir().join("tidegate-logs").join(thread.name().unwrap_or("unnamed").replace(':', "_"));
        let _ = fs::remove_dir_all(&kept);
        let _ = fs::create_dir_all(&kept);
        for log in [self.place.data.join("logs"), dir.path().join("up.out")] {
            let _ = Command::new("cp").arg("-r").arg(log).arg(&kept).stderr(Stdio::null()).status();
        }
        // Shown by the test runner where a test failed.
        println!("logs are kept in {}", kept.display());
    }
}

impl Drop for Tidegate {
    fn drop(&mut self) {
        if let Ok(None) = self.up.try_wait() {
            let _ = kill_process(Pid::from_child(&self.up), Signal::TERM);
            for _ in 0..500 {
                if !matches!(self.up.try_wait(), Ok(None)) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.up.kill();
            let _ = self.up.wait();
        }
        self.keep_logs();
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

fn up_command(place: &Place) -> Result<Command> {
    let out = fs::File::create(place.scratch.join("up.out"))?;
    let mut command = Command::new(tools::program("tidegate")?);
    command.arg("up").arg("--data-dir").arg(&place.data);
    for (flag, address) in
        [("--admin-listen", place.admin), ("--gateway-listen", place.gateway), ("--grpc-listen", place.grpc)]
    {
        command.arg(flag).arg(address.to_string());
    }
    // As variables: a test may name others by flags.
    command.env("TIDEGATE_ENVOY_BIN", tools::envoy()?).env("TIDEGATE_WORKER_BIN", tools::program("tidegate-worker")?);
    command.arg("--onnxruntime-lib").arg(tools::onnxruntime()?);
    command.arg("--model-roots").arg(tools::exported_models()?).arg("--model-roots").arg(tools::example_models());
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    Ok(command)
}

struct Process {
    pid: i32,
    parents: Vec<u32>,
    command: String,
    zombie: bool,
}

impl Process {
    fn descends(&self, from: u32) -> bool {
        self.parents.contains(&from)
    }
}

/// Every process of this machine, with all its ancestors.
fn processes() -> Vec<Process> {
    let stat = |pid: u32| -> Option<(u32, bool)> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut rest = text.rsplit_once(')')?.1.split_whitespace();
        let zombie = rest.next()? == "Z";
        Some((rest.next()?.parse().ok()?, zombie))
    };
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let (mut parent, zombie) = stat(pid)?;
        let mut parents = Vec::new();
        while parent > 1 && parents.len() < 16 {
            parents.push(parent);
            parent = stat(parent).map_or(0, |(p, _)| p);
        }
        Some(Process { pid: i32::try_from(pid).ok()?, parents, command, zombie })
    })
    .collect()
}
