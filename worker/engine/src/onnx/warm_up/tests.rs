//! A graph that runs for minutes is stopped, and the load says why.
use std::time::Duration;

use super::run;
use crate::engine::EmbeddingEngine;
use crate::error::EngineError;
use crate::load::LoadCancel;
use crate::onnx::tests;

const LONG: Duration = Duration::from_secs(600);

#[test]
fn runs_that_do_not_end_are_stopped_at_their_limit() {
    let mut engine = tests::endless();
    let terminator = engine.terminator();
    let limit = Duration::from_millis(1_100);
    let error = run(&LoadCancel::default(), limit, &*terminator, || engine.warm_up()).expect_err("stopped");
    assert_eq!(error.code(), "TG-2029");
    assert_eq!(error.to_string(), "the first run of the model did not end within 1 s");
}

#[test]
fn runs_end_when_the_load_is_cancelled() {
    let mut engine = tests::endless();
    let (terminator, cancel) = (engine.terminator(), LoadCancel::default());
    let cancelled = || {
        cancel.cancel();
        engine.warm_up()
    };
    assert_eq!(run(&cancel, LONG, &*terminator, cancelled).expect_err("stopped").code(), "TG-2025");
}

#[test]
fn runs_that_fail_keep_their_cause_and_runs_that_end_are_fine() {
    let terminator = tests::endless().terminator();
    let cancel = LoadCancel::default();
    let error = run(&cancel, LONG, &*terminator, || Err(EngineError::NotFinite)).expect_err("failed");
    assert_eq!((error.code(), error.terminated()), ("TG-2042", false));
    run(&cancel, LONG, &*terminator, || Ok(())).expect("fine");
}
