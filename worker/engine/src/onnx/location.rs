//! Where the locations in a graph lead: exporters write `./weights`, doubled slashes and backslashes for the same file. Compares
//! no texts that only look different, and opens nothing.

/// The path inside the version that a location names, as the version lists it; None when it leads out of the version.
pub(super) fn inside(location: &str) -> Option<String> {
    if location.starts_with(['/', '\\']) {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in location.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            plain => parts.push(plain),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// What to do about a location whose file is not listed.
pub(super) fn advice<'a>(path: Option<&str>, mut listed: impl Iterator<Item = &'a str>) -> String {
    let Some(path) = path else {
        return "it leads out of the version's directory; export the model with its data in a file beside it"
            .to_owned();
    };
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let elsewhere = listed.find(|other| name(other) == name(path));
    match elsewhere {
        Some(other) => format!(
            "the version lists {other:?}, and the graph looks for {path:?} under its uri; move the file there and list it so, or \
             export the model with the location {other:?}"
        ),
        None => format!("list {path:?} among the version's files, with its digest and size"),
    }
}

#[cfg(test)]
mod tests {
    use super::{advice, inside};

    #[test]
    fn one_file_has_one_path_however_it_is_written() {
        for (location, path) in [
            ("model.onnx.data", Some("model.onnx.data")),
            ("./model.onnx.data", Some("model.onnx.data")),
            (".//./model.onnx.data", Some("model.onnx.data")),
            ("onnx/model.onnx.data", Some("onnx/model.onnx.data")),
            ("./onnx//model.onnx.data", Some("onnx/model.onnx.data")),
            ("onnx/../model.onnx.data", Some("model.onnx.data")),
            (".\\model.onnx.data", Some("model.onnx.data")),
            ("onnx\\model.onnx.data", Some("onnx/model.onnx.data")),
            ("../model.onnx.data", None),
            ("a/../../b", None),
            ("/etc/passwd", None),
            ("\\\\host\\share", None),
            ("", None),
            (".", None),
        ] {
            assert_eq!(inside(location).as_deref(), path, "{location}");
        }
    }

    #[test]
    fn advice_names_a_path_that_can_be_listed() {
        let listed = ["config.json", "model.onnx.data"];
        let moved = advice(Some("onnx/model.onnx.data"), listed.into_iter());
        assert!(moved.contains("\"onnx/model.onnx.data\"") && moved.contains("move"), "{moved}");
        assert!(advice(Some("weights.bin"), listed.into_iter()).starts_with("list \"weights.bin\""));
        assert!(advice(None, listed.into_iter()).contains("leads out"));
    }
}
