//! `tidegate check-config` through the real program: flag over environment over file over default.
use std::process::Output;

use serde_json::Value;

use crate::scene::{PROGRAM, command};

fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    command(PROGRAM).arg("check-config").args(args).envs(env.iter().copied()).output().unwrap()
}

fn effective(output: &Output, key: &str) -> (String, String) {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = report["settings"].as_array().unwrap().iter().find(|r| r["key"] == key).unwrap().clone();
    (row["value"].as_str().unwrap_or_default().to_owned(), row["origin"].as_str().unwrap().to_owned())
}

#[test]
fn each_layer_wins_over_the_ones_below() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("t.yaml");
    std::fs::write(&file, "maxWorkers: 3\nallowedWorkerIps: [10.0.0.1, 10.0.0.2]\nrequireApiKey: true\n").unwrap();
    let file = file.to_str().unwrap();
    for bits in 0..8 {
        let (flag, env, from_file) = (bits & 4 != 0, bits & 2 != 0, bits & 1 != 0);
        let mut args = vec!["-o", "json"];
        if flag {
            args.extend(["--max-workers", "1"]);
        }
        if from_file {
            args.extend(["--config", file]);
        }
        let env: &[(&str, &str)] = if env { &[("TIDEGATE_MAX_WORKERS", "2")] } else { &[] };
        let output = run(&args, env);
        assert_eq!(output.status.code(), Some(0));
        let expected = match (flag, !env.is_empty(), from_file) {
            (true, _, _) => ("1".to_owned(), "flag --max-workers".to_owned()),
            (false, true, _) => ("2".to_owned(), "env TIDEGATE_MAX_WORKERS".to_owned()),
            (false, false, true) => ("3".to_owned(), format!("file {file}")),
            (false, false, false) => ("16".to_owned(), "default".to_owned()),
        };
        assert_eq!(effective(&output, "maxWorkers"), expected);
    }
    let output = run(&["-o", "json"], &[("TIDEGATE_CONFIG", file)]);
    assert_eq!(effective(&output, "allowedWorkerIps").0, "10.0.0.1,10.0.0.2");
    assert_eq!(effective(&output, "requireApiKey").0, "true");
    let output = run(&["-o", "json", "--require-api-key=false"], &[("TIDEGATE_CONFIG", file)]);
    assert_eq!(effective(&output, "requireApiKey").0, "false");
}

#[test]
fn every_mistake_is_printed_and_the_status_is_64() {
    let env = [("TIDEGATE_LOG_FORMAT", "xml"), ("TIDEGATE_DATABASE_URL", "postgres://u:hunter2@h/d")];
    let output = run(&["--admin-listen", "0.0.0.0:9080", "--max-workers", "many"], &env);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    for code in ["TG-1503 env TIDEGATE_LOG_FORMAT", "TG-1503 flag --max-workers", "TG-1504 flag --admin-listen"] {
        assert!(text.contains(code), "{code}\n{text}");
    }
    assert!(text.contains("(redacted)") && !text.contains("hunter2"), "{text}");
}

#[test]
fn serve_and_up_refuse_a_bad_configuration_before_they_do_anything() {
    let dir = tempfile::tempdir().unwrap();
    for verb in ["serve", "up"] {
        let data = dir.path().join(verb);
        let output = command(PROGRAM)
            .arg(verb)
            .arg("--data-dir")
            .arg(&data)
            .args(["--grpc-listen", "0.0.0.0:1"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains("TG-1500") && said.contains("TG-1504"), "{said}");
        assert!(!data.exists());
    }
}
