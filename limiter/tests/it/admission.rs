//! Many limits at once: all or nothing, balances by key, changes in flight.
use proptest::prelude::*;
use tidegate_limiter::{
    admission::{Admission, Counter, Limit, MAX_BALANCES, Permit, Refused},
    bucket::Quota,
    matching::{Condition, RequestView},
};

fn limit(id: &str) -> Limit {
    Limit { id: id.into(), conditions: vec![], counters: vec![], requests: None, concurrency: None, shadow: false }
}

fn rate(id: &str, burst: u64) -> Limit {
    Limit { requests: Quota::new(1, 60_000, burst), ..limit(id) }
}

fn request<'a>(headers: &'a [(String, Vec<u8>)], tenant: &'a str) -> RequestView<'a> {
    RequestView { headers, tenant: Some(tenant) }
}

fn admit(admission: &mut Admission, tenant: &str) -> Result<Permit, String> {
    admission.try_admit(&request(&[], tenant), 0).map_err(|r| r.limit)
}

#[test]
fn a_refused_request_consumes_nothing_anywhere() {
    let mut admission = Admission::default();
    admission.apply(vec![rate("big", 3), rate("small", 1)], 0);
    assert!(admit(&mut admission, "a").is_ok());
    for _ in 0..10 {
        assert_eq!(admit(&mut admission, "a").unwrap_err(), "small");
    }
    admission.apply(vec![rate("big", 3)], 0);
    assert!(admit(&mut admission, "a").is_ok());
    assert!(admit(&mut admission, "a").is_ok());
    assert_eq!(admit(&mut admission, "a").unwrap_err(), "big");
}

#[test]
fn each_tenant_has_a_balance_of_its_own() {
    let mut admission = Admission::default();
    admission.apply(vec![Limit { counters: vec![Counter::Tenant], ..rate("t", 1) }], 0);
    assert!(admit(&mut admission, "a").is_ok());
    assert!(admit(&mut admission, "a").is_err());
    assert!(admit(&mut admission, "b").is_ok());
    let nobody = RequestView { headers: &[], tenant: None };
    assert!(admission.try_admit(&nobody, 0).is_ok(), "a limit whose counter has no value does not apply");
}

#[test]
fn keys_cannot_be_confused_by_moving_bytes_between_counters() {
    let counters = vec![Counter::Header("a".into()), Counter::Header("b".into())];
    let mut admission = Admission::default();
    admission.apply(vec![Limit { counters, ..rate("t", 1) }], 0);
    let first = [("a".to_owned(), b"xy".to_vec()), ("b".to_owned(), b"z".to_vec())];
    let second = [("a".to_owned(), b"x".to_vec()), ("b".to_owned(), b"yz".to_vec())];
    assert!(admission.try_admit(&request(&first, ""), 0).is_ok());
    assert!(admission.try_admit(&request(&second, ""), 0).is_ok());
    assert!(admission.try_admit(&request(&first, ""), 0).is_err());
}

#[test]
fn requests_in_flight_are_counted_until_released() {
    let mut admission = Admission::default();
    admission.apply(vec![Limit { concurrency: Some(2), ..limit("c") }], 0);
    let first = admit(&mut admission, "a").unwrap();
    let second = admit(&mut admission, "b").unwrap();
    let refusal = admission.try_admit(&request(&[], "c"), 0).unwrap_err();
    assert_eq!((refusal.what, refusal.retry_after_ms), (Refused::Concurrency, 1_000));
    admission.release(first);
    let third = admit(&mut admission, "c").unwrap();
    admission.apply(vec![Limit { concurrency: Some(1), ..limit("c") }], 0);
    admission.release(second);
    assert!(admit(&mut admission, "d").is_err(), "what is in flight stays counted through a change");
    admission.release(third);
    assert!(admit(&mut admission, "d").is_ok());
}

#[test]
fn a_limit_with_conditions_concerns_only_what_matches() {
    let condition = Condition::Tenant("acme".into());
    let mut admission = Admission::default();
    admission.apply(vec![Limit { conditions: vec![condition], ..rate("acme", 1) }], 0);
    assert!(admit(&mut admission, "acme").is_ok());
    assert!(admit(&mut admission, "acme").is_err());
    for _ in 0..5 {
        assert!(admit(&mut admission, "other").is_ok());
    }
}

#[test]
fn shadow_limits_report_and_admit() {
    let mut admission = Admission::default();
    admission.apply(vec![Limit { shadow: true, ..rate("s", 1) }], 0);
    assert!(admit(&mut admission, "a").unwrap().shadow_refusals.is_empty());
    assert_eq!(admit(&mut admission, "a").unwrap().shadow_refusals.len(), 1);
}

/// What a shadow limit would have refused is what it refuses once it is enforced.
#[test]
fn a_shadow_limit_reports_what_it_would_refuse_if_it_were_enforced() {
    let refusals = |shadow: bool| {
        let mut admission = Admission::default();
        admission.apply(vec![Limit { requests: Quota::new(10, 1_000, 10), shadow, ..limit("s") }], 0);
        let ask = |n: u64| match admission.try_admit(&request(&[], "a"), n * 50) {
            Ok(permit) => !permit.shadow_refusals.is_empty(),
            Err(_) => true,
        };
        (0..101).map(ask).filter(|refused| *refused).count()
    };
    assert_eq!(refusals(false), 41, "10 at once and 10 a second for 5 s, of 101");
    assert_eq!(refusals(true), 41);
}

#[test]
fn a_shadow_limit_on_concurrency_counts_only_whom_it_would_admit() {
    let mut admission = Admission::default();
    admission.apply(vec![Limit { concurrency: Some(1), shadow: true, ..limit("s") }], 0);
    let first = admit(&mut admission, "a").unwrap();
    let second = admit(&mut admission, "a").unwrap();
    assert_eq!((first.shadow_refusals.len(), second.shadow_refusals.len()), (0, 1));
    admission.release(first);
    let third = admit(&mut admission, "a").unwrap();
    assert!(third.shadow_refusals.is_empty(), "the second would not be in flight");
    admission.release(second);
    assert_eq!(admit(&mut admission, "a").unwrap().shadow_refusals.len(), 1, "the third is");
    admission.release(third);
}

#[test]
fn a_permit_of_a_limit_that_went_away_frees_nothing_of_its_successor() {
    let at_once = || vec![Limit { concurrency: Some(1), ..limit("c") }];
    let mut admission = Admission::default();
    admission.apply(at_once(), 0);
    let old = admit(&mut admission, "a").unwrap();
    admission.apply(vec![], 0);
    admission.apply(at_once(), 0);
    let new = admit(&mut admission, "a").unwrap();
    admission.release(old);
    assert!(admit(&mut admission, "a").is_err(), "the new one is still in flight");
    admission.release(new);
    assert!(admit(&mut admission, "a").is_ok());
}

/// Fills the table of a limit with `concurrency`, so that further tenants overflow. Gives the permits back.
fn filled(concurrency: u64) -> (Admission, Vec<Permit>) {
    let mut admission = Admission::default();
    let each = Limit { counters: vec![Counter::Tenant], concurrency: Some(concurrency), ..limit("c") };
    admission.apply(vec![each], 0);
    let permits: Vec<_> =
        (0..MAX_BALANCES).filter_map(|i| admit(&mut admission, &format!("tenant-{i}")).ok()).collect();
    assert_eq!(permits.len(), MAX_BALANCES);
    (admission, permits)
}

#[test]
fn a_request_is_given_back_to_the_balance_that_it_was_counted_in() {
    let (mut admission, permits) = filled(1);
    let shared = admit(&mut admission, "late").unwrap();
    assert!(admit(&mut admission, "later").is_err(), "the shared balance is used up");
    permits.into_iter().for_each(|p| admission.release(p));
    admission.sweep(0);
    assert_eq!(admission.balances(), (0, true), "a request is in flight in the shared balance");
    let own = admit(&mut admission, "late").unwrap();
    admission.release(shared);
    assert!(admit(&mut admission, "late").is_err(), "its own balance is still used up");
    admission.sweep(0);
    assert_eq!(admission.balances(), (1, false), "an idle shared balance is forgotten");
    admission.release(own);
    assert!(admit(&mut admission, "late").is_ok());
}

#[test]
fn a_long_value_is_kept_as_a_digest_and_still_told_apart() {
    let mut admission = Admission::default();
    admission.apply(vec![Limit { counters: vec![Counter::Header("a".into())], ..rate("t", 1) }], 0);
    let long = |last: u8| [("a".to_owned(), [vec![b'x'; 50_000], vec![last]].concat())];
    assert!(admission.try_admit(&request(&long(1), ""), 0).is_ok());
    assert!(admission.try_admit(&request(&long(2), ""), 0).is_ok(), "another value");
    assert!(admission.try_admit(&request(&long(1), ""), 0).is_err(), "the same value again");
    let kept = format!("{admission:?}");
    assert!(kept.len() < 10_000, "the values are not kept");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever comes, ends and is changed in between: what a limit has in flight is what was admitted under it and did not end.
    #[test]
    fn in_flight_is_what_was_admitted_and_has_not_ended(steps in prop::collection::vec((0u8..10, 0usize..4), 1..120)) {
        const MOST: u64 = 3;
        let each = Limit { counters: vec![Counter::Tenant], concurrency: Some(MOST), ..limit("c") };
        let mut admission = Admission::default();
        admission.apply(vec![each.clone()], 0);
        let mut running: Vec<(Option<usize>, Permit)> = Vec::new();
        for (what, n) in steps {
            match what {
                0..=5 => {
                    let mine = running.iter().filter(|(tenant, _)| *tenant == Some(n)).count() as u64;
                    let answer = admit(&mut admission, &format!("t{n}"));
                    prop_assert_eq!(answer.is_ok(), mine < MOST);
                    running.extend(answer.ok().map(|permit| (Some(n), permit)));
                }
                6 | 7 if !running.is_empty() => admission.release(running.swap_remove(n % running.len()).1),
                8 => {
                    admission.apply(vec![], 0);
                    admission.apply(vec![each.clone()], 0);
                    // They go on, but nobody counts them any more.
                    running.iter_mut().for_each(|(tenant, _)| *tenant = None);
                }
                _ => admission.sweep(0),
            }
        }
    }
}

#[test]
fn a_change_keeps_balances_and_a_raised_limit_helps_at_once() {
    let mut admission = Admission::default();
    admission.apply(vec![rate("r", 2)], 0);
    for _ in 0..2 {
        assert!(admit(&mut admission, "a").is_ok());
    }
    admission.apply(vec![rate("r", 2)], 0);
    assert!(admit(&mut admission, "a").is_err(), "the same numbers again give nothing away");
    admission.apply(vec![rate("r", 3)], 0);
    assert!(admit(&mut admission, "a").is_ok());
    assert!(admit(&mut admission, "a").is_err());
}

#[test]
fn memory_is_bounded_and_idle_balances_are_forgotten() {
    let mut admission = Admission::default();
    admission.apply(vec![Limit { counters: vec![Counter::Tenant], ..rate("t", 1) }], 0);
    for i in 0..MAX_BALANCES + 50 {
        if let Ok(permit) = admit(&mut admission, &format!("tenant-{i}")) {
            admission.release(permit);
        }
    }
    assert_eq!(admission.balances(), (MAX_BALANCES, true));
    assert!(admit(&mut admission, "one more").is_err(), "keys beyond the bound share one balance");
    admission.sweep(60_000);
    assert_eq!(admission.balances(), (0, false));
}
