//! The control plane as one process: the only wiring. Addresses are bound before any work begins; everything that runs ends
//! by one token. It decides nothing itself.
use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use tidegate_api::{
    admin::{self, AdminState, Tls},
    ads::AdsServer,
    credentials::TokenTable,
    fleet::{FleetService, FleetSettings},
    nodes::NodeRegistry,
};
use tidegate_policy::ports::Source;
use tidegate_store::PgStore;
use tidegate_translate::{GatewaySettings, Otlp};
use tidegate_xds::Hub;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    admin_token,
    compile_loop::{CompileLoop, Outputs},
    config::Settings,
    fleet_driver::FleetDriver,
    status_writer::StatusWriter,
    telemetry,
};

/// How long the parts may take to end after a signal.
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// Runs until SIGTERM or Ctrl-C.
///
/// # Errors
/// When a part cannot start, or a server ends by itself.
pub async fn run(settings: Settings) -> Result<()> {
    let telemetry = telemetry::init(&settings)?;
    let tls = settings.admin_tls.as_ref().map(|files| Tls::from_files(&files.cert, &files.key)).transpose()?;
    admin::guard_bind(settings.admin_listen, tls.is_some(), true)?;
    let admin_listener = bind("admin REST", settings.admin_listen)?;
    let grpc_listener = tokio::net::TcpListener::from_std(bind("ADS and fleet", settings.grpc_listen)?)?;
    let store = connect(&settings).await?;
    std::fs::create_dir_all(&settings.data_dir)?;
    admin_token::ensure(&store, &settings.admin_token_file()).await?;

    let stop = CancellationToken::new();
    let tokens = Arc::new(TokenTable::new());
    let (published_tx, published) = watch::channel(None);
    let (snapshot_tx, snapshot) = watch::channel(None);
    let (hub_tx, hub) = watch::channel(Arc::new(Hub::default()));
    let (drain_tx, drain) = watch::channel(false);
    let nodes = NodeRegistry::new();
    let outputs = Outputs { published: published_tx, snapshot: snapshot_tx, hub: hub_tx, tokens: tokens.clone() };
    let mut parts = tokio::task::JoinSet::new();
    parts.spawn(CompileLoop::new(store.clone(), gateway_settings(&settings)?, outputs).run(stop.clone()));
    parts.spawn(StatusWriter::new(store.clone(), nodes.clone(), hub.clone()).run(published, stop.clone()));
    if let Some(socket) = settings.supervisor_socket.clone() {
        parts.spawn(FleetDriver::new(store.clone(), socket, settings.max_workers).run(snapshot.clone(), stop.clone()));
    }

    let ads = AdsServer::new(hub, tokens.clone(), nodes.clone(), drain.clone());
    let fleet_settings = FleetSettings { allowed: settings.allowed_worker_ips.clone(), ..FleetSettings::default() };
    let fleet =
        FleetService::new(Arc::new(store.clone()), (tokens.clone(), nodes.clone()), drain.clone(), fleet_settings);
    let grpc = tidegate_api::ads::serve(grpc_listener, ads, fleet, drain);
    let state = AdminState {
        store: Arc::new(store.clone()),
        credentials: Arc::new(store.clone()),
        snapshot,
        nodes: Arc::new(move || serde_json::json!({ "items": nodes.list() })),
        tokens,
        metrics: Arc::new({
            let telemetry = telemetry.clone();
            move || telemetry.render_metrics()
        }),
        source: Source::Rest,
    };
    let rest = admin::serve(admin_listener, admin::router(state), tls, stop.clone().cancelled_owned());
    tracing::info!(admin = %settings.admin_listen, grpc = %settings.grpc_listen, "the control plane serves");

    let ended = tokio::select! {
        ended = rest => ended.context("the admin server ended"),
        ended = grpc => ended.context("the gRPC server ended"),
        signal = signal() => signal,
    };
    stop.cancel();
    drain_tx.send_replace(true);
    let _ = tokio::time::timeout(STOP_LIMIT, async { while parts.join_next().await.is_some() {} }).await;
    store.close().await;
    let _ = tokio::task::spawn_blocking(move || telemetry.shutdown()).await;
    ended
}

fn bind(what: &str, address: SocketAddr) -> Result<TcpListener> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("TG-1533 cannot listen on {address} for {what}"))?;
    listener.set_nonblocking(true)?;
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
        ..GatewaySettings::default()
    };
    if let Some(endpoint) = &settings.otlp_endpoint {
        let uri: http::Uri = endpoint.parse().context("read the OTLP endpoint")?;
        let host = uri.host().context("the OTLP endpoint names no host")?.to_owned();
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
