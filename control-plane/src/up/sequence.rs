//! The order in which `up` starts its parts: each waits until the one before is ready, and prints a line.
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    find, gateway,
    plan::{Class, Part},
    postgres::{self, Postgres},
    process::{self, Launch},
    runner::{Command, Handle},
    say, serve,
    workers::Workers,
};
use crate::{
    admin_token::write_private,
    cli::{Client, ConnectArgs, apply_files},
    config::Settings,
    error::Error,
};

/// Longest wait for one part.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at a part that starts.
const POLL: Duration = Duration::from_millis(20);
/// A part that failed so often at the start will not come.
const GIVE_UP_AFTER: u32 = 4;

/// What runs when all is started.
pub struct Started {
    /// Whether there is a gateway.
    pub gateway: bool,
    /// To the control plane.
    pub client: Client,
}

/// Starts everything; returns when all of it is ready and `documents` are applied. Their mistakes are known by then; what the
/// server refuses all the same is told, and no reason to stop what serves.
///
/// # Errors
/// The first part that is missing or does not become ready.
pub async fn start(
    settings: &Settings,
    runner: &Handle,
    workers: &Workers,
    documents: Vec<PathBuf>,
) -> Result<Started, Error> {
    let url_file = database(settings, runner).await?;
    control_plane(settings, runner, &url_file).await?;
    let connect = ConnectArgs {
        server: Some(settings.admin_url()),
        token_file: Some(settings.admin_token_file()),
        data_dir: Some(settings.data_dir.clone()),
        certificate: settings.admin_tls.as_ref().map(|t| t.cert.clone()),
        ..ConnectArgs::default()
    };
    let client = connect.client()?;
    let gateway = envoy(settings, runner, &client).await?;
    if let Some(missing) = workers.missing() {
        say(&format!("workers not available (TG-1526): {missing}"));
    }
    write_urls(settings, gateway)?;
    say(&format!("admin API   {}  (token in {})", settings.admin_url(), settings.admin_token_file().display()));
    if gateway {
        say(&format!("gateway     {}  (OpenAI base URL {}/v1)", settings.gateway_url(), settings.gateway_url()));
    }
    if !documents.is_empty() {
        match apply_files(documents, connect).await {
            Ok(said) => say(said.trim_end()),
            Err(error) => {
                let what = match &error {
                    Error::PartlyApplied { .. } => "not all of it is applied",
                    Error::Unreachable { .. } => "perhaps not applied",
                    _ => "not applied",
                };
                say(&format!("{what}, so everything runs with what the store holds: {}", error.report()))
            }
        }
    }
    Ok(Started { gateway, client })
}

async fn database(settings: &Settings, runner: &Handle) -> Result<PathBuf, Error> {
    let url_file = settings.in_data_dir("run").join("database-url");
    let keep = |url: &str| {
        write_private(&url_file, url).map_err(|e| Error::DataDir { path: url_file.clone(), reason: e.to_string() })
    };
    if let Some(url) = &settings.database_url {
        keep(url.reveal())?;
        return Ok(url_file);
    }
    let begun = Instant::now();
    let postgres: Postgres = postgres::find(settings)?;
    postgres.prepare().await?;
    keep(&postgres.url()?)?;
    want(runner, "postgres", postgres.launch(), 60_000).await;
    let listens = async |pid| if postgres.ready(pid) { Ok(()) } else { Err(String::new()) };
    wait(settings, runner, "postgres", listens).await?;
    let user = postgres.user_name().map(|u| format!(", as the user {u}")).unwrap_or_default();
    say(&format!("postgres ready ({}{user})", seconds(begun)));
    Ok(url_file)
}

async fn control_plane(settings: &Settings, runner: &Handle, url_file: &Path) -> Result<(), Error> {
    let begun = Instant::now();
    want(runner, "serve", serve::launch(settings, url_file)?, 15_000).await;
    let http = serve::probe_client(settings)?;
    wait(settings, runner, "serve", async |_| serve::ready(&http, settings).await).await?;
    say(&format!("control plane ready ({})", seconds(begun)));
    Ok(())
}

/// Whether there is a gateway.
async fn envoy(settings: &Settings, runner: &Handle, client: &Client) -> Result<bool, Error> {
    let Some(program) = find::envoy(settings) else {
        say("gateway not started (TG-1527): Envoy was not found; run `make tools`, or name it with --envoy-bin");
        return Ok(false);
    };
    let begun = Instant::now();
    let launch = gateway::prepare(settings, program, client).await?;
    want(runner, "gateway", launch, 10_000).await;
    wait(settings, runner, "gateway", async |_| gateway::ready(settings).await).await?;
    say(&format!("gateway ready ({})", seconds(begun)));
    Ok(true)
}

async fn want(runner: &Handle, name: &str, launch: Launch, grace: u64) {
    let part = Part { name: name.to_owned(), class: launch.class, recipe: launch.recipe(), grace };
    debug_assert!(part.class != Class::Worker);
    runner.send(Command::Want { part, launch }).await;
}

/// Polls `probe` with the part's process id until it holds; what it said last is in the error.
async fn wait(
    settings: &Settings,
    runner: &Handle,
    name: &str,
    probe: impl AsyncFn(i32) -> Result<(), String>,
) -> Result<(), Error> {
    let begun = Instant::now();
    let mut missing = String::new();
    loop {
        let part = runner.overview.borrow().part(name).cloned();
        if let Some(part) = part {
            if let (Some(pid), "Running") = (part.pid, part.state) {
                match probe(pid).await {
                    Ok(()) if runner.overview.borrow().part(name).is_some_and(|p| p.pid == Some(pid)) => return Ok(()),
                    Ok(()) => {}
                    Err(reason) => missing = reason,
                }
            }
            let reason = match part.last_exit {
                Some(code @ 64) => Some(format!("it exited with status {code}")),
                _ if part.failures >= GIVE_UP_AFTER => Some(format!("it failed {} times", part.failures)),
                _ if begun.elapsed() > READY_WITHIN => Some(late(&missing)),
                _ => None,
            };
            if let Some(reason) = reason {
                let last_lines = process::last_lines(&settings.in_data_dir("logs"), name, part.log_start);
                return Err(Error::NotReady { name: name.to_owned(), reason, last_lines });
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

fn late(missing: &str) -> String {
    let missing = if missing.is_empty() { String::new() } else { format!(" ({missing})") };
    format!("not within {} s{missing}", READY_WITHIN.as_secs())
}

/// Where everything is, for the command line and for programs that started `up`.
fn write_urls(settings: &Settings, gateway: bool) -> Result<(), Error> {
    let mut urls = json!({
        "adminUrl": settings.admin_url(),
        "grpcUrl": settings.grpc_url(),
        "dataDir": settings.data_dir,
        "adminTokenFile": settings.admin_token_file(),
        "supervisorSocket": settings.supervisor_socket,
        "instance": settings.instance_id,
        "pid": std::process::id(),
    });
    if gateway {
        urls["gatewayUrl"] = json!(settings.gateway_url());
        urls["openaiBaseUrl"] = json!(format!("{}/v1", settings.gateway_url()));
        urls["envoyAdminSocket"] = json!(gateway::admin_socket(settings));
    }
    let path = settings.in_data_dir("up.json");
    let temporary = settings.in_data_dir("up.json.tmp");
    let write = || {
        std::fs::write(&temporary, format!("{urls:#}\n"))?;
        std::fs::rename(&temporary, &path)
    };
    write().map_err(|e| Error::DataDir { path: path.clone(), reason: e.to_string() })
}

fn seconds(begun: Instant) -> String {
    format!("{:.1} s", begun.elapsed().as_secs_f32())
}
