//! One bucket: its bound in every interval, and what a change of numbers does.
use proptest::prelude::*;
use tidegate_limiter::bucket::{Bucket, Quota};

/// The most that one bucket may admit in any interval of `t_ms`.
fn bound(quota: &Quota, t_ms: u64) -> u64 {
    quota.burst + quota.rate * t_ms / quota.window_ms
}

fn admitted_at(quota: &Quota, arrivals: &[u64]) -> Vec<u64> {
    let mut bucket = Bucket::full(quota, 0);
    let mut admitted = Vec::new();
    for &now in arrivals {
        bucket.refill(quota, now);
        if bucket.wait_ms(quota) == 0 {
            bucket.take(quota);
            admitted.push(now);
        }
    }
    admitted
}

proptest! {
    #[test]
    fn no_interval_admits_more_than_burst_plus_refill(
        rate in 1u64..50, window_ms in 1u64..2_000, burst in 1u64..20,
        gaps in prop::collection::vec(0u64..100, 1..400),
    ) {
        let quota = Quota::new(rate, window_ms, burst).unwrap();
        let arrivals: Vec<u64> = gaps.iter().scan(0, |t, gap| { *t += gap; Some(*t) }).collect();
        let admitted = admitted_at(&quota, &arrivals);
        for (i, start) in admitted.iter().enumerate() {
            for (j, end) in admitted.iter().enumerate().skip(i) {
                prop_assert!((j - i + 1) as u64 <= bound(&quota, end - start));
            }
        }
    }

    #[test]
    fn a_waiting_client_gets_in_exactly_when_it_was_told(
        rate in 1u64..50, window_ms in 1u64..2_000, burst in 1u64..20, start in 0u64..1_000,
    ) {
        let quota = Quota::new(rate, window_ms, burst).unwrap();
        let mut bucket = Bucket::full(&quota, start);
        for _ in 0..burst { bucket.take(&quota); }
        let wait = bucket.wait_ms(&quota);
        prop_assert!(wait > 0);
        let mut early = bucket;
        early.refill(&quota, start + wait - 1);
        prop_assert!(early.wait_ms(&quota) > 0);
        bucket.refill(&quota, start + wait);
        prop_assert_eq!(bucket.wait_ms(&quota), 0);
    }

    #[test]
    fn used_tokens_stay_used_when_the_numbers_change(
        burst in 1u64..100, used in 0u64..100, new_burst in 1u64..100, window_ms in 1u64..5_000, new_window in 1u64..5_000,
    ) {
        let used = used.min(burst);
        let (old, new) = (Quota::new(1, window_ms, burst).unwrap(), Quota::new(1, new_window, new_burst).unwrap());
        let mut bucket = Bucket::full(&old, 7);
        for _ in 0..used { bucket.take(&old); }
        bucket.rescale(&old, &new, 7);
        prop_assert_eq!(bucket.remaining(&new), new_burst.saturating_sub(used));
    }
}

#[test]
fn a_raised_limit_helps_at_once_and_a_lowered_one_is_never_in_debt() {
    let (small, big) = (Quota::new(1, 60_000, 10).unwrap(), Quota::new(1, 60_000, 100).unwrap());
    let mut bucket = Bucket::full(&small, 0);
    for _ in 0..10 {
        bucket.take(&small);
    }
    bucket.rescale(&small, &big, 0);
    assert_eq!(bucket.remaining(&big), 90);
    for _ in 0..90 {
        bucket.take(&big);
    }
    bucket.rescale(&big, &small, 0);
    assert_eq!(bucket.wait_ms(&small), 60_000);
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let quota = Quota::new(Quota::MAX_COUNT, Quota::MAX_WINDOW_MS, Quota::MAX_COUNT).unwrap();
    let mut bucket = Bucket::full(&quota, 0);
    bucket.take(&quota);
    bucket.refill(&quota, u64::MAX);
    assert!(bucket.is_full(&quota));
}

#[test]
fn a_clock_that_goes_back_brings_nothing() {
    let quota = Quota::new(1, 1_000, 1).unwrap();
    let mut bucket = Bucket::full(&quota, 10_000);
    bucket.take(&quota);
    bucket.refill(&quota, 0);
    bucket.refill(&quota, 10_500);
    assert_eq!(bucket.wait_ms(&quota), 500);
}
