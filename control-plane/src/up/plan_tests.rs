//! Scripted lives of parts, and laws that hold for every script.
use proptest::prelude::*;

use super::*;

fn part(name: &str, class: Class) -> Part {
    Part { name: name.to_owned(), class, recipe: "r".to_owned(), grace: 1_000 }
}

fn running(s: &mut Supervisor, name: &str, class: Class, pid: i32) {
    assert_eq!(s.apply(Event::Want(part(name, class)), 0), [Action::Start(name.to_owned())]);
    assert_eq!(s.apply(Event::Started { name: name.to_owned(), pid }, 0), []);
}

fn exited(name: &str, pid: i32) -> Event {
    Event::Exited { name: name.to_owned(), pid, code: Some(1) }
}

#[test]
fn a_part_that_dies_comes_back_later_each_time_and_at_most_after_five_seconds() {
    let mut s = Supervisor::default();
    running(&mut s, "w", Class::Worker, 1);
    let (mut now, mut waits, mut loops) = (0, Vec::new(), 0);
    for pid in 1..9 {
        let actions = s.apply(exited("w", pid), now);
        loops += actions.iter().filter(|a| matches!(a, Action::CrashLoop { .. })).count();
        let due = s.next_wakeup().unwrap();
        waits.push(due - now);
        assert_eq!(s.apply(Event::Tick, due - 1), []);
        now = due;
        assert_eq!(s.apply(Event::Tick, now), [Action::Start("w".to_owned())]);
        s.apply(Event::Started { name: "w".to_owned(), pid: pid + 1 }, now);
    }
    assert_eq!(waits, [200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    assert_eq!(loops, 1, "a crash loop is told once");
    assert_eq!(s.parts().next().unwrap().restarts, 8);
}

#[test]
fn a_part_that_ran_well_starts_again_soon() {
    let mut s = Supervisor::default();
    running(&mut s, "w", Class::Worker, 1);
    s.apply(exited("w", 1), 0);
    s.apply(Event::Tick, 200);
    s.apply(Event::Started { name: "w".to_owned(), pid: 2 }, 200);
    s.apply(exited("w", 2), 200 + HEALTHY_AFTER);
    assert_eq!(s.next_wakeup(), Some(200 + HEALTHY_AFTER + BACKOFF_MIN));
}

#[test]
fn the_end_comes_class_by_class_and_the_database_is_last() {
    let mut s = Supervisor::default();
    for (name, class, pid) in [
        ("pg", Class::Database, 1),
        ("serve", Class::Serve, 2),
        ("gw", Class::Gateway, 3),
        ("w1", Class::Worker, 4),
        ("w2", Class::Worker, 5),
    ] {
        running(&mut s, name, class, pid);
    }
    let stop = |name: &str, pid| Action::Tell { name: name.to_owned(), pid, what: Told::Stop };
    assert_eq!(s.apply(Event::Shutdown, 0), [stop("w1", 4), stop("w2", 5)]);
    assert_eq!(s.apply(exited("w1", 4), 1), []);
    assert_eq!(s.apply(exited("w2", 5), 2), [stop("gw", 3)]);
    assert_eq!(s.apply(exited("gw", 3), 3), [stop("serve", 2)]);
    assert_eq!(s.apply(exited("serve", 2), 4), [stop("pg", 1)]);
    assert!(!s.finished());
    assert_eq!(s.apply(exited("pg", 1), 5), []);
    assert!(s.finished());
}

#[test]
fn a_part_that_is_down_at_the_end_is_not_started_again() {
    let mut s = Supervisor::default();
    running(&mut s, "pg", Class::Database, 1);
    running(&mut s, "serve", Class::Serve, 2);
    s.apply(exited("pg", 1), 0);
    s.apply(Event::Shutdown, 0);
    assert_eq!(s.apply(Event::Tick, 500), []);
    s.apply(exited("serve", 2), 600);
    assert!(s.finished());
}

#[test]
fn what_does_not_stop_in_time_is_killed() {
    let mut s = Supervisor::default();
    running(&mut s, "w", Class::Worker, 7);
    s.apply(Event::Unwant("w".to_owned()), 0);
    assert_eq!(s.next_wakeup(), Some(1_000));
    assert_eq!(s.apply(Event::Tick, 1_000), [Action::Tell { name: "w".to_owned(), pid: 7, what: Told::Kill }]);
    s.apply(exited("w", 7), 1_001);
    assert_eq!(s.parts().count(), 0, "an unwanted part is forgotten");
}

#[test]
fn a_part_that_is_wanted_again_while_it_stops_is_started_once_it_is_gone() {
    let mut s = Supervisor::default();
    running(&mut s, "w", Class::Worker, 1);
    s.apply(Event::Unwant("w".to_owned()), 0);
    assert_eq!(s.apply(Event::Want(part("w", Class::Worker)), 1), []);
    assert_eq!(s.apply(exited("w", 1), 2), [Action::Start("w".to_owned())]);
}

#[test]
fn a_changed_recipe_restarts_and_an_equal_one_does_nothing() {
    let mut s = Supervisor::default();
    running(&mut s, "w", Class::Worker, 1);
    assert_eq!(s.apply(Event::Want(part("w", Class::Worker)), 1), []);
    let changed = Part { recipe: "other".to_owned(), ..part("w", Class::Worker) };
    assert_eq!(s.apply(Event::Want(changed), 2), [Action::Tell { name: "w".to_owned(), pid: 1, what: Told::Stop }]);
    assert_eq!(s.apply(exited("w", 1), 3), [Action::Start("w".to_owned())]);
}

#[test]
fn force_kills_everything_and_lets_the_database_write_nothing_more() {
    let mut s = Supervisor::default();
    running(&mut s, "pg", Class::Database, 1);
    running(&mut s, "w", Class::Worker, 2);
    let actions = s.apply(Event::Force, 0);
    assert!(actions.contains(&Action::Tell { name: "pg".to_owned(), pid: 1, what: Told::Abort }), "{actions:?}");
    assert!(actions.contains(&Action::Tell { name: "w".to_owned(), pid: 2, what: Told::Kill }), "{actions:?}");
}

fn script() -> impl Strategy<Value = Vec<(u8, u8, u64)>> {
    proptest::collection::vec((0..6_u8, 0..4_u8, 0..3_000_u64), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever happens: never two processes of one part, and a shutdown always comes to an end.
    #[test]
    fn no_part_runs_twice_and_the_end_is_always_reached(script in script()) {
        let classes = [Class::Database, Class::Serve, Class::Gateway, Class::Worker];
        let mut s = Supervisor::default();
        let (mut now, mut pid) = (0, 0);
        let mut live: BTreeMap<String, i32> = BTreeMap::new();
        let mut events: Vec<Event> = Vec::new();
        for (what, which, wait) in script {
            now += wait;
            let name = format!("p{which}");
            events.push(match what {
                0 | 1 => Event::Want(part(&name, classes[usize::from(which)])),
                2 => Event::Unwant(name),
                3 | 4 => match live.remove(&name) {
                    Some(pid) => exited(&name, pid),
                    None => Event::Tick,
                },
                _ => Event::Tick,
            });
            while let Some(event) = events.pop() {
                for action in s.apply(event, now) {
                    match action {
                        Action::Start(name) => {
                            pid += 1;
                            prop_assert!(live.insert(name.clone(), pid).is_none(), "{name} runs twice");
                            events.push(Event::Started { name, pid });
                        }
                        Action::Tell { name, what: Told::Kill, .. } => if let Some(pid) = live.remove(&name) {
                            events.push(exited(&name, pid));
                        },
                        Action::Tell { .. } | Action::CrashLoop { .. } => {}
                    }
                }
            }
        }
        // Nobody obeys the signal to stop: everything is killed in time.
        let mut next = Some(Event::Shutdown);
        for _ in 0..100 {
            let actions = s.apply(next.take().unwrap_or(Event::Tick), now);
            let killed = actions.into_iter().filter_map(|a| match a {
                Action::Tell { name, pid, what: Told::Kill } => Some((name, pid)),
                Action::Tell { .. } | Action::Start(_) | Action::CrashLoop { .. } => None,
            });
            for (name, pid) in killed.collect::<Vec<_>>() {
                live.remove(&name);
                s.apply(exited(&name, pid), now);
            }
            now = s.next_wakeup().unwrap_or(now).max(now);
        }
        prop_assert!(s.finished());
        prop_assert!(live.is_empty(), "{live:?}");
    }
}
