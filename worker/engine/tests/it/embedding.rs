//! Vectors do not depend on the batch; a run can be stopped, and only that run.
use std::time::{Duration, Instant};

use tidegate_engine::{LoadCancel, ModelRoots, Task, load};
use tracing::span;

use crate::harness::{Place, embedding_engine, refusal, runtime};

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
        assert_eq!((error.code(), error.request_fault()), ("TG-2043", false));
    }
}

/// Cancels a load when its session is built: what comes next is the first run.
struct CancelWhenBuilt(LoadCancel);

impl tracing::Subscriber for CancelWhenBuilt {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("tidegate_engine")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().fields().field("external_files").is_some() {
            self.0.cancel();
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Without the stop the first run would count for minutes and the load would go through.
#[test]
fn a_load_that_is_cancelled_in_its_first_run_ends() {
    let place = Place::of("slow");
    let config = std::fs::read_to_string(place.file("config.json")).expect("readable");
    let endless = config.replace("\"padTokenId\": 0", "\"padTokenId\": 259");
    assert_ne!(endless, config);
    std::fs::write(place.file("config.json"), endless).expect("written");
    let (cancel, roots) = (LoadCancel::default(), ModelRoots::new([place.root()]).expect("roots"));
    let result = tracing::subscriber::with_default(CancelWhenBuilt(cancel.clone()), || {
        load(&runtime(), &place.spec(Task::Embedding), &roots, &cancel)
    });
    assert_eq!(refusal(result).code(), "TG-2025");
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
