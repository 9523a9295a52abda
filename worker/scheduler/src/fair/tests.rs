//! Turns, and the question whether a request can end in time, on simulated engines with seeded noise.
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Fair, Late, Request};
use crate::Ticket;

fn request(tenant: &'static str, (rows, tokens): (usize, u32), now: u64, allowed_ms: u64) -> Request<&'static str> {
    Request { tenant, rows: vec![tokens; rows], allowed_ms, deadline_ms: now + allowed_ms }
}

/// `SplitMix64`: the same noise in every run.
struct Noise(u64);

impl Noise {
    #[allow(clippy::cast_precision_loss)]
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// An engine whose calls take a fixed part and a part for each padded token, and a lane that does what the worker's lane does.
struct Lane {
    fair: Fair<&'static str>,
    limit: usize,
    fixed_ms: f64,
    token_ms: f64,
    now: f64,
    noise: Noise,
    rows: BTreeMap<Ticket, (usize, u32)>,
    ended: BTreeMap<Ticket, (f64, Option<Late>)>,
    calls: usize,
}

impl Lane {
    fn new(limit: usize, fixed_ms: f64, token_ms: f64, seed: u64) -> Self {
        let (rows, ended) = (BTreeMap::new(), BTreeMap::new());
        Self { fair: Fair::new(limit), limit, fixed_ms, token_ms, now: 0.0, noise: Noise(seed), rows, ended, calls: 0 }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn at(&self) -> u64 {
        self.now as u64
    }

    fn push(&mut self, tenant: &'static str, (rows, tokens): (usize, u32), allowed: u64) -> Result<Ticket, Late> {
        let ticket = self.fair.push(request(tenant, (rows, tokens), self.at(), allowed), self.at())?;
        self.rows.insert(ticket, (rows, tokens));
        Ok(ticket)
    }

    /// What `rows` take alone without noise.
    #[allow(clippy::cast_precision_loss)]
    fn true_ms(&self, rows: usize, tokens: u32) -> f64 {
        let calls = rows.div_ceil(self.limit) as f64;
        calls * self.fixed_ms + rows as f64 * f64::from(tokens) * self.token_ms
    }

    #[allow(clippy::cast_precision_loss)]
    fn call(&mut self) -> bool {
        let shares = self.fair.next(|_| true);
        if shares.is_empty() {
            return false;
        }
        let rows: usize = shares.iter().map(|share| share.rows).sum();
        assert!(rows <= self.limit);
        let columns = shares.iter().map(|share| self.rows[&share.ticket].1).max().unwrap();
        let noise = 0.9 + 0.2 * self.noise.next();
        let took = noise * (self.fixed_ms + self.token_ms * rows as f64 * f64::from(columns));
        self.now += took;
        self.calls += 1;
        self.fair.measured(rows * columns as usize, took, self.at());
        for share in shares {
            let left = self.rows.get_mut(&share.ticket).unwrap();
            left.0 -= share.rows;
            self.fair.done(share.ticket, share.rows);
            if left.0 == 0 {
                self.end(share.ticket, None);
            }
        }
        for (ticket, late) in self.fair.hopeless(self.at()) {
            self.end(ticket, Some(late));
        }
        true
    }

    fn end(&mut self, ticket: Ticket, late: Option<Late>) {
        self.fair.remove(ticket);
        self.ended.insert(ticket, (self.now, late));
    }

    fn run(&mut self) {
        while self.call() {}
    }

    /// Measures calls of this size.
    fn warm(&mut self, tokens: u32) {
        for _ in 0..2 {
            self.push("warm", (self.limit, tokens), 600_000).unwrap();
            self.run();
        }
    }
}

#[test]
fn a_small_request_is_in_the_next_call_however_large_the_others_are() {
    let mut lane = Lane::new(8, 5.0, 0.1, 1);
    lane.push("a", (2_048, 100), 600_000).unwrap();
    lane.call();
    let before = lane.calls;
    let small = lane.push("a", (1, 3), 600_000).unwrap();
    lane.call();
    assert!(lane.ended.contains_key(&small) && lane.calls == before + 1);
}

#[test]
fn tenants_take_turns_and_so_do_the_requests_of_one() {
    let mut fair: Fair<&str> = Fair::new(8);
    let many: Vec<Ticket> = (0..6).map(|_| fair.push(request("many", (100, 10), 0, 1_000), 0).unwrap()).collect();
    let one = fair.push(request("one", (100, 10), 0, 1_000), 0).unwrap();
    let mut rows: BTreeMap<Ticket, usize> = BTreeMap::new();
    for _ in 0..6 {
        for share in fair.next(|_| true) {
            *rows.entry(share.ticket).or_default() += share.rows;
            fair.done(share.ticket, share.rows);
        }
    }
    assert_eq!(rows[&one], 24, "half of the rows are the other tenant's");
    assert!(many.iter().all(|ticket| rows[ticket] == 4), "{rows:?}");
    fair.remove(one);
    assert!(fair.next(|ticket| ticket == many[3]).iter().all(|share| share.ticket == many[3]), "only who is here");
    assert_eq!(fair.len(), 6);
}

#[test]
fn what_can_never_end_in_time_is_refused_with_a_size_that_does() {
    let mut lane = Lane::new(8, 5.0, 0.15, 7);
    lane.warm(100);
    let late = lane.push("a", (2_048, 100), 10_000).unwrap_err();
    let Late::TooLarge { fits } = late else { panic!("{late:?}") };
    assert!(fits > 100 && lane.true_ms(fits, 100) < 10_000.0, "{fits}");
    let ticket = lane.push("a", (fits, 100), 10_000).unwrap();
    let begun = lane.now;
    lane.run();
    let (ended, late) = lane.ended[&ticket];
    assert!(late.is_none() && ended - begun < 10_000.0);
}

#[test]
fn what_could_end_alone_is_asked_to_come_back() {
    let mut lane = Lane::new(8, 5.0, 0.15, 7);
    lane.warm(100);
    lane.push("a", (500, 100), 60_000).unwrap();
    lane.push("b", (500, 100), 60_000).unwrap();
    let late = lane.push("c", (500, 100), 10_000).unwrap_err();
    let Late::Busy { retry_after_ms } = late else { panic!("{late:?}") };
    assert!((1_000..60_000).contains(&retry_after_ms), "{retry_after_ms}");
    lane.push("c", (1, 100), 10_000).expect("a small one has the time");
}

#[test]
fn without_a_measurement_nobody_is_refused_and_two_calls_are_enough_to_know() {
    let mut lane = Lane::new(8, 5.0, 0.15, 3);
    let ticket = lane.push("a", (2_048, 100), 10_000).expect("nothing is known");
    lane.run();
    assert!(matches!(lane.ended[&ticket].1, Some(Late::TooLarge { .. })));
    assert!(lane.calls <= 3, "{} calls", lane.calls);
}

#[test]
fn a_flood_of_tiny_requests_does_not_make_large_ones_look_slow() {
    let mut lane = Lane::new(8, 5.0, 0.02, 5);
    lane.warm(100);
    for _ in 0..500 {
        lane.push("tiny", (1, 2), 30_000).unwrap();
        lane.run();
    }
    lane.push("a", (1_000, 100), 10_000).expect("2.6 s of work");
    let before = lane.now;
    lane.run();
    assert!(lane.now - before < 10_000.0);
}

#[test]
fn a_refusal_does_not_keep_its_reason_alive() {
    let mut lane = Lane::new(8, 5.0, 0.15, 9);
    lane.warm(100);
    lane.push("a", (1_000, 100), 5_000).expect_err("too slow now");
    lane.token_ms = 0.01;
    lane.now += 61_000.0;
    let ticket = lane.push("a", (1_000, 100), 5_000).expect("what was measured is too old");
    lane.run();
    assert!(lane.ended[&ticket].1.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
    /// Whoever would clearly end in time is never refused or ended, whoever clearly would not is not run to its deadline.
    #[test]
    fn refusals_are_right_when_it_is_clear(
        seed in any::<u64>(), limit in 1usize..33, fixed in 0.5f64..20.0, token in 0.01f64..0.3, rows in 1usize..1_500,
        tokens in 1u32..256, allowed in 500u64..30_000,
    ) {
        let mut lane = Lane::new(limit, fixed, token, seed);
        lane.warm(tokens);
        let needed = lane.true_ms(rows, tokens);
        let begun = lane.now;
        #[allow(clippy::cast_precision_loss)]
        let share = needed / allowed as f64;
        match lane.push("a", (rows, tokens), allowed) {
            Ok(ticket) => {
                lane.run();
                let (ended, late) = lane.ended[&ticket];
                if late.is_some() {
                    prop_assert!(share > 0.9, "ended although {share} of its time was enough");
                    prop_assert!(ended - begun < needed * 0.5 || share < 1.5, "it was ended late");
                } else {
                    prop_assert!(share < 1.6, "{share} of its time was needed");
                }
            }
            Err(Late::TooLarge { fits }) => {
                prop_assert!(share > 0.9, "refused although {share} of its time was enough");
                #[allow(clippy::cast_precision_loss)]
                let fitting = lane.true_ms(fits, tokens) / allowed as f64;
                prop_assert!(fits == 0 || fitting < 1.0, "{fits} rows need {fitting} of the time");
            }
            Err(Late::Busy { .. }) => prop_assert!(false, "nobody else is here"),
        }
    }

    #[test]
    fn every_row_runs_once_and_nobody_starves(
        requests in prop::collection::vec((0usize..4, 1usize..40), 1..12), limit in 1usize..9,
    ) {
        let mut lane = Lane::new(limit, 1.0, 0.01, 1);
        let names = ["a", "b", "c", "d"];
        let mut total = 0;
        for (tenant, rows) in &requests {
            lane.push(names[*tenant], (*rows, 5), 600_000).unwrap();
            total += rows;
        }
        lane.run();
        prop_assert_eq!(lane.ended.len(), requests.len());
        prop_assert_eq!(lane.calls, total.div_ceil(limit), "calls are full as long as there are rows");
        prop_assert!(lane.fair.is_empty());
    }
}
