//! One session whose weights are borrowed from our own mapping: what was hashed is what runs, and a second version of the
//! same file costs no private memory. The session must be gone before the mapping; the field order below holds that.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, c_char};
use std::sync::Arc;

use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session, SessionInputValue, SessionOutputs};
use ort::value::Outlet;
use ort::{AsPointer, ortsys};

use crate::error::EngineError;
use crate::onnx::{SessionSpec, location, proto};
use crate::runtime::Reservation;
use crate::weights::Weights;

/// Borrow external tensors from the buffers we hand over instead of copying them (ONNX Runtime 1.31 and newer).
const BORROW: &str = "session.use_external_initializer_file_buffers_directly";
/// What a session needs beside weights and cache: the graph's objects and arenas.
const BASE_BYTES: u64 = 16 << 20;
/// The mark of ONNX Runtime's own format, which has its own ways to name files.
const ORT_FORMAT: &[u8] = b"ORTM";

/// A session and the mapping it borrows from. Never hands the session out: a moved session could outlive the mapping.
pub(crate) struct MappedSession {
    /// Declared first: dropped first.
    session: Session,
    _weights: Arc<Weights>,
    _reservation: Reservation,
}

impl MappedSession {
    pub(crate) fn run<'r, 's: 'r, 'i, 'v: 'i>(
        &'s mut self,
        inputs: Vec<(&'i str, SessionInputValue<'v>)>,
        options: &'r RunOptions,
    ) -> ort::Result<SessionOutputs<'r>> {
        self.session.run_with_options(inputs, options)
    }

    pub(crate) fn inputs(&self) -> &[Outlet] {
        self.session.inputs()
    }

    pub(crate) fn outputs(&self) -> &[Outlet] {
        self.session.outputs()
    }
}

/// Builds the session; `cache_bytes` is what its engine will keep beside it.
pub(crate) fn build(spec: &SessionSpec<'_>, cache_bytes: u64) -> Result<MappedSession, EngineError> {
    let graph = bytes(&spec.weights, spec.graph)?;
    let data = external_files(graph, &spec.weights)?;
    let reservation = spec.runtime.reserve(estimate(spec, graph, &data, cache_bytes))?;
    let turn = spec.runtime.loader()?;
    spec.cancel.check()?;
    let started = std::time::Instant::now();
    let refused = |error: ort::Error| {
        if error.code() == ort::ErrorCode::ModelLoadCanceled || spec.cancel.is_cancelled() {
            EngineError::LoadCancelled
        } else {
            EngineError::SessionBuild { source: Box::new(error) }
        }
    };
    let log_id = format!("{}@{}", spec.label.model_id, spec.label.version);
    let mut builder = spec
        .runtime
        .builder(&turn)
        .and_then(|b| Ok(b.with_config_entry(BORROW, "1")?))
        .and_then(|b| Ok(b.with_log_id(log_id)?))
        .map_err(refused)?;
    lend(&mut builder, &data).map_err(refused)?;
    spec.cancel.watch(builder.canceler());
    let session = builder.commit_from_memory(graph).map_err(refused)?;
    tracing::debug!(
        model_id = spec.label.model_id,
        version = spec.label.version,
        external_files = data.len(),
        milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "session built"
    );
    Ok(MappedSession { session, _weights: spec.weights.clone(), _reservation: reservation })
}

/// A rough upper bound of the bytes that the version keeps in use: its weights, their packed copy, the graph, the cache.
fn estimate(spec: &SessionSpec<'_>, graph: &[u8], data: &[External<'_>], cache_bytes: u64) -> u64 {
    // A file that the graph names in two ways is one file.
    let files: BTreeSet<(*const u8, usize)> = data.iter().map(|file| (file.bytes.as_ptr(), file.bytes.len())).collect();
    let weights: u64 = files.iter().map(|(_, length)| *length as u64).sum();
    let packed = if spec.runtime.config().prepacking { weights } else { 0 };
    BASE_BYTES
        .saturating_add(2 * graph.len() as u64)
        .saturating_add(weights)
        .saturating_add(packed)
        .saturating_add(cache_bytes)
}

fn bytes<'a>(weights: &'a Weights, path: &str) -> Result<&'a [u8], EngineError> {
    weights.bytes(path).ok_or_else(|| EngineError::FileNotListed { path: path.to_owned() })
}

/// A file with external data.
struct External<'a> {
    /// As the graph says it: ONNX Runtime compares this text.
    location: String,
    bytes: &'a [u8],
}

/// The external data files that the graph names. Each must be one of the version's verified files, and each tensor must lie
/// inside: ONNX Runtime would open an unknown name relative to the working directory.
fn external_files<'a>(graph: &[u8], weights: &'a Weights) -> Result<Vec<External<'a>>, EngineError> {
    if graph.get(4..8) == Some(ORT_FORMAT) {
        return Err(EngineError::GraphDiffers { reason: "the .ort format is not supported".to_owned() });
    }
    let tensors = proto::external_tensors(graph)
        .map_err(|reason| EngineError::GraphDiffers { reason: format!("the graph cannot be read: {reason}") })?;
    let mut found: BTreeMap<String, &'a [u8]> = BTreeMap::new();
    for tensor in tensors {
        let shown = || tensor.location.chars().take(128).collect::<String>();
        let path = location::inside(&tensor.location);
        let Some(file) = path.as_deref().and_then(|path| weights.bytes(path)) else {
            let advice = location::advice(path.as_deref(), weights.paths());
            return Err(EngineError::ExternalDataNotListed { location: shown(), advice });
        };
        let end = tensor.offset.checked_add(tensor.length.unwrap_or(0));
        if end.is_none_or(|end| end > file.len() as u64) {
            let reason = format!("tensor {:?} reaches behind the end of {:?}", tensor.name, shown());
            return Err(EngineError::GraphDiffers { reason });
        }
        found.insert(tensor.location, file);
    }
    Ok(found.into_iter().map(|(location, bytes)| External { location, bytes }).collect())
}

/// Hands the mapped files to the builder. The safe method of ort keeps its buffer in the builder only, which is too short.
fn lend(builder: &mut SessionBuilder, data: &[External<'_>]) -> ort::Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    let owned: Vec<CString> = data.iter().map(|file| CString::new(file.location.as_str())).collect::<Result<_, _>>()?;
    let names: Vec<*const c_char> = owned.iter().map(|name| name.as_ptr()).collect();
    let buffers: Vec<*mut c_char> = data.iter().map(|file| file.bytes.as_ptr().cast_mut().cast()).collect();
    let lengths: Vec<usize> = data.iter().map(|file| file.bytes.len()).collect();
    // SAFETY: the three arrays have `data.len()` entries and live through the call, which copies the names. The buffers are
    // never written to, and stay mapped as long as the `MappedSession` that `build` returns.
    ortsys![unsafe AddExternalInitializersFromMemory(
        builder.ptr_mut(),
        names.as_ptr(),
        buffers.as_ptr(),
        lengths.as_ptr(),
        data.len()
    )?];
    Ok(())
}
