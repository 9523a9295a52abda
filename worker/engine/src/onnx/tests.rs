//! What the tests inside this folder share: the runtime of the tool cache, and an encoder whose first run takes minutes.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::ModelConfig;
use crate::error::ModelLabel;
use crate::load::{FileSpec, LoadCancel, Task};
use crate::onnx::embedding::OnnxEmbedding;
use crate::onnx::{SessionSpec, session};
use crate::roots::ModelRoots;
use crate::runtime::{Runtime, RuntimeConfig};
use crate::weights::Weights;

/// ONNX Runtime as `make tools` puts it there.
pub(crate) fn runtime() -> Arc<Runtime> {
    let tools = std::env::var_os("TIDEGATE_TOOLS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/tidegate/tools"),
        PathBuf::from,
    );
    let dylib = tools.join("onnxruntime/libonnxruntime.so.1.32.0");
    Runtime::start(RuntimeConfig::cpu(dylib)).expect("ONNX Runtime starts: `make tools` puts it there")
}

/// The fixture `slow`, warmed up with the token for which it counts longest.
pub(crate) fn endless() -> OnnxEmbedding {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures");
    let files = ["model.onnx", "config.json"].map(|path| {
        let bytes = std::fs::read(fixtures.join("slow").join(path)).expect("the fixture is there");
        FileSpec { path: path.to_owned(), sha256: hex::encode(Sha256::digest(&bytes)), size: bytes.len() as u64 }
    });
    let (runtime, cancel) = (runtime(), LoadCancel::default());
    let roots = ModelRoots::new([fixtures]).expect("a root");
    let dir = roots.version_dir("file:slow").expect("a version");
    let weights = Arc::new(Weights::open(&roots, &dir, &files, &cancel).expect("verified"));
    let config = ModelConfig::parse(weights.bytes("config.json").expect("listed"), Task::Embedding);
    let Ok(ModelConfig::Embedding(mut config)) = config else { panic!("an encoder was expected") };
    config.pad_token_id = 259;
    let label = ModelLabel { model_id: "slow".to_owned(), version: "v1".to_owned() };
    let spec = SessionSpec { runtime: &runtime, weights, graph: "model.onnx", label: &label, cancel: &cancel };
    let session = session::build(&spec, 0).expect("builds");
    OnnxEmbedding::new(session, config, 8, label.clone()).expect("an engine")
}
