//! What is pushed is untrusted: every way to lead the loader astray has its refusal, and nothing was used before it.
use std::os::unix::fs::symlink;

use tidegate_engine::{EngineError, LoadCancel, ModelRoots, Task, VersionSpec, load, version_digest};

use crate::harness::{Place, refusal, runtime};

/// Loads a damaged copy of the tiny chat model and compares the refusal's code.
fn refused(code: &str, damage: impl FnOnce(&Place, &mut VersionSpec)) -> EngineError {
    let place = Place::of("chat");
    let mut spec = place.spec(Task::Chat);
    damage(&place, &mut spec);
    let error = refusal(place.load(&spec));
    assert_eq!(error.code(), code, "{}", error.report());
    assert!(error.to_string().starts_with("model test-model, version v1, "), "{error}");
    error
}

/// The digests and sizes that the files have after the damage.
fn resign(place: &Place, spec: &mut VersionSpec) {
    spec.files = place.spec(Task::Chat).files;
}

fn replace(place: &Place, file: &str, from: &str, to: &str) {
    let bytes = std::fs::read(place.file(file)).expect("readable");
    assert_eq!(from.len(), to.len(), "lengths inside protobuf stay");
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).expect("it is there");
    let mut changed = bytes;
    while let Some(at) = changed.windows(from.len()).position(|w| w == from.as_bytes()) {
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    assert!(at > 0);
    std::fs::write(place.file(file), changed).expect("written");
}

#[test]
fn a_digest_that_differs_is_refused_with_both_digests() {
    let error = refused("TG-2017", |place, _| {
        let mut data = std::fs::read(place.file("model.onnx.data")).expect("readable");
        data[5000] ^= 1;
        std::fs::write(place.file("model.onnx.data"), data).expect("written");
    });
    assert!(error.report().contains("\"model.onnx.data\" has SHA-256"), "{}", error.report());
    refused("TG-2017", |_, spec| spec.files[0].sha256 = "not hex".to_owned());
}

#[test]
fn a_truncated_or_missing_file_is_refused() {
    refused("TG-2016", |place, _| {
        let file = std::fs::OpenOptions::new().write(true).open(place.file("model.onnx.data")).expect("opens");
        file.set_len(100).expect("cut");
    });
    refused("TG-2014", |place, _| std::fs::remove_file(place.file("model.onnx.data")).expect("removed"));
    refused("TG-2014", |_, spec| spec.uri = "file:m/v9".to_owned());
    refused("TG-2020", |_, spec| spec.files.retain(|f| f.path != "model.onnx"));
    refused("TG-2020", |_, spec| spec.tokenizer = "other.json".to_owned());
}

#[test]
fn a_uri_or_path_outside_the_roots_is_refused() {
    for uri in
        ["file:../m/v1", "file:m/../../x", "file:/etc", "file:", "http://h/m", "file://host/m", "file:m%2fv1", "m/v1"]
    {
        refused("TG-2011", |_, spec| spec.uri = uri.to_owned());
    }
    refused("TG-2011", |place, spec| spec.uri = format!("file://{}/m/../m/v1", place.root().display()));
    refused("TG-2013", |_, spec| spec.uri = "file:///etc".to_owned());
    for path in ["../v1/model.onnx", "/etc/passwd", "a//b", "./model.onnx", "", "a/..", "a\0b"] {
        refused("TG-2012", |_, spec| spec.files[0].path = path.to_owned());
    }
}

#[test]
fn an_absolute_uri_under_a_root_is_fine() {
    let place = Place::of("chat");
    let mut spec = place.spec(Task::Chat);
    spec.uri = format!("file://{}", place.version().display());
    place.load(&spec).expect("loads");
}

#[test]
fn a_link_is_followed_inside_the_roots_only() {
    refused("TG-2013", |place, _| {
        let outside = place.dir.path().join("outside.onnx.data");
        std::fs::rename(place.file("model.onnx.data"), &outside).expect("moved");
        symlink(&outside, place.file("model.onnx.data")).expect("linked");
    });
    refused("TG-2013", |place, spec| {
        let outside = place.dir.path().join("elsewhere");
        std::fs::rename(place.version(), &outside).expect("moved");
        symlink(&outside, place.version()).expect("linked");
        spec.uri = "file:m/v1".to_owned();
    });
    let place = Place::of("chat");
    let spec = place.spec(Task::Chat);
    let blob = place.root().join("blob");
    std::fs::rename(place.file("model.onnx.data"), &blob).expect("moved");
    symlink(&blob, place.file("model.onnx.data")).expect("linked");
    place.load(&spec).expect("a link that stays inside is fine");
}

#[test]
fn what_is_not_a_regular_file_is_refused_without_hanging() {
    refused("TG-2015", |place, _| {
        std::fs::remove_file(place.file("config.json")).expect("removed");
        std::fs::create_dir(place.file("config.json")).expect("made");
    });
    refused("TG-2015", |place, _| {
        std::fs::remove_file(place.file("config.json")).expect("removed");
        let made = std::process::Command::new("mkfifo").arg(place.file("config.json")).status().expect("mkfifo runs");
        assert!(made.success());
    });
}

#[test]
fn external_data_that_is_not_listed_is_refused() {
    let error = refused("TG-2019", |_, spec| spec.files.retain(|f| f.path != "model.onnx.data"));
    assert!(error.report().contains("\"model.onnx.data\""), "{}", error.report());
    refused("TG-2019", |place, spec| {
        replace(place, "model.onnx", "model.onnx.data", "../../../passwd");
        resign(place, spec);
    });
    refused("TG-2019", |place, spec| {
        replace(place, "model.onnx", "model.onnx.data", "/etc/shadow.txt");
        resign(place, spec);
    });
}

/// Exporters write the same file in many ways; what was listed and verified is what runs.
#[test]
fn a_location_is_compared_as_a_path_and_not_as_text() {
    for (location, path) in [
        ("./del.onnx.data", "del.onnx.data"),
        (".//el.onnx.data", "el.onnx.data"),
        ("on/el.onnx.data", "on/el.onnx.data"),
        ("./on/l.onnx.dat", "on/l.onnx.dat"),
        ("on/../onnx.data", "onnx.data"),
        (".\\del.onnx.data", "del.onnx.data"),
    ] {
        let place = Place::of("chat");
        let whole = place.load(&place.spec(Task::Chat)).expect("loads").tokenizer;
        replace(&place, "model.onnx", "model.onnx.data", location);
        std::fs::create_dir_all(place.file(path).parent().expect("a folder")).expect("made");
        let mut spec = place.spec(Task::Chat);
        std::fs::rename(place.file("model.onnx.data"), place.file(path)).expect("moved");
        for file in &mut spec.files {
            if file.path == "model.onnx.data" {
                file.path = path.to_owned();
            }
        }
        let model = place.load(&spec).unwrap_or_else(|error| panic!("{location}: {}", error.report()));
        assert_eq!(model.tokenizer.encode("same").expect("encodes"), whole.encode("same").expect("encodes"));
    }
}

#[test]
fn advice_about_external_data_can_be_followed() {
    let error = refused("TG-2019", |place, spec| {
        replace(place, "model.onnx", "model.onnx.data", "on/el.onnx.data");
        std::fs::rename(place.file("model.onnx.data"), place.file("el.onnx.data")).expect("moved");
        resign(place, spec);
    });
    assert!(
        error.report().contains("the graph looks for \"on/el.onnx.data\" under its uri; move"),
        "{}",
        error.report()
    );
    let error = refused("TG-2019", |place, spec| {
        replace(place, "model.onnx", "model.onnx.data", "../../../passwd");
        resign(place, spec);
    });
    assert!(error.report().contains("leads out of the version's directory"), "{}", error.report());
}

/// The tag of the graph, written with a fifth byte that ONNX Runtime's protobuf throws away: to it the graph is there.
#[test]
fn a_graph_behind_a_tag_that_is_too_long_is_refused() {
    let error = refused("TG-2022", |place, spec| {
        replace(place, "model.onnx", "model.onnx.data", "../../../passwd");
        let model = std::fs::read(place.file("model.onnx")).expect("readable");
        let graph = model.iter().position(|b| *b == 0x3a).expect("field 7 is there");
        let hidden = [&model[..graph], &[0xba, 0x80, 0x80, 0x80, 0x10], &model[graph + 1..]].concat();
        std::fs::write(place.file("model.onnx"), hidden).expect("written");
        resign(place, spec);
    });
    assert!(error.report().contains("tag"), "{}", error.report());
}

#[test]
fn a_tensor_behind_the_end_of_its_file_is_refused() {
    refused("TG-2022", |place, spec| {
        let data = std::fs::read(place.file("model.onnx.data")).expect("readable");
        std::fs::write(place.file("model.onnx.data"), &data[..data.len() - 4]).expect("written");
        resign(place, spec);
    });
}

#[test]
fn a_graph_that_is_no_graph_is_refused() {
    for bytes in [b"no protobuf at all".as_slice(), b"", b"\x08\x07ORTM\0\0", b"\0\0\0\0ORTM0000"] {
        let place = Place::of("chat");
        std::fs::write(place.file("model.onnx"), bytes).expect("written");
        let code = refusal(place.load(&place.spec(Task::Chat))).code().to_owned();
        assert!(["TG-2022", "TG-2023"].contains(&code.as_str()), "{bytes:?}: {code}");
    }
}

#[test]
fn a_config_that_is_wrong_or_does_not_fit_the_graph_is_refused() {
    let config = |from: &'static str, to: &'static str| {
        move |place: &Place, spec: &mut VersionSpec| {
            let text = std::fs::read_to_string(place.file("config.json")).expect("readable");
            assert!(text.contains(from), "{from} is in {text}");
            std::fs::write(place.file("config.json"), text.replace(from, to)).expect("written");
            resign(place, spec);
        }
    };
    for (from, to) in [
        ("tidegate.model/v1", "tidegate.model/v9"),
        ("\"Chat\"", "\"Embedding\""),
        ("\"layers\": 2", "\"layers\": 0"),
        ("\"layers\": 2", "\"layers\": -2"),
        ("\"maxSequence\": 64", "\"maxSequence\": 99999999"),
        ("258", "260"),
        ("{", ""),
    ] {
        refused("TG-2021", config(from, to));
    }
    for (from, to) in [
        ("\"layers\": 2", "\"layers\": 3"),
        ("\"layers\": 2", "\"layers\": 1"),
        ("\"kvHeads\": 2", "\"kvHeads\": 4"),
        ("\"headDim\": 16", "\"headDim\": 32"),
        ("\"vocabSize\": 260", "\"vocabSize\": 261"),
    ] {
        refused("TG-2022", config(from, to));
    }
}

#[test]
fn bounds_on_what_is_pushed_hold() {
    refused("TG-2043", |_, spec| spec.max_batch = 0);
    refused("TG-2043", |_, spec| spec.files.push(spec.files[0].clone()));
    refused("TG-2043", |_, spec| {
        let file = spec.files[0].clone();
        spec.files.extend((0..64).map(|n| tidegate_engine::FileSpec { path: format!("f{n}"), ..file.clone() }));
    });
    refused("TG-2027", |_, spec| spec.chat_template = None);
}

#[test]
fn a_cancelled_load_loads_nothing() {
    let place = Place::of("chat");
    let cancel = LoadCancel::default();
    cancel.cancel();
    let roots = ModelRoots::new([place.root()]).expect("roots");
    let error = refusal(load(&runtime(), &place.spec(Task::Chat), &roots, &cancel));
    assert_eq!(error.code(), "TG-2025");
}

#[test]
fn a_root_must_be_a_directory() {
    let place = Place::of("chat");
    for path in [place.file("config.json"), place.root().join("nothing")] {
        assert_eq!(ModelRoots::new([path]).expect_err("refused").code(), "TG-2010");
    }
}

#[test]
fn the_digest_of_a_version_does_not_depend_on_order_or_case() {
    let place = Place::of("chat");
    let mut files = place.spec(Task::Chat).files;
    let digest = version_digest(&files);
    files.reverse();
    files[0].sha256 = files[0].sha256.to_uppercase();
    assert_eq!(version_digest(&files), digest);
    let other = if files[0].sha256.starts_with('0') { "1" } else { "0" };
    files[0].sha256.replace_range(0..1, other);
    assert_ne!(version_digest(&files), digest);
}
