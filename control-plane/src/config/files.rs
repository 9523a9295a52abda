//! Whether the files and folders that settings name can be used, asked before anything starts. Looks, and changes nothing.
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::fs::{Access, access};
use tidegate_program::text_file;

use super::{ConfigError, Origin, Reader, Settings, certificate, typed::place};

/// Every file and folder of the settings that `reader` uses.
pub(super) fn check(settings: &Settings, reader: Reader, errors: &mut Vec<ConfigError>) {
    let place = |key: &str| place(&settings.layers, key);
    if let Some(reason) = no_data_dir(&settings.data_dir) {
        errors.push(ConfigError::folder(&place("data_dir"), &settings.data_dir, &reason));
    }
    // The default is ours to make.
    let given = settings.layers.get("model_roots").is_some_and(|l| l.origin != Origin::Default);
    if given && reader.uses("model_roots") {
        for root in &settings.model_roots {
            if let Some(reason) = no_folder(root) {
                errors.push(ConfigError::folder(&place("model_roots"), root, &reason));
            }
        }
    }
    if let Some(tls) = &settings.admin_tls {
        let mut read = |key: &str, path: &Path| {
            let text = text_file::read(path, text_file::MAX_SMALL);
            text.map_err(|e| errors.push(ConfigError::missing_file(&place(key), path, &e.to_string()))).ok()
        };
        let texts = (read("admin_tls_cert_file", &tls.cert), read("admin_tls_key_file", &tls.key));
        if let (Some(cert), Some(key)) = texts {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
            let problem = certificate::problem(tls, (&cert, &key), now);
            errors.extend(problem.map(|(key, why)| ConfigError::certificate(&place(key), why)));
        }
    }
    programs(settings, reader, errors);
}

fn programs(settings: &Settings, reader: Reader, errors: &mut Vec<ConfigError>) {
    let up = &settings.up;
    let mut missing = |key: &str, path: &Path, reason: &str| {
        if reader.uses(key) {
            errors.push(ConfigError::missing_file(&place(&settings.layers, key), path, reason));
        }
    };
    for (key, path) in [("envoy_bin", &up.envoy_bin), ("worker_bin", &up.worker_bin)] {
        if let Some((path, reason)) = path.as_ref().and_then(|path| Some((path, no_program(path)?))) {
            missing(key, path, reason);
        }
    }
    if let Some((path, reason)) = up.onnxruntime_lib.as_ref().and_then(|path| Some((path, no_library(path)?))) {
        missing("onnxruntime_lib", path, &reason);
    }
    for program in ["postgres", "initdb"] {
        let path = up.postgres_bin_dir.as_ref().map(|dir| dir.join(program));
        if let Some((path, reason)) = path.as_ref().and_then(|path| Some((path, no_program(path)?))) {
            missing("postgres_bin_dir", path, reason);
        }
    }
}

fn no_program(path: &Path) -> Option<&'static str> {
    match path.metadata() {
        Ok(meta) if !meta.is_file() => Some("not a file"),
        Ok(meta) if meta.permissions().mode() & 0o111 == 0 => Some("not executable"),
        Ok(_) => None,
        Err(_) => Some("no such file"),
    }
}

fn no_library(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut magic = [0; 4];
    match std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)) {
        Ok(()) if magic == *b"\x7fELF" => None,
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Some(error.to_string()),
        Ok(()) | Err(_) => Some("not a shared library".to_owned()),
    }
}

/// Why nothing can be read in a folder.
fn no_folder(path: &Path) -> Option<String> {
    match path.metadata() {
        Ok(meta) if !meta.is_dir() => Some("is not a folder".to_owned()),
        Ok(_) if access(path, Access::READ_OK | Access::EXEC_OK).is_err() => {
            Some("may not be read by this user".to_owned())
        }
        Ok(_) => None,
        Err(error) => Some(format!("cannot be used: {error}")),
    }
}

/// Why no files can be kept in a folder, which may not be there yet.
fn no_data_dir(path: &Path) -> Option<String> {
    if path.as_os_str().is_empty() {
        return Some("is no path".to_owned());
    }
    let there: Option<PathBuf> = path.ancestors().find(|p| p.symlink_metadata().is_ok()).map(Path::to_owned);
    let there = there?;
    let what = if there == path { String::new() } else { format!("cannot be made: {} ", there.display()) };
    if !there.is_dir() {
        return Some(format!("{what}is not a folder"));
    }
    access(&there, Access::WRITE_OK | Access::EXEC_OK).err().map(|error| format!("{what}cannot be written: {error}"))
}
