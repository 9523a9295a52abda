//! The change log: cheap for readers that keep up, correct for those that do not.
use std::collections::{BTreeMap, BTreeSet};

use tidegate_xds::{Hub, ResourceSet, types::CLUSTER};

fn set(names: impl IntoIterator<Item = (String, u32)>) -> ResourceSet {
    let mut set = ResourceSet::default();
    for (name, content) in names {
        set.insert(CLUSTER, name, content.to_be_bytes().to_vec());
    }
    set
}

fn publish(hub: &Hub, set: ResourceSet) -> Option<Hub> {
    hub.publish(BTreeMap::from([("g".to_owned(), set)]), 7)
}

#[test]
fn publishing_the_same_set_again_changes_nothing() {
    let hub = publish(&Hub::default(), set([("a".into(), 1)])).unwrap();
    assert!(publish(&hub, set([("a".into(), 1)])).is_none());
    assert_eq!((hub.seq(), hub.group("g").seq(), hub.group("g").published_ms()), (1, 1, 7));
}

#[test]
fn publishing_nothing_at_all_makes_a_hub_ready() {
    assert!(!Hub::default().is_ready());
    assert!(Hub::default().publish(BTreeMap::new(), 0).unwrap().is_ready());
}

#[test]
fn a_group_that_did_not_change_is_shared_and_keeps_its_sequence_number() {
    let sets =
        |a, b| BTreeMap::from([("a".to_owned(), set([("x".into(), a)])), ("b".to_owned(), set([("x".into(), b)]))]);
    let old = Hub::default().publish(sets(1, 1), 0).unwrap();
    let new = old.publish(sets(1, 2), 0).unwrap();
    assert!(std::sync::Arc::ptr_eq(&old.group("a"), &new.group("a")));
    assert_eq!((new.group("a").seq(), new.group("b").seq()), (1, 2));
}

#[test]
fn a_cursor_reads_only_what_changed_and_is_told_when_it_is_too_old() {
    let all =
        |changed: u32| (0..1000u32).map(move |n| (format!("c{n:04}"), if n == changed { changed + 1 } else { 0 }));
    let mut hub = publish(&Hub::default(), set(all(0))).unwrap();
    for n in 1..50 {
        hub = publish(&hub, set(all(n))).unwrap();
    }
    let state = hub.group("g");
    let names =
        |cursor| state.changes_since(CLUSTER, cursor).map(|names| names.map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(names(state.seq()), Some(vec![]));
    let last: BTreeSet<_> = names(state.seq() - 1).unwrap().into_iter().collect();
    assert_eq!(last, BTreeSet::from(["c0048".to_owned(), "c0049".to_owned()]));
    // The first publication named a thousand: it was dropped from the log, which may name as many as there are resources.
    assert_eq!(names(0), None);
    assert!(names(1).is_some());
}

#[test]
fn the_log_stays_bounded_and_an_old_cursor_falls_back_to_everything() {
    let mut hub = publish(&Hub::default(), set([("a".into(), 0)])).unwrap();
    for n in 1..3000 {
        hub = publish(&hub, set([("a".into(), n)])).unwrap();
    }
    let state = hub.group("g");
    assert!(state.changes_since(CLUSTER, 1).is_none());
    let within = state.changes_since(CLUSTER, state.seq() - 200).unwrap().count();
    assert_eq!(within, 200);
    assert!(state.changes_since(CLUSTER, state.seq() - 300).is_none());
}

#[test]
fn a_group_that_went_away_and_came_back_never_shows_an_old_cursor_too_little() {
    let hub = publish(&Hub::default(), set([("a".into(), 1)])).unwrap();
    let hub = hub.publish(BTreeMap::new(), 0).unwrap();
    assert_eq!(hub.group("g").count(CLUSTER), 0);
    let hub = publish(&hub, set([("a".into(), 1)])).unwrap();
    assert!(hub.group("g").changes_since(CLUSTER, 1).is_none());
    assert_eq!(hub.group("g").count(CLUSTER), 1);
}
