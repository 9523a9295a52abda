//! Scripted lanes, and properties over random ones.
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Cancelled, Config, Scheduler, Ticket};

fn lane(max_requests: usize, max_batch: usize) -> Scheduler<u32> {
    Scheduler::new(Config { max_requests, max_batch })
}

#[test]
fn requests_join_a_running_batch_in_the_order_they_came() {
    let mut lane = lane(8, 2);
    let tickets: Vec<Ticket> = (0..3).map(|n| lane.push(n, None, 0).unwrap()).collect();
    let first = lane.next(10);
    assert_eq!(first.admitted.iter().map(|a| a.request).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(first.admitted[0].waited_ms, 10);
    assert!(lane.next(11).admitted.is_empty(), "the batch is full");
    assert!(lane.finish(tickets[0]));
    assert_eq!(lane.next(12).admitted[0].request, 2);
    assert!(!lane.finish(tickets[0]), "a place is freed once");
}

#[test]
fn a_full_lane_refuses_and_says_how_full_it_is() {
    let mut lane = lane(2, 1);
    lane.push(0, None, 0).unwrap();
    lane.push(1, None, 0).unwrap();
    lane.next(0);
    let full = lane.push(2, None, 0).unwrap_err();
    assert_eq!((full.waiting, full.running, full.max_requests), (1, 1, 2));
    assert_eq!(lane.load(0).refused, 1);
}

#[test]
fn a_deadline_ends_waiting_and_running() {
    let mut lane = lane(8, 1);
    let runs = lane.push(0, Some(100), 0).unwrap();
    lane.push(1, Some(50), 0).unwrap();
    lane.push(2, None, 0).unwrap();
    assert_eq!(lane.next_deadline_ms(), Some(50));
    lane.next(0);
    let turn = lane.next(50);
    assert_eq!((turn.expired[0].request, turn.expired[0].waited_ms), (1, 50));
    assert!(turn.overdue.is_empty());
    assert_eq!(lane.next(100).overdue, [runs]);
    assert_eq!(lane.next(101).overdue, [runs], "named until it is finished");
    lane.finish(runs);
    assert_eq!(lane.next(102).admitted[0].request, 2);
}

#[test]
fn cancelling_says_where_the_request_was() {
    let mut lane = lane(8, 1);
    let (a, b) = (lane.push(0, None, 0).unwrap(), lane.push(1, None, 0).unwrap());
    lane.next(0);
    assert_eq!(lane.cancel(b), Cancelled::Waiting(1));
    assert_eq!(lane.cancel(a), Cancelled::Running);
    lane.finish(a);
    assert_eq!(lane.cancel(a), Cancelled::Unknown);
    assert!(lane.is_idle());
}

#[test]
fn smaller_bounds_keep_what_is_there() {
    let mut lane = lane(8, 4);
    for n in 0..4 {
        lane.push(n, None, 0).unwrap();
    }
    let running = lane.next(0).admitted;
    lane.configure(Config { max_requests: 2, max_batch: 0 });
    assert!(lane.push(9, None, 0).is_err());
    for admit in running.iter().take(3) {
        assert!(lane.finish(admit.ticket));
    }
    lane.push(9, None, 0).unwrap();
    assert!(lane.next(0).admitted.is_empty(), "one runs, one may");
    assert_eq!(lane.drain_waiting().len(), 1);
}

#[derive(Clone, Debug)]
enum Op {
    Push(Option<u64>),
    Cancel(usize),
    Next,
    Finish(usize),
    Wait(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => prop::option::of(1u64..40).prop_map(Op::Push),
        1 => (0usize..64).prop_map(Op::Cancel),
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
    gone: BTreeSet<Ticket>,
}

impl Model {
    fn turn(&mut self, lane: &mut Scheduler<u32>, now: u64, max_batch: usize) -> Result<(), TestCaseError> {
        let turn = lane.next(now);
        for late in &turn.expired {
            prop_assert!(self.waiting.remove(&late.ticket).flatten().is_some_and(|d| d <= now), "expired too early");
            self.gone.insert(late.ticket);
        }
        for admit in &turn.admitted {
            prop_assert!(!self.gone.contains(&admit.ticket), "a cancelled request ran");
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
                    match lane.push(7, deadline, now) {
                        Ok(ticket) => {
                            prop_assert!(room, "the bound was passed");
                            model.order.push(ticket);
                            model.waiting.insert(ticket, deadline);
                        }
                        Err(_) => prop_assert!(!room, "refused with room left"),
                    }
                }
                Op::Cancel(n) if !model.order.is_empty() => {
                    let ticket = model.order[n % model.order.len()];
                    let expected = if model.waiting.remove(&ticket).is_some() {
                        model.gone.insert(ticket);
                        Cancelled::Waiting(7)
                    } else if model.running.contains(&ticket) {
                        Cancelled::Running
                    } else {
                        Cancelled::Unknown
                    };
                    prop_assert_eq!(lane.cancel(ticket), expected);
                }
                Op::Finish(n) if !model.order.is_empty() => {
                    let ticket = model.order[n % model.order.len()];
                    prop_assert_eq!(lane.finish(ticket), model.running.remove(&ticket));
                }
                Op::Cancel(_) | Op::Finish(_) => {}
                Op::Next => model.turn(&mut lane, now, max_batch)?,
                Op::Wait(ms) => now += ms,
            }
            let load = lane.load(now);
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
