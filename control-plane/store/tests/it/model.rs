//! Random operations against the store and against a model in memory: after each, both say the same.
use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use tidegate_policy::ports::{Author, ObjectKey, ObjectStore, Outcome, RollbackScope, Source, StoreError, Write};

use super::{kubernetes, model, put, rest, store};

#[derive(Clone, Debug)]
enum Op {
    Write { items: Vec<(u8, u8, Expect)>, by: bool, dry: bool },
    Delete { name: u8, expect: Expect, by: bool, dry: bool },
    Rollback { to: u8, only: Option<u8>, by: bool, dry: bool },
    Adopt { name: u8, by: bool },
}

#[derive(Clone, Copy, Debug)]
enum Expect {
    Any,
    Right,
    Wrong,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    revision: i64,
    generation: i64,
    source: Source,
    spec: Value,
}

type State = BTreeMap<ObjectKey, Entry>;

/// What the store must do, in the simplest way. `pasts[r]` is what every object said after revision r.
#[derive(Clone, Default)]
struct Model {
    state: State,
    pasts: Vec<BTreeMap<ObjectKey, Value>>,
}

impl Model {
    fn revision(&self) -> i64 {
        i64::try_from(self.pasts.len()).unwrap()
    }

    fn commit(&mut self, next: State, dry: bool) {
        if !dry && next != self.state {
            self.pasts.push(next.iter().map(|(k, e)| (k.clone(), e.spec.clone())).collect());
            self.state = next;
        }
    }

    fn set(&self, next: &mut State, (key, spec): (&ObjectKey, &Value), source: Source) -> Outcome {
        let revision = self.revision() + 1;
        match next.get_mut(key) {
            None => {
                next.insert(key.clone(), Entry { revision, generation: 1, source, spec: spec.clone() });
                Outcome::Created
            }
            Some(e) if e.spec == *spec => Outcome::Unchanged,
            Some(e) => {
                (e.revision, e.generation, e.spec) = (revision, e.generation + 1, spec.clone());
                Outcome::Configured
            }
        }
    }

    fn refusal(&self, key: &ObjectKey, source: Source, expected: Option<i64>) -> Option<&'static str> {
        let entry = self.state.get(key);
        if entry.is_some_and(|e| e.source != source) {
            return Some("owned");
        }
        expected.filter(|e| *e != entry.map_or(0, |e| e.revision)).map(|_| "conflict")
    }
}

fn author(by: bool) -> Author {
    if by { rest() } else { kubernetes() }
}

fn name(n: u8) -> ObjectKey {
    model(&format!("m{n}"))
}

fn kind_of(error: &StoreError) -> &'static str {
    match error {
        StoreError::Conflict { .. } => "conflict",
        StoreError::OwnedElsewhere { .. } => "owned",
        StoreError::NotFound { .. } => "not found",
        StoreError::BadRequest { .. } => "bad",
        StoreError::Unavailable(_) | StoreError::Unfit { .. } | StoreError::Busy { .. } => "unavailable",
    }
}

type Said = Result<Vec<Outcome>, &'static str>;

fn expected_of(model: &Model, key: &ObjectKey, expect: Expect) -> Option<i64> {
    let actual = model.state.get(key).map_or(0, |e| e.revision);
    match expect {
        Expect::Any => None,
        Expect::Right => Some(actual),
        Expect::Wrong => Some(actual + 1),
    }
}

fn model_write(m: &mut Model, writes: &[Write], author: &Author, dry: bool) -> Said {
    let mut sorted: Vec<&Write> = writes.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    if sorted.windows(2).any(|w| w[0].key == w[1].key) {
        return Err("bad");
    }
    if let Some(why) = sorted.iter().find_map(|w| m.refusal(&w.key, author.source, w.expected_revision)) {
        return Err(why);
    }
    let mut next = m.state.clone();
    let outcomes = writes.iter().map(|w| m.set(&mut next, (&w.key, &w.spec), author.source)).collect();
    m.commit(next, dry);
    Ok(outcomes)
}

fn model_rollback(m: &mut Model, (to, only): (i64, Option<&ObjectKey>), author: &Author, dry: bool) -> Said {
    if to < 1 || to > m.revision() {
        return Err("bad");
    }
    let past = m.pasts[usize::try_from(to - 1).unwrap()].clone();
    let known = |k: &ObjectKey| {
        past.contains_key(k)
            || m.state.contains_key(k)
            || m.pasts[..usize::try_from(to).unwrap()].iter().any(|p| p.contains_key(k))
    };
    let keys: Vec<ObjectKey> = (0..4).map(name).filter(|k| only.is_none_or(|o| o == k)).collect();
    if only.is_some_and(|k| !past.contains_key(k) && !m.state.contains_key(k)) {
        return Err("not found");
    }
    let mut next = m.state.clone();
    let mut outcomes = Vec::new();
    for key in keys.into_iter().filter(known) {
        let outcome = match past.get(&key) {
            Some(spec) => m.set(&mut next, (&key, spec), author.source),
            None if next.remove(&key).is_some() => Outcome::Deleted,
            None => continue,
        };
        if outcome != Outcome::Unchanged && m.refusal(&key, author.source, None).is_some() {
            return Err("owned");
        }
        if outcome != Outcome::Unchanged || only.is_some() {
            outcomes.push(outcome);
        }
    }
    m.commit(next, dry);
    Ok(outcomes)
}

async fn step(store: &impl ObjectStore, m: &mut Model, op: &Op) -> (Said, Said) {
    let said = |r: Result<Vec<(_, Outcome)>, StoreError>| {
        r.map(|v| v.into_iter().map(|(_, o)| o).collect()).map_err(|e| kind_of(&e))
    };
    match op {
        Op::Write { items, by, dry } => {
            let writes: Vec<Write> = items
                .iter()
                .map(|(n, v, e)| Write {
                    expected_revision: expected_of(m, &name(*n), *e),
                    ..put(&name(*n), json!({"v": v}))
                })
                .collect();
            let real = store.write(writes.clone(), &author(*by), *dry).await;
            (said(real), model_write(m, &writes, &author(*by), *dry))
        }
        Op::Delete { name: n, expect, by, dry } => {
            let (key, expected) = (name(*n), expected_of(m, &name(*n), *expect));
            let real = store.delete(&key, expected, &author(*by), *dry).await.map(|o| vec![(o, Outcome::Deleted)]);
            let wanted = match m.refusal(&key, author(*by).source, expected) {
                _ if !m.state.contains_key(&key) => Err("not found"),
                Some(why) => Err(why),
                None => {
                    let mut next = m.state.clone();
                    next.remove(&key);
                    m.commit(next, *dry);
                    Ok(vec![Outcome::Deleted])
                }
            };
            (said(real), wanted)
        }
        Op::Rollback { to, only, by, dry } => {
            let only = only.map(name);
            let scope = only.clone().map_or(RollbackScope::Everything, RollbackScope::Object);
            let real = store.rollback(i64::from(*to), &scope, &author(*by), *dry).await;
            (said(real), model_rollback(m, (i64::from(*to), only.as_ref()), &author(*by), *dry))
        }
        Op::Adopt { name: n, by } => {
            let real = store.adopt(&name(*n), &author(*by)).await.map(|o| vec![(o, Outcome::Configured)]);
            let (mut next, revision) = (m.state.clone(), m.revision() + 1);
            let wanted = match next.get_mut(&name(*n)) {
                None => Err("not found"),
                Some(e) => {
                    if e.source != author(*by).source {
                        (e.source, e.revision) = (author(*by).source, revision);
                    }
                    Ok(vec![Outcome::Configured])
                }
            };
            m.commit(next, false);
            (said(real), wanted)
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let expect = || prop_oneof![3 => Just(Expect::Any), 2 => Just(Expect::Right), 1 => Just(Expect::Wrong)];
    let by = || prop::bool::weighted(0.8);
    let dry = || prop::bool::weighted(0.15);
    let items = prop::collection::vec((0..4_u8, 0..3_u8, expect()), 0..4);
    prop_oneof![
        6 => (items, by(), dry()).prop_map(|(items, by, dry)| Op::Write { items, by, dry }),
        2 => (0..4_u8, expect(), by(), dry()).prop_map(|(name, expect, by, dry)| Op::Delete { name, expect, by, dry }),
        2 => (0..12_u8, prop::option::of(0..4_u8), by(), dry()).prop_map(|(to, only, by, dry)| Op::Rollback { to, only, by, dry }),
        1 => (0..4_u8, by()).prop_map(|(name, by)| Op::Adopt { name, by }),
    ]
}

async fn same(store: &impl ObjectStore, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut m = Model::default();
    for (i, op) in ops.iter().enumerate() {
        let (real, wanted) = step(store, &mut m, op).await;
        prop_assert_eq!(real, wanted, "answer of step {} {:?}", i, op);
        let all = store.read_all().await.unwrap();
        let state: State = all
            .objects
            .into_iter()
            .map(|o| (o.key, Entry { revision: o.revision, generation: o.generation, source: o.source, spec: o.spec }))
            .collect();
        prop_assert_eq!(&state, &m.state, "state after step {} {:?}", i, op);
        prop_assert_eq!(all.revision, m.revision());
    }
    Ok(())
}

#[test]
fn the_store_does_what_a_simple_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 40,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&prop::collection::vec(op(), 1..25), |ops| runtime.block_on(async { same(&store().await, &ops).await }))
        .unwrap();
}
