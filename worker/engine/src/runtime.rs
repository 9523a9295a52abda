//! ONNX Runtime in this process: one library, one environment. A library or provider that cannot be used is an error at
//! start-up with its reason; there is no silent fall-back, neither to another library nor from CUDA to the CPU.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ort::environment::Environment;
use ort::ep::ExecutionProvider;
use ort::session::Session;
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};

use crate::error::EngineError;

/// Where sessions run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Provider {
    Cpu,
    /// CUDA ordinals; versions are placed on them in turn. Which GPU has which ordinal is up to the process's environment
    /// (`CUDA_VISIBLE_DEVICES`, `CUDA_DEVICE_ORDER=PCI_BUS_ID`).
    Cuda {
        devices: Vec<i32>,
    },
}

/// Settings of the machine's owner; nothing here comes by a push.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuntimeConfig {
    /// The ONNX Runtime shared library.
    pub dylib: PathBuf,
    pub provider: Provider,
    /// Threads inside one operator, per session; 0 = one per core.
    pub intra_threads: usize,
    /// Let ONNX Runtime copy weights into a layout that is faster to multiply: more private memory per version, slower load.
    pub prepacking: bool,
    /// Bytes that all loaded versions together may need by estimate; `None` = no limit.
    pub memory_limit: Option<u64>,
}

impl RuntimeConfig {
    /// CPU, one thread, no prepacking, no memory limit.
    pub fn cpu(dylib: PathBuf) -> Self {
        Self { dylib, provider: Provider::Cpu, intra_threads: 1, prepacking: false, memory_limit: None }
    }
}

/// The process's library and environment, once they are there. Never released: ONNX Runtime allows one per process.
static PROCESS: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// ONNX Runtime with the settings for this worker's sessions.
pub struct Runtime {
    config: RuntimeConfig,
    environment: Environment,
    /// One loader at a time per device: concurrent session creation on one GPU can crash the driver.
    loaders: Vec<Mutex<()>>,
    next_device: AtomicUsize,
    /// Bytes reserved by loaded versions.
    reserved: Arc<Mutex<u64>>,
}

/// A share of the memory limit, given back when dropped.
pub(crate) struct Reservation {
    bytes: u64,
    reserved: Arc<Mutex<u64>>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        *reserved = reserved.saturating_sub(self.bytes);
    }
}

/// The right to load on a device.
pub(crate) struct LoaderTurn<'a> {
    _lock: MutexGuard<'a, ()>,
    device: usize,
}

impl Runtime {
    /// Threads of one engine step; 0 means one per core.
    pub fn intra_threads(&self) -> usize {
        self.config.intra_threads
    }

    /// Loads the library and checks the provider. Called again, it shares the process's environment; another library is an
    /// error then.
    pub fn start(config: RuntimeConfig) -> Result<Arc<Self>, EngineError> {
        let environment = environment(&config.dylib)?;
        let devices = match &config.provider {
            Provider::Cpu => {
                check_cpu(&environment)?;
                1
            }
            Provider::Cuda { devices } => {
                check_cuda(&config.dylib, devices, &environment)?;
                devices.len()
            }
        };
        Ok(Arc::new(Self {
            config,
            environment,
            loaders: (0..devices).map(|_| Mutex::new(())).collect(),
            next_device: AtomicUsize::new(0),
            reserved: Arc::default(),
        }))
    }

    pub fn config(&self) -> &RuntimeConfig {
        &self.config
    }

    /// Takes `bytes` of the memory limit, or says how much is left.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Reservation, EngineError> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = self.config.memory_limit {
            let available = limit.saturating_sub(*reserved);
            if bytes > available {
                return Err(EngineError::MemoryLimit { needed: bytes, available });
            }
        }
        *reserved = reserved.saturating_add(bytes);
        Ok(Reservation { bytes, reserved: self.reserved.clone() })
    }

    /// Waits for the next device's loader.
    pub(crate) fn loader(&self) -> Result<LoaderTurn<'_>, EngineError> {
        let device = self.next_device.fetch_add(1, Ordering::Relaxed) % self.loaders.len().max(1);
        let loader = self.loaders.get(device).ok_or(EngineError::RuntimeConflict)?;
        Ok(LoaderTurn { _lock: loader.lock().unwrap_or_else(PoisonError::into_inner), device })
    }

    /// A builder with the provider, threads and options of this runtime.
    pub(crate) fn builder(&self, turn: &LoaderTurn<'_>) -> ort::Result<SessionBuilder> {
        let builder =
            plain_builder(&self.environment, self.config.intra_threads)?.with_prepacking(self.config.prepacking)?;
        match &self.config.provider {
            Provider::Cpu => Ok(builder.with_auto_device(AutoDevicePolicy::PreferCPU)?),
            Provider::Cuda { devices } => on_cuda(builder, devices.get(turn.device).copied().unwrap_or(0)),
        }
    }
}

fn plain_builder(environment: &Environment, intra_threads: usize) -> ort::Result<SessionBuilder> {
    Ok(Session::builder(environment)?
        .with_intra_threads(intra_threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_memory_pattern(false)?)
}

fn on_cuda(builder: SessionBuilder, device: i32) -> ort::Result<SessionBuilder> {
    let cuda = ort::ep::CUDA::default().with_device_id(device).build().error_on_failure();
    Ok(builder.with_execution_providers([cuda])?.with_disable_cpu_fallback()?)
}

fn environment(dylib: &Path) -> Result<Environment, EngineError> {
    let path = match dylib.canonicalize() {
        Ok(path) if path.is_file() => path,
        Ok(_) | Err(_) => return Err(EngineError::DylibMissing { path: dylib.to_owned() }),
    };
    let mut process = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((loaded, environment)) = &*process {
        return if *loaded == path {
            Ok(environment.clone())
        } else {
            check_dylib(&path).and(Err(EngineError::RuntimeConflict))
        };
    }
    check_dylib(&path)?;
    // ort panics when a library has the entry point and an acceptable version but no usable table of functions.
    let started = catch_unwind(AssertUnwindSafe(|| start(&path)));
    let environment = started
        .map_err(|_| EngineError::DylibInvalid { path: path.clone(), reason: "its functions cannot be used" })??;
    *process = Some((path, environment.clone()));
    Ok(environment)
}

fn start(path: &Path) -> Result<Environment, EngineError> {
    let builder = ort::init_from(path).map_err(|e| load_error(path, &e))?;
    builder
        .with_name("tidegate")
        .with_telemetry(false)
        .build()
        .map_err(|e| EngineError::RuntimeStart { source: Box::new(e) })
}

/// Whether the file is an ONNX Runtime that is new enough, without keeping it.
fn check_dylib(path: &Path) -> Result<(), EngineError> {
    let invalid = |reason| EngineError::DylibInvalid { path: path.to_owned(), reason };
    let probed = catch_unwind(AssertUnwindSafe(|| ort::util::probe(path)));
    match probed.map_err(|_| invalid("its entry point gives nothing"))? {
        Some(found) if found < ort::MINOR_VERSION => {
            Err(EngineError::DylibTooOld { path: path.to_owned(), found, needed: ort::MINOR_VERSION })
        }
        Some(_) => Ok(()),
        None => Err(invalid("it cannot be loaded, has no OrtGetApiBase, or is not version 1")),
    }
}

fn load_error(path: &Path, error: &ort::LoadDynamicError) -> EngineError {
    let reason = match error {
        ort::LoadDynamicError::Dlopen { .. } => "it cannot be loaded",
        ort::LoadDynamicError::MissingApi { .. } => "it has no OrtGetApiBase",
        ort::LoadDynamicError::InvalidVersionString => "its version cannot be read",
        ort::LoadDynamicError::BadVersion { .. } => "its version is too old",
    };
    EngineError::DylibInvalid { path: path.to_owned(), reason }
}

/// A session really starts.
fn check_cpu(environment: &Environment) -> Result<(), EngineError> {
    let started = plain_builder(environment, 1).and_then(|mut builder| builder.commit_from_memory(RELU));
    started.map(drop).map_err(|error| EngineError::RuntimeStart { source: Box::new(error) })
}

/// The library has CUDA, and a session really starts on each device.
fn check_cuda(dylib: &Path, devices: &[i32], environment: &Environment) -> Result<(), EngineError> {
    let unavailable = |source| EngineError::ProviderUnavailable { provider: "CUDA", path: dylib.to_owned(), source };
    if devices.is_empty() {
        return Err(unavailable("no device is configured".into()));
    }
    match ort::ep::CUDA::is_available() {
        Ok(true) => {}
        Ok(false) => {
            return Err(unavailable("the library was built without it; an onnxruntime-gpu build is needed".into()));
        }
        Err(error) => return Err(unavailable(Box::new(error))),
    }
    for device in devices {
        let started = plain_builder(environment, 1)
            .and_then(|builder| on_cuda(builder, *device))
            .and_then(|mut builder| builder.commit_from_memory(RELU));
        started.map_err(|error| unavailable(Box::new(error)))?;
    }
    Ok(())
}

/// The smallest model that runs on a device: y = Relu(x), opset 13, one float. Encoded by hand after onnx.proto.
const RELU: &[u8] = &[
    0x08, 0x07, 0x42, 0x02, 0x10, 0x0d, 0x3a, 0x33, 0x0a, 0x0c, 0x0a, 0x01, b'x', 0x12, 0x01, b'y', 0x22, 0x04, b'R',
    b'e', b'l', b'u', 0x12, 0x01, b'g', 0x5a, 0x0f, 0x0a, 0x01, b'x', 0x12, 0x0a, 0x0a, 0x08, 0x08, 0x01, 0x12, 0x04,
    0x0a, 0x02, 0x08, 0x01, 0x62, 0x0f, 0x0a, 0x01, b'y', 0x12, 0x0a, 0x0a, 0x08, 0x08, 0x01, 0x12, 0x04, 0x0a, 0x02,
    0x08, 0x01,
];
