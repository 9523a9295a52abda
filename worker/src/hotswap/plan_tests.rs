//! Scripts and a seeded simulation of the plan.
use std::collections::{BTreeMap, BTreeSet};

use super::{
    plan::{Action, Delays, Input, Instance, MAX_DRAINING, Plan, VersionKey},
    report::Phase,
};

const DELAYS: Delays = Delays { linger_ms: 2_000, first_retry_ms: 500, max_retry_ms: 8_000 };

fn key(name: &str) -> VersionKey {
    VersionKey { model_id: "chat".into(), name: name.into(), digest: format!("d-{name}"), usage: String::new() }
}

fn desired(names: &[&str]) -> Input {
    Input::Desired(names.iter().map(|name| key(name)).collect())
}

fn show(plan: &Plan, actions: &[Action]) -> String {
    let one = |i: &Instance| plan.key(*i).map_or(format!("#{}", i.0), |k| format!("{}#{}", k.name, i.0));
    let lines: Vec<String> = actions
        .iter()
        .map(|action| match action {
            Action::Load(i, key) => format!("load {}#{}", key.name, i.0),
            Action::Publish { serving, default } => format!(
                "publish [{}] default {}",
                serving.iter().map(one).collect::<Vec<_>>().join(" "),
                default.as_ref().map_or("-".into(), one)
            ),
            Action::Drain(i) => format!("drain {}", one(i)),
            Action::Discard(i) => format!("discard #{}", i.0),
        })
        .collect();
    lines.join("; ")
}

/// One conversation: at each time an input, and exactly what follows.
fn check(script: &[(u64, Input, &str)]) -> Plan {
    let mut plan = Plan::new(DELAYS);
    for (line, (now, input, expect)) in script.iter().enumerate() {
        let actions = plan.apply(input.clone(), *now);
        assert_eq!(show(&plan, &actions), *expect, "line {line}");
    }
    plan
}

#[test]
fn a_new_version_is_loaded_beside_the_old_and_the_old_lingers_then_drains() {
    let plan = check(&[
        (0, desired(&["v1"]), "load v1#1"),
        (10, Input::Loaded(Instance(1)), "publish [v1#1] default v1#1"),
        (20, desired(&["v2", "v1"]), "load v2#2"),
        (30, Input::Loaded(Instance(2)), "publish [v1#1 v2#2] default v2#2"),
        (40, desired(&["v2"]), ""),
        (2_039, Input::Tick, ""),
        (2_040, Input::Tick, "publish [v2#2] default v2#2; drain v1#1"),
        (2_050, Input::Ended(Instance(1), None), ""),
    ]);
    assert_eq!(plan.report().len(), 1);
}

#[test]
fn a_direct_replacement_keeps_the_old_until_the_new_serves() {
    check(&[
        (0, desired(&["v1"]), "load v1#1"),
        (1, Input::Loaded(Instance(1)), "publish [v1#1] default v1#1"),
        (2, desired(&["v2"]), "load v2#2"),
        (9_000, Input::Tick, ""),
        (9_001, Input::Loaded(Instance(2)), "publish [v1#1 v2#2] default v2#2"),
        (11_001, Input::Tick, "publish [v2#2] default v2#2; drain v1#1"),
    ]);
}

#[test]
fn a_load_that_fails_leaves_the_old_serving_and_is_tried_again_later() {
    let plan = check(&[
        (0, desired(&["v1"]), "load v1#1"),
        (1, Input::Loaded(Instance(1)), "publish [v1#1] default v1#1"),
        (2, desired(&["v2", "v1"]), "load v2#2"),
        (100, Input::LoadFailed(Instance(2), "TG-2017: digest".into()), ""),
        (599, Input::Tick, ""),
        (600, Input::Tick, "load v2#3"),
        (700, Input::LoadFailed(Instance(3), "TG-2017: digest".into()), ""),
        (1_699, Input::Tick, ""),
        (1_700, Input::Tick, "load v2#4"),
    ]);
    let report = plan.report();
    let phases: Vec<_> = report.iter().map(|s| (s.name.as_str(), s.phase, s.error.as_str())).collect();
    assert_eq!(phases, [("v1", Phase::Serving, ""), ("v2", Phase::Failed, "TG-2017: digest")]);
}

#[test]
fn a_version_wanted_again_while_it_lingers_is_taken_back_without_a_load() {
    check(&[
        (0, desired(&["v1"]), "load v1#1"),
        (1, Input::Loaded(Instance(1)), "publish [v1#1] default v1#1"),
        (2, desired(&["v2", "v1"]), "load v2#2"),
        (3, Input::Loaded(Instance(2)), "publish [v1#1 v2#2] default v2#2"),
        (4, desired(&["v2"]), ""),
        (5, desired(&["v1", "v2"]), "publish [v1#1 v2#2] default v1#1"),
        (9_000, Input::Tick, ""),
    ]);
}

#[test]
fn a_load_that_nobody_wants_any_more_is_discarded() {
    check(&[
        (0, desired(&["v1"]), "load v1#1"),
        (1, desired(&["v2"]), ""),
        (2, Input::Loaded(Instance(1)), "discard #1; load v2#2"),
        (3, desired(&["v3"]), ""),
        (4, Input::LoadFailed(Instance(2), "x".into()), "load v3#3"),
    ]);
}

#[test]
fn the_same_name_with_other_files_replaces_the_old_at_once() {
    let other = VersionKey { digest: "other".into(), ..key("v1") };
    let mut plan = check(&[
        (0, desired(&["v1"]), "load v1#1"),
        (1, Input::Loaded(Instance(1)), "publish [v1#1] default v1#1"),
        (2, Input::Desired(vec![other]), "load v1#2"),
    ]);
    let line = |plan: &Plan| plan.report().into_iter().map(|v| (v.phase, v.outdated, v.error)).collect::<Vec<_>>();
    assert_eq!(line(&plan), [(Phase::Serving, true, String::new())], "answered from the files before");
    let actions = plan.apply(Input::Loaded(Instance(2)), 3);
    assert_eq!(show(&plan, &actions), "publish [v1#2] default v1#2; drain v1#1");
    assert_eq!(line(&plan), [(Phase::Serving, false, String::new())]);
}

#[test]
fn a_copy_that_drains_does_not_make_its_successor_outdated() {
    let other = VersionKey { digest: "other".into(), ..key("v1") };
    let plan = check(&[
        (0, desired(&["v1"]), "load v1#1"),
        (1, Input::Loaded(Instance(1)), "publish [v1#1] default v1#1"),
        (2, Input::Desired(vec![other]), "load v1#2"),
        (3, Input::Loaded(Instance(2)), "publish [v1#2] default v1#2; drain v1#1"),
        (4, desired(&["v1"]), "load v1#3"),
        (5, Input::Loaded(Instance(3)), "publish [v1#3] default v1#3; drain v1#2"),
    ]);
    assert_eq!(plan.report().iter().map(|v| (v.phase, v.outdated)).collect::<Vec<_>>(), [(Phase::Serving, false)]);
}

#[test]
fn a_name_with_other_files_is_kept_until_the_new_ones_serve_whatever_else_does() {
    let other = VersionKey { digest: "other".into(), ..key("v1") };
    let wish = Input::Desired(vec![other, key("v2")]);
    let plan = check(&[
        (0, desired(&["v1", "v2"]), "load v1#1"),
        (1, Input::Loaded(Instance(1)), "publish [v1#1] default v1#1; load v2#2"),
        (2, Input::Loaded(Instance(2)), "publish [v1#1 v2#2] default v1#1"),
        (3, wish, "load v1#3"),
        (4, Input::LoadFailed(Instance(3), "TG-2017: digest".into()), ""),
        (503, Input::Tick, ""),
        (504, Input::Tick, "load v1#4"),
        (9_000, Input::Tick, ""),
    ]);
    let report = plan.report();
    let v1 = report.iter().find(|status| status.name == "v1").unwrap();
    assert_eq!((v1.phase, v1.digest.as_str()), (Phase::Serving, "d-v1"));
    assert!(v1.error.starts_with("TG-2017: digest") && v1.error.contains("digest other"), "{}", v1.error);
    let mut plan = plan;
    let actions = plan.apply(Input::Loaded(Instance(4)), 9_001);
    assert_eq!(show(&plan, &actions), "publish [v2#2 v1#4] default v1#4; drain v1#1");
    assert_eq!(plan.report()[0].error, "");
}

#[test]
fn a_name_that_is_wanted_again_with_other_files_is_taken_back_while_it_lingers() {
    let other = VersionKey { digest: "other".into(), ..key("v1") };
    check(&[
        (0, desired(&["v1", "v2"]), "load v1#1"),
        (1, Input::Loaded(Instance(1)), "publish [v1#1] default v1#1; load v2#2"),
        (2, Input::Loaded(Instance(2)), "publish [v1#1 v2#2] default v1#1"),
        (3, desired(&["v2"]), "publish [v1#1 v2#2] default v2#2"),
        (4, Input::Desired(vec![key("v2"), other]), "load v1#3"),
        (9_000, Input::Tick, ""),
        (9_001, Input::Loaded(Instance(3)), "publish [v2#2 v1#3] default v2#2; drain v1#1"),
    ]);
}

#[test]
fn a_cancelled_load_that_is_wanted_again_begins_at_once_and_is_no_failure() {
    let plan = check(&[
        (0, desired(&["v1"]), "load v1#1"),
        (1, desired(&[]), ""),
        (2, desired(&["v1"]), ""),
        (3, Input::LoadCancelled(Instance(1)), "load v1#2"),
    ]);
    assert_eq!((plan.report()[0].phase, plan.report()[0].error.as_str()), (Phase::Loading, ""));
    check(&[
        (0, desired(&["v1"]), "load v1#1"),
        (1, desired(&[]), ""),
        (2, Input::LoadCancelled(Instance(1)), ""),
        (3, Input::Tick, ""),
    ]);
}

#[test]
fn what_waits_behind_a_load_asks_for_no_wake_up() {
    let mut plan = check(&[(0, desired(&["v1", "v2"]), "load v1#1")]);
    assert_eq!(plan.next_wake(), None);
    plan.apply(Input::LoadFailed(Instance(1), "TG-2017: digest".into()), 10);
    assert_eq!(plan.next_wake(), None, "v2 is loading");
    plan.apply(Input::Loaded(Instance(2)), 20);
    assert_eq!(plan.next_wake(), Some(510));
}

#[test]
fn nothing_is_loaded_on_the_way_out() {
    let mut plan = check(&[
        (0, desired(&["v1", "v2"]), "load v1#1"),
        (1, Input::Loaded(Instance(1)), "publish [v1#1] default v1#1; load v2#2"),
    ]);
    plan.stop();
    for input in [Input::Ended(Instance(1), None), Input::LoadCancelled(Instance(2)), Input::Tick] {
        let actions = plan.apply(input, 60_000);
        assert!(!actions.iter().any(|action| matches!(action, Action::Load(..))), "{actions:?}");
    }
    assert_eq!(plan.next_wake(), None);
}

#[test]
fn a_lane_that_dies_is_taken_out_and_loaded_again() {
    let plan = check(&[
        (0, desired(&["v1"]), "load v1#1"),
        (1, Input::Loaded(Instance(1)), "publish [v1#1] default v1#1"),
        (2, Input::Ended(Instance(1), Some("TG-2113: lane".into())), "publish [] default -"),
        (502, Input::Tick, "load v1#2"),
    ]);
    assert_eq!(plan.report()[0].phase, Phase::Failed);
}

#[test]
fn an_empty_wish_retires_everything() {
    check(&[
        (0, desired(&["v1"]), "load v1#1"),
        (1, Input::Loaded(Instance(1)), "publish [v1#1] default v1#1"),
        (2, desired(&[]), ""),
        (2_002, Input::Tick, "publish [] default -; drain v1#1"),
    ]);
}

#[test]
fn a_version_on_its_way_out_is_kept_when_nothing_wanted_answers() {
    check(&[
        (0, desired(&["v1"]), "load v1#1"),
        (1, Input::Loaded(Instance(1)), "publish [v1#1] default v1#1"),
        (2, desired(&["v2"]), "load v2#2"),
        (3, Input::Loaded(Instance(2)), "publish [v1#1 v2#2] default v2#2"),
        (4, Input::Ended(Instance(2), Some("TG-2113: lane".into())), "publish [v1#1] default v1#1"),
        (503, Input::Tick, ""),
        (504, Input::Tick, "load v2#3"),
        (9_000, Input::Loaded(Instance(3)), "publish [v1#1 v2#3] default v2#3"),
        (11_000, Input::Tick, "publish [v2#3] default v2#3; drain v1#1"),
    ]);
}

/// What the outside world would see: performs the actions and watches the promises.
#[derive(Default)]
struct World {
    loading: Option<Instance>,
    published: BTreeSet<Instance>,
    draining: BTreeSet<Instance>,
    alive: BTreeMap<Instance, VersionKey>,
    died: bool,
}

impl World {
    fn perform(&mut self, actions: &[Action], wanted: &[VersionKey], seed: u64) {
        for action in actions {
            match action {
                Action::Load(i, key) => {
                    assert!(self.loading.is_none(), "seed {seed}: two loads at a time");
                    assert!(self.draining.len() < MAX_DRAINING, "seed {seed}: too many drain");
                    self.loading = Some(*i);
                    self.alive.insert(*i, key.clone());
                }
                Action::Publish { serving, default } => {
                    let next: BTreeSet<Instance> = serving.iter().copied().collect();
                    assert!(
                        next.iter().all(|i| self.alive.contains_key(i) && !self.draining.contains(i)),
                        "seed {seed}"
                    );
                    let gap = next.is_empty() && !self.published.is_empty() && !wanted.is_empty();
                    assert!(!gap || self.died, "seed {seed}: a gap without a dead lane");
                    assert_eq!(default.is_some(), !next.is_empty(), "seed {seed}");
                    assert!(default.is_none_or(|d| next.contains(&d)), "seed {seed}");
                    let names: BTreeSet<&str> = next.iter().map(|i| self.alive[i].name.as_str()).collect();
                    assert_eq!(names.len(), next.len(), "seed {seed}: a name twice");
                    // A lane that died has left `published` already.
                    for before in self.published.iter().map(|i| self.alive[i].name.as_str()) {
                        let kept = names.contains(before) || !wanted.iter().any(|key| key.name == before);
                        assert!(kept, "seed {seed}: {before} is wanted and was taken away");
                    }
                    let first = wanted.iter().find(|key| names.contains(key.name.as_str()));
                    let named = default.map(|i| &self.alive[&i].name);
                    assert!(first.is_none_or(|key| named == Some(&key.name)), "seed {seed}: another default");
                    self.published = next;
                }
                Action::Drain(i) => {
                    assert!(!self.published.contains(i), "seed {seed}: drained while published");
                    assert!(self.draining.insert(*i), "seed {seed}: drained twice");
                }
                Action::Discard(i) => {
                    assert!(self.alive.remove(i).is_some() && !self.published.contains(i), "seed {seed}");
                }
            }
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn random_input(random: &mut Random, world: &mut World, wanted: &mut Vec<VersionKey>) -> Input {
    world.died = false;
    match random.below(10) {
        0 | 1 => {
            wanted.clear();
            for _ in 0..random.below(4) {
                let mut k = key(["v1", "v2", "v3", "v4"][random.below(4) as usize]);
                if random.below(5) == 0 {
                    k.digest.push('x');
                }
                if !wanted.iter().any(|w| w.name == k.name) {
                    wanted.push(k);
                }
            }
            Input::Desired(wanted.clone())
        }
        2..=4 => match world.loading.take() {
            Some(i) if random.below(4) == 0 => {
                world.alive.remove(&i);
                match random.below(2) {
                    0 => Input::LoadFailed(i, "TG-2023: no".into()),
                    _ => Input::LoadCancelled(i),
                }
            }
            Some(i) => Input::Loaded(i),
            None => Input::Tick,
        },
        5 | 6 => match world.draining.pop_first() {
            Some(i) => {
                world.alive.remove(&i);
                Input::Ended(i, None)
            }
            None => Input::Tick,
        },
        7 if random.below(6) == 0 => match world.published.pop_first() {
            Some(i) => {
                world.alive.remove(&i);
                world.died = true;
                Input::Ended(i, Some("TG-2113: died".into()))
            }
            None => Input::Tick,
        },
        _ => Input::Tick,
    }
}

#[test]
fn whatever_happens_there_is_no_gap_and_what_is_wanted_serves_in_the_end() {
    for seed in 0..2_000_u64 {
        let mut random = Random(seed);
        let (mut plan, mut world, mut wanted, mut now) = (Plan::new(DELAYS), World::default(), Vec::new(), 0);
        for _ in 0..200 {
            now += random.below(1_500);
            let input = random_input(&mut random, &mut world, &mut wanted);
            let actions = plan.apply(input, now);
            world.perform(&actions, &wanted, seed);
        }
        world.died = false;
        for _ in 0..60 {
            now += 10_000;
            let input = match (world.loading.take(), world.draining.pop_first()) {
                (Some(i), drained) => {
                    world.draining.extend(drained);
                    Input::Loaded(i)
                }
                (None, Some(i)) => {
                    world.alive.remove(&i);
                    Input::Ended(i, None)
                }
                (None, None) => Input::Tick,
            };
            let actions = plan.apply(input, now);
            world.perform(&actions, &wanted, seed);
        }
        let serving: BTreeSet<&VersionKey> = world.published.iter().map(|i| &world.alive[i]).collect();
        assert_eq!(serving, wanted.iter().collect(), "seed {seed}");
        assert_eq!(plan.report().len(), wanted.len(), "seed {seed}: something was left behind");
        assert_eq!(world.alive.len(), wanted.len(), "seed {seed}: something leaked");
    }
}
