//! Limits at Envoy: the stated bound holds, and only requests that a limit is about are counted.
use tidegate_limiter::matching::{Condition, ValueTest};
use tidegate_policy::snapshot::{Counter, Limit, RequestRate};

use super::*;

pub(super) fn limit(name: &str, (rate, window_ms, burst): (u64, u64, u64)) -> Limit {
    Limit {
        id: format!("default/limits/{name}"),
        owner: ObjectRef { namespace: "default".to_owned(), name: "limits".to_owned() },
        owner_generation: 1,
        conditions: Vec::new(),
        counters: Vec::new(),
        requests: Some(RequestRate { rate, window_ms, burst }),
        concurrency: None,
        shadow: false,
    }
}

pub(super) fn set(snapshot: &mut Snapshot, limits: Vec<Limit>) {
    snapshot.limits = limits.into_iter().map(|l| (l.id.clone(), l)).collect();
    snapshot.targets[0].limits = snapshot.limits.keys().cloned().collect();
}

/// How many of `n` were admitted; the others must be 429 with a reason and a Retry-After of at least a second.
fn admitted(bench: &Bench, n: usize, headers: &[Header]) -> usize {
    let mut client = bench.client();
    let answers = (0..n).map(|_| client.send(&post(CHAT, BODY, headers)).unwrap());
    let refused = answers.filter(|a| a.status != 200).map(|a| {
        assert_eq!((a.status, error_code(&a).as_str()), (429, "rate_limit_exceeded"));
        assert!(a.header("retry-after").parse::<u64>().unwrap() >= 1);
    });
    n - refused.count()
}

#[test]
fn never_more_than_burst_plus_rate_times_time_over_many_connections() {
    let (mut bench, key) = with_key();
    let mut started = Instant::now();
    bench.change(|s| {
        set(s, vec![limit("all", (100, 1_000, 30))]);
        started = Instant::now();
    });
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (mut client, request) = (bench.client(), post(CHAT, BODY, &[key.clone()]));
            std::thread::spawn(move || {
                let until = Instant::now() + Duration::from_millis(1_500);
                let mut admitted = 0_u32;
                while Instant::now() < until {
                    admitted += u32::from(client.send(&request).unwrap().status == 200);
                }
                admitted
            })
        })
        .collect();
    let admitted: u32 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    let bound = 30.0 + 100.0 * started.elapsed().as_secs_f64();
    assert!(f64::from(admitted) <= bound, "{admitted} admitted, the bound is {bound}");
    assert!(admitted >= 130, "only {admitted} admitted: tokens come back continuously, not by the window");
}

#[test]
fn retry_after_is_when_the_next_token_comes() {
    let (mut bench, key) = with_key();
    bench.change(|s| set(s, vec![limit("all", (2, 60_000, 1))]));
    assert_eq!(admitted(&bench, 1, &[key.clone()]), 1);
    let wait: u64 = bench.ask(&[key]).header("retry-after").parse().unwrap();
    assert!((29..=30).contains(&wait), "{wait}");
}

#[test]
fn a_lowered_limit_bites_within_a_second_and_a_raised_one_lets_go() {
    let (mut bench, key) = with_key();
    bench.change(|s| set(s, vec![limit("all", (1_000, 1_000, 1_000))]));
    assert_eq!(admitted(&bench, 20, &[key.clone()]), 20);
    for (numbers, asked, passed) in [((1, 60_000, 2), 10, 2), ((1_000, 1_000, 1_000), 20, 20)] {
        let began = Instant::now();
        bench.change(|s| set(s, vec![limit("all", numbers)]));
        assert_eq!(admitted(&bench, asked, &[key.clone()]), passed);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    assert_eq!(bench.envoy.stat("listener_manager.listener_modified").unwrap(), 0);
}

#[test]
fn a_route_change_refills_nothing() {
    let (mut bench, key) = with_key();
    bench.change(|s| set(s, vec![limit("all", (1, 60_000, 3))]));
    assert_eq!(admitted(&bench, 5, &[key.clone()]), 3);
    bench.change(|s| s.targets[0].split.salt = "another".to_owned());
    assert_eq!(admitted(&bench, 3, &[key]), 0);
}

#[test]
fn tenants_and_header_values_have_balances_of_their_own() {
    let (acme, globex) = (Key::new("k1", "acme"), Key::new("k2", "globex"));
    let mut bench = Bench::start(|s| {
        acme.add_to(s);
        globex.add_to(s);
        set(s, vec![Limit { counters: vec![Counter::Tenant], ..limit("tenant", (1, 60_000, 4)) }]);
    });
    assert_eq!(admitted(&bench, 6, &[acme.header()]), 4);
    assert_eq!(admitted(&bench, 6, &[globex.header()]), 4);
    bench.change(|s| {
        set(s, vec![Limit { counters: vec![Counter::Header("x-user-id".to_owned())], ..limit("user", (1, 60_000, 3)) }])
    });
    let user = |values: &[&str]| {
        let users = values.iter().map(|v| header("X-User-Id", v));
        users.chain([acme.header()]).collect::<Vec<_>>()
    };
    assert_eq!(admitted(&bench, 5, &user(&["a"])), 3);
    assert_eq!(admitted(&bench, 5, &user(&["b"])), 3);
    assert_eq!(admitted(&bench, 5, &user(&[""])), 3, "the empty value is a value");
    assert_eq!(admitted(&bench, 5, &user(&["a", "c"])), 3, "two values are joined into one of their own");
    assert_eq!(admitted(&bench, 5, &user(&["a,c"])), 0, "which is this one");
    assert_eq!(admitted(&bench, 5, &[acme.header()]), 5, "without the header the limit does not apply");
}

#[test]
fn a_limit_counts_only_what_it_is_about_and_a_shadow_refuses_nothing() {
    let (mut bench, key) = with_key();
    let about = vec![
        Condition::Tenant("acme".to_owned()),
        Condition::Header { name: "x-kind".to_owned(), test: ValueTest::Prefix("batch".to_owned()) },
    ];
    bench.change(|s| set(s, vec![Limit { conditions: about, ..limit("batch", (1, 60_000, 2)) }]));
    assert_eq!(admitted(&bench, 5, &[key.clone()]), 5);
    assert_eq!(admitted(&bench, 5, &[key.clone(), header("x-kind", "batch-7")]), 2);
    bench.change(|s| {
        set(s, vec![Limit { shadow: true, ..limit("seen", (1, 60_000, 2)) }, limit("real", (1, 60_000, 5))]);
    });
    assert_eq!(admitted(&bench, 8, &[key]), 5);
    assert_eq!(bench.envoy.stat("limits.http_local_rate_limit.shadow_mode").unwrap(), 3);
}

#[test]
fn more_requests_in_flight_than_allowed_are_429_and_not_503() {
    let (mut bench, key) = with_key();
    let slow = origin(|_, socket| {
        std::thread::sleep(Duration::from_millis(700));
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_ok()
    });
    bench.change(|s| {
        s.arms.values_mut().for_each(|arm| {
            arm.endpoints = vec![slow];
            arm.max_concurrency = Some(2);
        });
    });
    let request = post(CHAT, BODY, &[key, header("x-user-id", "one")]);
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let (mut client, request) = (bench.client(), request.clone());
            std::thread::spawn(move || client.send(&request).unwrap())
        })
        .collect();
    let answers: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 2);
    for refused in answers.iter().filter(|a| a.status != 200) {
        assert_eq!((refused.status, error_code(refused).as_str()), (429, "concurrency_limit_exceeded"));
        assert_eq!(refused.header("retry-after"), "1");
    }
}
