//! Goldens: `golden/<what>/in/*.yaml` → `golden/<what>/out/*.txt`. `UPDATE=1` rewrites the outputs.
use std::{fs, path::PathBuf};

use tidegate_policy::{explain::explain, validate};

use crate::{
    scenario::{OPEN, Scenario},
    show,
};

fn check(what: &str, run: impl Fn(&str) -> String) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(what);
    let update = std::env::var_os("UPDATE").is_some();
    let mut inputs: Vec<PathBuf> = fs::read_dir(root.join("in")).unwrap().map(|e| e.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no goldens in {}", root.display());
    let mut wrong = Vec::new();
    for output in fs::read_dir(root.join("out")).unwrap().map(|e| e.unwrap().path()) {
        let input = root.join("in").join(output.file_stem().unwrap()).with_extension("yaml");
        assert!(input.exists(), "{} has no input any more", output.display());
    }
    for input in inputs {
        let output = root.join("out").join(input.file_stem().unwrap()).with_extension("txt");
        let actual = run(&fs::read_to_string(&input).unwrap());
        if update {
            fs::write(&output, &actual).unwrap();
        }
        let expected = fs::read_to_string(&output).unwrap_or_default();
        if actual != expected {
            wrong.push(format!(
                "{}\n{}",
                input.display(),
                similar::TextDiff::from_lines(&expected, &actual).unified_diff()
            ));
        }
    }
    assert!(wrong.is_empty(), "UPDATE=1 rewrites, if this is meant:\n{}", wrong.join("\n"));
}

#[test]
fn every_mistake_of_a_document_is_named() {
    check("documents", |text| match validate::parse(text.as_bytes()) {
        Ok(objects) => {
            objects.iter().map(|o| format!("ok {}\n{}", o.key(), tidegate_text::write(&o.spec().to_value()))).collect()
        }
        Err(rejections) => format!("{rejections}\n"),
    });
}

#[test]
fn compile_says_the_same_as_ever() {
    check("compile", |text| show::compiled(&Scenario::read(text).compile()));
}

#[test]
fn explain_says_the_same_as_ever() {
    check("explain", |text| {
        let scenario = Scenario::read(text);
        let snapshot = scenario.compile().snapshot;
        scenario
            .requests
            .iter()
            .map(|r| {
                format!(
                    "--- {}\n{}",
                    serde_json::to_string(r).unwrap(),
                    show::explanation(&explain(&snapshot, OPEN, r))
                )
            })
            .collect()
    });
}

#[test]
fn overlaps_are_reported() {
    check("overlap", |text| {
        let compiled = Scenario::read(text).compile();
        let warnings = compiled.statuses.iter().filter(|(_, s)| !s.warnings.is_empty());
        warnings.map(|(key, s)| format!("{key}\n  {}\n", s.warnings.join("\n  "))).collect()
    });
}
