//! What is measured, what is guessed, and what is forgotten.
use super::{Estimate, Pace};

fn measured(calls: &[(u64, f64)]) -> Pace {
    let mut pace = Pace::default();
    for (units, ms) in calls.iter().chain(calls) {
        pace.record(*units, *ms, 0);
    }
    pace
}

#[test]
fn nothing_is_known_before_it_was_measured_twice() {
    let mut pace = Pace::default();
    assert_eq!(pace.call(100, 0), None);
    pace.record(100, 5.0, 0);
    assert_eq!(pace.call(100, 0), None);
    pace.record(100, 5.0, 0);
    assert_eq!(pace.call(100, 0), Some(Estimate { ms: 5.0, firm: true }));
    assert_eq!(pace.call(100, 60_001), None, "too old");
}

#[test]
fn guesses_are_fast_ones() {
    let pace = measured(&[(1_000, 50.0)]);
    assert_eq!(pace.call(100, 0), Some(Estimate { ms: 5.0, firm: true }), "a part of a larger call");
    assert_eq!(pace.call(100_000, 0), Some(Estimate { ms: 50.0, firm: false }), "at least as long as a smaller call");
    let both = measured(&[(10, 20.0), (1_000, 50.0)]);
    assert_eq!(both.call(100, 0).unwrap().ms, 20.0, "not shorter than a smaller call");
}

#[test]
fn a_change_of_pace_is_learnt() {
    let mut pace = measured(&[(1_000, 50.0)]);
    for now in 0..20 {
        pace.record(1_000, 10.0, now);
    }
    assert!((pace.call(1_000, 20).unwrap().ms - 10.0).abs() < 0.5);
    assert!((pace.units_per_ms(20).unwrap() - 100.0).abs() < 5.0);
}

#[test]
fn a_call_that_was_ended_takes_longer_than_it_ran() {
    let mut pace = Pace::default();
    pace.record_ended(1_000, 100.0, 0);
    assert!(pace.call(1_000, 0).unwrap().ms > 100.0);
    let mut known = measured(&[(1_000, 50.0)]);
    known.record_ended(1_000, 10.0, 0);
    assert_eq!(known.call(1_000, 0), Some(Estimate { ms: 50.0, firm: true }), "ended early for another row's sake");
}
