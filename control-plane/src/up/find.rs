//! Finds the programs that `up` runs: where a setting says, else in the tools cache or on PATH.
use std::path::PathBuf;

use crate::config::Settings;

/// `$TIDEGATE_TOOLS`, or `~/.cache/tidegate/tools`; filled by `make tools`.
pub fn tools_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("TIDEGATE_TOOLS").filter(|dir| !dir.is_empty()) {
        return PathBuf::from(dir);
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_else(|| PathBuf::from("/nonexistent"));
    home.join(".cache/tidegate/tools")
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// The Envoy program. The tools cache comes first: that is the version that Tidegate is tested with.
pub fn envoy(settings: &Settings) -> Option<PathBuf> {
    let cached = tools_dir().join("envoy/envoy");
    settings.up.envoy_bin.clone().or_else(|| Some(cached).filter(|f| f.is_file())).or_else(|| on_path("envoy"))
}

/// The worker program: the one built together with this one, if there is one.
pub fn worker(settings: &Settings) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("tidegate-worker")));
    settings.up.worker_bin.clone().or_else(|| beside.filter(|f| f.is_file())).or_else(|| on_path("tidegate-worker"))
}

/// ONNX Runtime's shared library; the newest of the tools cache.
pub fn onnxruntime(settings: &Settings) -> Option<PathBuf> {
    let cached = || {
        let files = std::fs::read_dir(tools_dir().join("onnxruntime")).ok()?;
        let named = |file: &PathBuf| {
            file.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with("libonnxruntime.so"))
        };
        files.flatten().map(|e| e.path()).filter(named).max()
    };
    settings.up.onnxruntime_lib.clone().or_else(cached)
}
