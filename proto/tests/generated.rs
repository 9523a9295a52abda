//! The committed code is what the .proto files say. `UPDATE=1 cargo test -p tidegate-proto` rewrites it.
use std::{fs, path::Path};

#[test]
fn the_committed_code_is_what_the_proto_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["tidegate/worker/v1/worker.proto", "tidegate/fleet/v1/fleet.proto"];
    let descriptors = protox::compile(files, [root]).unwrap();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure().out_dir(out.path()).build_transport(true).compile_fds(descriptors).unwrap();
    for entry in fs::read_dir(out.path()).unwrap() {
        let path = entry.unwrap().path();
        let committed = root.join("src/gen").join(path.file_name().unwrap());
        let fresh = fs::read_to_string(&path).unwrap();
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&committed, &fresh).unwrap();
        }
        let old = fs::read_to_string(&committed).unwrap_or_default();
        assert!(old == fresh, "{} is stale: run UPDATE=1 cargo test -p tidegate-proto", committed.display());
    }
}
