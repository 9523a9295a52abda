//! Scripted lanes, and properties over random ones.
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Config, Scheduler, Ticket};

fn lane(max_requests: usize, max_batch: usize) -> Scheduler<u32> {
    Scheduler::new(Config { max_requests, max_batch })
}

#[test]
fn requests_join_a_running_batch_in_the_order_they_came() {
    let mut lane = lane(8, 2);
    let tickets: Vec<Ticket> = (0..3).map(|n| lane.push(n, None).unwrap()).collect();
    let first = lane.next(10);
    assert_eq!(first.admitted.iter().map(|a| a.request).collect::<Vec<_>>(), [0, 1]);
    assert!(lane.next(11).admitted.is_empty(), "the batch is full");
    assert!(lane.finish(tickets[0]));
    assert_eq!(lane.next(12).admitted[0].request, 2);
    assert!(!lane.finish(tickets[0]), "a place is freed once");
}

#[test]
fn a_full_lane_refuses_and_says_how_full_it_is() {
    let mut lane = lane(2, 1);
    lane.push(0, None).unwrap();
    lane.push(1, None).unwrap();
    lane.next(0);
    let full = lane.push(2, None).unwrap_err();
    assert_eq!((full.waiting, full.running, full.max_requests), (1, 1, 2));
}

#[test]
fn a_deadline_ends_waiting_but_not_running() {
    let mut lane = lane(8, 1);
    let runs = lane.push(0, Some(100)).unwrap();
    lane.push(1, Some(50)).unwrap();
    lane.push(2, None).unwrap();
    assert_eq!(lane.next(49).admitted[0].ticket, runs);
    assert_eq!(lane.next(50).expired, [1]);
    assert_eq!(lane.load().running, 1);
    assert!(lane.next(100).expired.is_empty());
    lane.finish(runs);
    assert_eq!(lane.next(102).admitted[0].request, 2);
}

#[test]
fn what_is_dead_takes_no_place_in_a_batch() {
    let mut lane = lane(16, 3);
    for n in 0..10 {
        lane.push(n, None).unwrap();
    }
    assert_eq!(lane.discard(|n| *n < 6), [0, 1, 2, 3, 4, 5]);
    assert!(lane.discard(|n| *n < 6).is_empty());
    let joined: Vec<u32> = lane.next(0).admitted.iter().map(|a| a.request).collect();
    assert_eq!(joined, [6, 7, 8]);
    assert!(lane.discard(|n| *n == 6).is_empty(), "what runs is not discarded");
    assert_eq!((lane.load().waiting, lane.load().running), (1, 3));
}

#[test]
fn smaller_bounds_keep_what_is_there() {
    let mut lane = lane(8, 4);
    for n in 0..4 {
        lane.push(n, None).unwrap();
    }
    let running = lane.next(0).admitted;
    lane.configure(Config { max_requests: 2, max_batch: 0 });
    assert!(lane.push(9, None).is_err());
    for admit in running.iter().take(3) {
        assert!(lane.finish(admit.ticket));
    }
    lane.push(9, None).unwrap();
    assert!(lane.next(0).admitted.is_empty(), "one runs, one may");
    assert_eq!(lane.drain_waiting().len(), 1);
}

#[derive(Clone, Debug)]
enum Op {
    Push(Option<u64>),
    Discard(u32),
    Next,
    Finish(usize),
    Wait(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => prop::option::of(1u64..40).prop_map(Op::Push),
        1 => (1u32..8).prop_map(Op::Discard),
        3 => Just(Op::Next),
        3 => (0usize..64).prop_map(Op::Finish),
        2 => (0u64..10).prop_map(Op::Wait),
    ];
    prop::collection::vec(op, 1..200)
}

/// What a lane must look like, written without cleverness.
#[derive(Default)]
struct Model {
    order: Vec<Ticket>,
    waiting: BTreeMap<Ticket, Option<u64>>,
    running: BTreeSet<Ticket>,
}

impl Model {
    fn turn(&mut self, lane: &mut Scheduler<u32>, now: u64, max_batch: usize) -> Result<(), TestCaseError> {
        let turn = lane.next(now);
        for late in &turn.expired {
            let late = Ticket(u64::from(*late));
            prop_assert!(self.waiting.remove(&late).flatten().is_some_and(|d| d <= now), "expired too early");
        }
        for admit in &turn.admitted {
            prop_assert_eq!(admit.ticket, Ticket(u64::from(admit.request)));
            let first = self.waiting.first_key_value().map(|(t, _)| *t);
            prop_assert_eq!(Some(admit.ticket), first, "somebody jumped the queue");
            let deadline = self.waiting.remove(&admit.ticket).flatten();
            prop_assert!(deadline.is_none_or(|d| d > now), "a dead request was started");
            self.running.insert(admit.ticket);
        }
        prop_assert!(self.running.len() <= max_batch);
        prop_assert!(self.waiting.is_empty() || self.running.len() == max_batch, "a place stayed empty");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn order_and_bounds_hold_and_nothing_starves(ops in ops(), max_requests in 1usize..12, max_batch in 1usize..6) {
        let mut lane = lane(max_requests, max_batch);
        let mut model = Model::default();
        let mut now = 0;
        for op in ops {
            match op {
                Op::Push(after) => {
                    let deadline = after.map(|ms| now + ms);
                    let room = model.waiting.len() + model.running.len() < max_requests;
                    let number = u32::try_from(model.order.len()).unwrap();
                    match lane.push(number, deadline) {
                        Ok(ticket) => {
                            prop_assert!(room, "the bound was passed");
                            model.order.push(ticket);
                            model.waiting.insert(ticket, deadline);
                        }
                        Err(_) => prop_assert!(!room, "refused with room left"),
                    }
                }
                Op::Discard(every) => {
                    let dead = |n: u32| n.is_multiple_of(every);
                    let expected: Vec<u32> =
                        model.waiting.keys().filter_map(|t| u32::try_from(t.0).ok()).filter(|n| dead(*n)).collect();
                    model.waiting.retain(|t, _| !u32::try_from(t.0).is_ok_and(dead));
                    prop_assert_eq!(lane.discard(|n| dead(*n)), expected);
                }
                Op::Finish(n) if !model.order.is_empty() => {
                    let ticket = model.order[n % model.order.len()];
                    prop_assert_eq!(lane.finish(ticket), model.running.remove(&ticket));
                }
                Op::Finish(_) => {}
                Op::Next => model.turn(&mut lane, now, max_batch)?,
                Op::Wait(ms) => now += ms,
            }
            let load = lane.load();
            prop_assert_eq!((load.waiting, load.running), (model.waiting.len(), model.running.len()));
        }
        // Whoever still waits gets its turn as long as places are freed.
        for _ in 0..=max_requests {
            model.turn(&mut lane, now, max_batch)?;
            for ticket in std::mem::take(&mut model.running) {
                prop_assert!(lane.finish(ticket));
            }
        }
        prop_assert!(lane.is_idle() && model.waiting.is_empty());
    }
}
