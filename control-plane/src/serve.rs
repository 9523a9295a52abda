//! The control plane as one process: the only wiring. Addresses are bound before any work begins; everything that runs ends
//! by one token. It decides nothing itself.
use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use tidegate_api::{
    admin::{self, AdminState, Fresh, Gateways, Hosts, Tls},
    ads::{self, AdsServer},
    credentials::{TokenTable, proof::Claim},
    fleet::{FleetService, FleetSettings},
    nodes::{Known, NodeRegistry},
};
use tidegate_policy::{
    explain::GatewayFacts,
    ports::{CredentialStore as _, Source},
};
use tidegate_program::text_file;
use tidegate_store::PgStore;
use tidegate_translate::{GatewaySettings, Otlp, types::API_KEYS};
use tidegate_xds::Hub;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

mod parts;

use crate::{
    addresses, admin_token,
    compile_loop::{CompileLoop, Outputs, Published},
    config::{Settings, TlsFiles},
    fleet_driver::{FleetDriver, Processes},
    status_writer::{Heard, StatusWriter},
    telemetry,
};
use parts::Parts;

/// ADS streams that one node may have open: a gRPC client may open one for each of its targets.
const ADS_STREAMS_PER_NODE: usize = 64;
/// Fleet streams that one worker may have open: it needs one, and another while it comes back.
const FLEET_STREAMS_PER_NODE: usize = 8;
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);
/// How often uses of tokens are looked through; of each token at most one a minute is due.
const NOTE_EVERY: Duration = Duration::from_secs(10);
/// How long the parts may take to end after a signal.
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// Runs until SIGTERM or Ctrl-C.
///
/// # Errors
/// When a part cannot start, or ends by itself.
pub async fn run(mut settings: Settings) -> Result<()> {
    let telemetry = telemetry::init(&settings)?;
    let tls = settings.admin_tls.as_ref().map(read_tls).transpose()?;
    admin::guard_bind(settings.admin_listen, tls.is_some(), true)?;
    let admin_listener = bind("admin REST", &mut settings.admin_listen)?;
    let server = claim(&settings, &admin_listener)?;
    let grpc_listener = tokio::net::TcpListener::from_std(bind("ADS and fleet", &mut settings.grpc_listen)?)?;
    let store = connect(&settings).await?;
    std::fs::create_dir_all(&settings.data_dir)?;
    admin_token::ensure(&store, &settings.admin_token_file()).await?;
    tell_where(&settings, &server)?;

    let stop = CancellationToken::new();
    let tokens = Arc::new(TokenTable::new());
    let (published_tx, published) = watch::channel(None);
    let (snapshot_tx, snapshot) = watch::channel(None);
    let (hub_tx, hub) = watch::channel(Arc::new(Hub::default()));
    let (drain_tx, drain) = watch::channel(false);
    let nodes = NodeRegistry::new();
    let outputs = Outputs { published: published_tx, snapshot: snapshot_tx, hub: hub_tx, tokens: tokens.clone() };
    let mut parts = Parts::new(stop.clone(), drain_tx);
    let compile = CompileLoop::new(store.clone(), gateway_settings(&settings)?, outputs);
    parts.add("the compile loop", quiet(compile.run(stop.clone())));
    let (processes_tx, processes) = watch::channel(Arc::new(Processes::default()));
    let seen = published.clone();
    let writer = StatusWriter::new(store.clone(), Heard { nodes: nodes.clone(), hub: hub.clone(), processes });
    parts.add("the status writer", quiet(writer.run(published, stop.clone())));
    parts.add("the history's retention", quiet(prune_history(store.clone(), stop.clone())));
    parts.add("the notes of when tokens are used", quiet(note_uses(store.clone(), tokens.clone(), stop.clone())));
    if let Some(socket) = settings.supervisor_socket.clone() {
        let driver = FleetDriver::new(store.clone(), socket, settings.max_workers).telling(processes_tx);
        parts.add("the fleet driver", quiet(driver.run(snapshot.clone(), stop.clone())));
    }

    let bounds = ads::Settings { max_streams_per_node: ADS_STREAMS_PER_NODE, ..ads::Settings::default() };
    let gateways = Gateways { nodes: nodes.clone(), hub: hub.clone(), of_keys: |refused| refused.name == API_KEYS };
    let ads = AdsServer::with_settings((hub, drain.clone()), tokens.clone(), nodes.clone(), bounds);
    let fleet_settings = FleetSettings {
        allowed: settings.allowed_worker_ips.clone(),
        max_streams_per_node: FLEET_STREAMS_PER_NODE,
        ..FleetSettings::default()
    };
    let fleet =
        FleetService::new(Arc::new(store.clone()), (tokens.clone(), nodes.clone()), drain.clone(), fleet_settings);
    let grpc = ads::serve(grpc_listener, ads, fleet, drain);
    parts.add("the gRPC server", async move { Ok(grpc.await?) });
    let state = AdminState {
        store: Arc::new(store.clone()),
        credentials: Arc::new(store.clone()),
        snapshot,
        nodes: Arc::new(move || overview(&nodes, &seen)),
        tokens,
        gateways,
        hosts: Hosts::new(settings.admin_listen.ip(), &settings.admin_hosts, tls.as_ref()),
        fresh: Arc::new(Fresh::default()),
        metrics: Arc::new({
            let telemetry = telemetry.clone();
            move || telemetry.render_metrics()
        }),
        gateway: GatewayFacts { require_api_key: settings.require_api_key },
        server,
        source: Source::Rest,
    };
    let router = telemetry::traced(admin::router(state));
    let rest = admin::serve(admin_listener, router, tls, stop.cancelled_owned());
    parts.add("the admin server", async move { Ok(rest.await?) });
    tracing::info!(admin = %settings.admin_listen, grpc = %settings.grpc_listen, "the control plane serves");

    let ended = parts.run(signal(), STOP_LIMIT).await;
    store.close().await;
    let _ = tokio::task::spawn_blocking(move || telemetry.shutdown()).await;
    ended
}

/// What `/api/v1/nodes` answers.
fn overview(nodes: &NodeRegistry, published: &watch::Receiver<Option<Published>>) -> serde_json::Value {
    let published = published.borrow().clone();
    let has_pool = |pool: &str| published.as_ref().is_some_and(|known| known.has_pool(pool));
    let known = published.as_ref().map(|known| Known { tokens: &known.nodes, has_pool: &has_pool });
    serde_json::to_value(nodes.overview(known, chrono::Utc::now())).unwrap_or_default()
}

/// Takes from the history what is older than it keeps, now and then.
async fn prune_history(store: PgStore, stop: CancellationToken) {
    let mut tick = tokio::time::interval(PRUNE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        match store.prune_history(chrono::Utc::now()).await {
            Ok(0) => {}
            Ok(lines) => tracing::info!(lines, "history beyond its retention was removed"),
            Err(error) => tracing::warn!("history was not pruned: {:#}", anyhow::Error::new(error)),
        }
    }
}

/// Stores when tokens were last used. A failure is no harm: the next use is stored.
async fn note_uses(store: PgStore, tokens: Arc<TokenTable>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(NOTE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let due = tokens.due();
        if !due.is_empty()
            && let Err(error) = store.tokens_used(&due).await
        {
            tracing::debug!("uses of tokens were not stored: {:#}", anyhow::Error::new(error));
        }
    }
}

/// A part that has nothing to say when it ends.
async fn quiet(part: impl Future<Output = ()>) -> Result<()> {
    part.await;
    Ok(())
}

/// Which server this is: the name that it was given, or a random one.
fn claim(settings: &Settings, listener: &TcpListener) -> Result<Claim> {
    let instance = settings.instance_id.clone().unwrap_or_else(|| format!("{:016x}", rand::random::<u64>()));
    Ok(Claim { instance, address: listener.local_addr()? })
}

/// For commands on this machine: where the server of this data directory is. The file stays, so that they can say where it was.
fn tell_where(settings: &Settings, server: &Claim) -> Result<()> {
    let mut place = serde_json::json!({
        "adminUrl": settings.admin_url(),
        "grpcUrl": settings.grpc_url(),
        "instance": server.instance,
        "pid": std::process::id(),
    });
    if let Some(tls) = &settings.admin_tls {
        place["certificateFile"] = serde_json::json!(std::path::absolute(&tls.cert)?);
    }
    let file = settings.server_file();
    admin_token::write_private(&file, &format!("{place:#}\n")).with_context(|| format!("write {}", file.display()))
}

fn read_tls(files: &TlsFiles) -> Result<Tls> {
    let read = |path: &Path| {
        text_file::read(path, text_file::MAX_SMALL).with_context(|| format!("TG-1321 read {}", path.display()))
    };
    Ok(Tls::from_pem(&read(&files.cert)?, &read(&files.key)?)?)
}

/// Port 0 is the system's choice: afterwards the address is the one that it chose.
fn bind(what: &str, address: &mut SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(*address).map_err(|error| {
        let why = addresses::why(*address, &error);
        anyhow::Error::new(error).context(format!("TG-1533 cannot listen on {address} for {what}: {why}"))
    })?;
    listener.set_nonblocking(true)?;
    *address = listener.local_addr()?;
    Ok(listener)
}

async fn connect(settings: &Settings) -> Result<PgStore> {
    let url = settings.database_url.as_ref();
    let url = url.context("TG-1534 no database: set TIDEGATE_DATABASE_URL or --database-url-file, or run `tidegate up`, which brings its own")?;
    PgStore::connect(url.reveal()).await.map_err(|error| {
        let code = error.code();
        anyhow::Error::new(error).context(format!("{code} the policy store cannot be opened"))
    })
}

fn gateway_settings(settings: &Settings) -> Result<GatewaySettings> {
    let mut gateway = GatewaySettings {
        listen: settings.gateway_listen,
        require_api_key: settings.require_api_key,
        max_body_bytes: settings.max_body_bytes,
        cors_origins: settings.cors_origins.clone(),
        ..GatewaySettings::default()
    };
    if let Some(endpoint) = &settings.otlp_endpoint {
        let uri: http::Uri = endpoint.parse().context("read the OTLP endpoint")?;
        // An address of IPv6 stands in brackets in a URL, and nowhere else.
        let host = uri.host().context("the OTLP endpoint names no host")?.trim_matches(['[', ']']).to_owned();
        gateway.otlp = Some(Otlp { host, port: uri.port_u16().unwrap_or(4317), sample_percent: 100 });
    }
    Ok(gateway)
}

async fn signal() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        pressed = tokio::signal::ctrl_c() => Ok(pressed?),
    }
}
