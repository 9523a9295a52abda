//! From the command line to a running worker and out again. The only place that wires configuration, control plane and worker.
use std::{ffi::OsString, process::ExitCode, sync::Arc, time::Duration};

use tidegate_engine::{ModelRoots, Provider as EngineProvider, Runtime, RuntimeConfig};
use tidegate_proto::contract::GATEWAY_IDLE_SECONDS;
use tidegate_xds_client::NodeToken;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Endpoint;

use crate::{
    config::{self, Asked, EngineChoice, Provider, Settings},
    control::{self, Reach},
    error::WorkerError,
    fleet::Reporter,
    hotswap::loader::{FakeLoader, Loader, OnnxLoader},
    telemetry::Telemetry,
    worker::{Parts, Worker},
};

/// How long a connection may take to show its first request. Gateways open some ahead of need and let go of them before that.
const FIRST_REQUEST: Duration = Duration::from_secs(GATEWAY_IDLE_SECONDS + 10);
/// How long the end may wait for work on other threads, such as the tokens of a text that nobody waits for any more.
const LAST_WORK: Duration = Duration::from_secs(1);
/// Exit status for a configuration that is not valid (sysexits: EX_USAGE).
const BAD_CONFIG: u8 = 64;

/// The whole program.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let settings = match config::read(args, &env.collect()) {
        Asked::Run(settings) => settings,
        Asked::Print(text) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Asked::Refused(text) => {
            eprint!("{text}");
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("worker").build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(serve(*settings));
            runtime.shutdown_timeout(LAST_WORK);
            result
        }
        Err(error) => Err(WorkerError::Runtime(error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate-worker: {}\nwhat to do: tidegate-worker errors {}", error.report(), error.code());
            ExitCode::FAILURE
        }
    }
}

/// Runs until a signal or the control plane ends it.
async fn serve(settings: Settings) -> Result<(), WorkerError> {
    let token = NodeToken::File(settings.node_token_file.clone());
    let telemetry = Telemetry::install(&settings)?;
    if let Some(left_out) = &settings.left_out {
        tracing::warn!("{left_out}");
    }
    let loader = loader(&settings)?;
    let control_plane = Endpoint::from_shared(settings.control_plane.clone())
        .map_err(|e| WorkerError::ControlPlane { reason: e.to_string() })?
        .connect_timeout(Duration::from_secs(3))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10))
        .tcp_nodelay(true);
    let parts = Parts {
        pool: settings.pool.clone(),
        listen: settings.listen,
        max_connections: settings.max_connections,
        first_request: FIRST_REQUEST,
        linger: settings.linger,
        slow_client: settings.slow_client,
        loader,
        telemetry,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(WorkerError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(WorkerError::Runtime)?;
    let worker = Worker::start(parts).await?;
    let address = settings.advertise.unwrap_or(worker.address).to_string();
    tracing::info!(node_id = settings.node_id, pool = settings.pool, address, "worker started");
    let reach = Reach {
        url: &settings.control_plane,
        node_id: &settings.node_id,
        token: token.clone(),
        address: address.clone(),
    };
    let ads = control::start(&reach, worker.inlets.clone())?;
    let (leave, mut leaving) = tokio::sync::watch::channel(false);
    let reporter = Reporter {
        control_plane,
        token,
        node_id: settings.node_id.clone(),
        pool: settings.pool.clone(),
        address,
        incarnation: uuid::Uuid::new_v4().to_string(),
        app: worker.app.clone(),
        versions: worker.versions.clone(),
        leave,
    };
    let reporter = tokio::spawn(reporter.run());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = leaving.wait_for(|leave| *leave) => {}
    }
    tracing::info!(node_id = settings.node_id, "worker is draining");
    worker.drain(settings.settle, settings.grace).await;
    reporter.abort();
    ads.stop().await;
    Ok(())
}

fn loader(settings: &Settings) -> Result<Arc<dyn Loader>, WorkerError> {
    let onnx = match &settings.engine {
        EngineChoice::Fake => return Ok(Arc::new(FakeLoader)),
        EngineChoice::Onnx(onnx) => onnx,
    };
    let provider = match onnx.provider {
        Provider::Cpu => EngineProvider::Cpu,
        Provider::Cuda => EngineProvider::Cuda { devices: vec![onnx.device] },
    };
    let config = RuntimeConfig {
        dylib: onnx.dylib.clone(),
        provider,
        intra_threads: onnx.intra_threads,
        prepacking: onnx.prepacking,
        memory_limit: onnx.memory_limit,
    };
    let runtime = Runtime::start(config).map_err(WorkerError::Engine)?;
    let roots = ModelRoots::new(settings.model_roots.iter().cloned()).map_err(WorkerError::Engine)?;
    Ok(Arc::new(OnnxLoader { runtime, roots }))
}
