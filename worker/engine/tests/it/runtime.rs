//! A library or provider that cannot be used is an error with a code, never a panic and never a silent fall-back.
use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_engine::{EngineError, Provider, Runtime, RuntimeConfig};

use crate::harness::{dylib, runtime};

fn failure(dylib: PathBuf) -> EngineError {
    match Runtime::start(RuntimeConfig::cpu(dylib)) {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

/// A shared library with ONNX Runtime's entry point, made by the C compiler.
fn crafted(folder: &Path, version: &str, api: &str) -> PathBuf {
    let source = folder.join("ort.c");
    let code = format!(
        "#include <stdint.h>\n\
         static const void* get_api(uint32_t v) {{ (void)v; return 0; }}\n\
         static const char* version(void) {{ return \"{version}\"; }}\n\
         static const struct {{ const void* (*a)(uint32_t); const char* (*v)(void); }} base = {{ get_api, version }};\n\
         const void* OrtGetApiBase(void) {{ return {api}; }}\n"
    );
    std::fs::write(&source, code).expect("written");
    let library = folder.join(format!("libonnxruntime.so.{version}"));
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().expect("cc runs");
    assert!(built.success());
    library
}

#[test]
fn a_library_that_is_not_there_is_named() {
    for path in ["/nowhere/libonnxruntime.so", "/tmp"] {
        let error = failure(PathBuf::from(path));
        assert_eq!(error.code(), "TG-2001");
        assert!(error.to_string().contains(path));
    }
}

#[test]
fn a_file_that_is_no_library_is_refused() {
    let folder = tempfile::tempdir().expect("made");
    let text = folder.path().join("libonnxruntime.so");
    std::fs::write(&text, "not a library").expect("written");
    assert_eq!(failure(text).code(), "TG-2002");
}

#[test]
fn a_library_that_is_too_old_is_refused_with_both_versions() {
    let folder = tempfile::tempdir().expect("made");
    let error = failure(crafted(folder.path(), "1.17.3", "&base"));
    assert_eq!(error.code(), "TG-2003");
    assert!(error.to_string().contains("1.17; 1.31 or newer"), "{error}");
}

#[test]
fn a_library_of_another_major_version_or_without_an_api_is_refused() {
    let folder = tempfile::tempdir().expect("made");
    assert_eq!(failure(crafted(folder.path(), "2.40.0", "&base")).code(), "TG-2002");
    assert_eq!(failure(crafted(folder.path(), "1.99.0", "0")).code(), "TG-2002");
}

#[test]
fn a_second_library_in_one_process_is_refused() {
    let _first = runtime();
    let folder = tempfile::tempdir().expect("made");
    let copy = folder.path().join("libonnxruntime.so");
    std::fs::copy(dylib(), &copy).expect("copied");
    assert_eq!(failure(copy).code(), "TG-2004");
}

#[test]
fn cuda_with_a_library_for_the_cpu_is_an_error_and_no_fall_back() {
    for devices in [vec![0], vec![]] {
        let config = RuntimeConfig { provider: Provider::Cuda { devices }, ..RuntimeConfig::cpu(dylib()) };
        let error = Runtime::start(config).err().expect("no CUDA in this library");
        assert_eq!(error.code(), "TG-2005");
        assert!(error.to_string().contains("CUDA"), "{error}");
    }
}
