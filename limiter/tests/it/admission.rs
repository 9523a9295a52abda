//! Many limits at once: all or nothing, balances by key, changes in flight.
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
    assert_eq!(admission.balances().0, 0);
}
