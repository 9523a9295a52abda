//! Vectors do not depend on the batch; a run can be stopped, and only that run.
use std::time::{Duration, Instant};

use tidegate_engine::Task;

use crate::harness::{Place, embedding_engine};

#[test]
fn a_batch_gives_what_each_text_gives_alone_and_vectors_have_length_one() {
    let place = Place::of("encoder");
    let mut engine = embedding_engine(place.load(&place.spec(Task::Embedding)).expect("loads"));
    let rows: Vec<Vec<u32>> = vec![vec![1, 2, 3], vec![250], vec![9; 64], vec![3, 2, 1, 0]];
    let batch = engine.embed(&rows).expect("embeds");
    for (row, vector) in rows.iter().zip(&batch) {
        let alone = engine.embed(std::slice::from_ref(row)).expect("embeds").remove(0);
        let dot: f32 = alone.iter().zip(vector).map(|(a, b)| a * b).sum();
        let norm: f32 = vector.iter().map(|v| v * v).sum();
        assert!((norm - 1.0).abs() < 1.0e-5 && (dot - 1.0).abs() < 1.0e-5, "norm {norm}, with itself {dot}");
    }
    assert_eq!((engine.dimensions(), engine.max_sequence(), engine.max_batch()), (16, 64, 8));
}

#[test]
fn calls_out_of_bounds_are_refused() {
    let place = Place::of("encoder");
    let mut engine = embedding_engine(place.load(&place.spec(Task::Embedding)).expect("loads"));
    for bad in [vec![], vec![vec![]], vec![vec![1; 65]], vec![vec![260]], vec![vec![1]; 9]] {
        let error = engine.embed(&bad).expect_err("refused");
        assert_eq!((error.code(), error.request_fault()), ("TG-2043", true));
    }
}

#[test]
fn stopping_ends_the_run_in_progress_and_nothing_else() {
    let place = Place::of("slow");
    let mut engine = embedding_engine(place.load(&place.spec(Task::Embedding)).expect("loads"));
    let terminator = engine.terminator();
    terminator.terminate();
    engine.embed(&[vec![1]]).expect("a stop before the call changes nothing");
    let started = Instant::now();
    let stopper = std::thread::spawn({
        let terminator = terminator.clone();
        move || {
            std::thread::sleep(Duration::from_millis(200));
            terminator.terminate();
        }
    });
    let error = engine.embed(&[vec![255]]).expect_err("it was stopped");
    assert!(error.terminated() && error.code() == "TG-2040", "{}", error.report());
    assert!(started.elapsed() < Duration::from_secs(10), "the whole run takes much longer");
    stopper.join().expect("joins");
    engine.embed(&[vec![1]]).expect("the next call is not stopped");
}
