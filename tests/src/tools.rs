//! Where the real parts are: those that `make tools` installed and the programs that cargo built. It installs nothing.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The cache that `tests/tools/install.sh` fills.
pub fn cache() -> PathBuf {
    if let Some(dir) = std::env::var_os("TIDEGATE_TOOLS") {
        return dir.into();
    }
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/tmp".into());
    PathBuf::from(home).join(".cache/tidegate/tools")
}

/// The source tree.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_owned()
}

fn installed(path: PathBuf) -> Result<PathBuf> {
    ensure!(path.exists(), "{} is missing: run `make tools`", path.display());
    Ok(path)
}

/// The Envoy program.
pub fn envoy() -> Result<PathBuf> {
    installed(cache().join("envoy/envoy"))
}

/// ONNX Runtime's shared library.
pub fn onnxruntime() -> Result<PathBuf> {
    installed(cache().join("onnxruntime/libonnxruntime.so.1.32.0"))
}

/// The folder with the exported embedding model.
pub fn exported_models() -> Result<PathBuf> {
    installed(cache().join("models"))
}

/// The folder with the committed chat models.
pub fn example_models() -> PathBuf {
    repository().join("examples/models")
}

/// The folder to put on PYTHONPATH for the OpenAI client.
pub fn openai_client() -> Result<PathBuf> {
    installed(cache().join("openai"))
}

/// A program of this workspace, from the folder that this very test was built into.
pub fn program(name: &str) -> Result<PathBuf> {
    let me = std::env::current_exe().context("find this program")?;
    let dir = me.ancestors().find(|d| d.join(name).is_file());
    let dir = dir.with_context(|| format!("{name} is not built: run `cargo build --workspace --bins`"))?;
    Ok(dir.join(name))
}
