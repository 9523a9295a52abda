//! The order of the input does not matter, nothing panics, and how long a large world takes.
use std::time::Instant;

use proptest::prelude::*;
use tidegate_policy::{
    compile::{CompileInput, compile},
    kinds::Kind,
    validate,
};

use crate::{
    properties::{model, policy, world},
    scenario::{Scenario, now, stored},
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn shuffled_input_compiles_to_the_same(a in policy("a"), b in policy("b"), seed in any::<u64>()) {
        let mut scenario: Scenario = Scenario::read(include_str!("../golden/compile/in/demo.yaml"));
        scenario.apply = format!("{}\n---\n{a}---\n{b}", scenario.apply);
        let everything = scenario.everything();
        let mut shuffled = everything.clone();
        let turn = |len: usize| usize::try_from(seed % 97).unwrap() % len.max(1);
        shuffled.objects.reverse();
        shuffled.objects.rotate_left(turn(everything.objects.len()));
        shuffled.fleet.reverse();
        shuffled.fleet.rotate_left(turn(everything.fleet.len()));
        shuffled.api_keys.reverse();
        let one = compile(&CompileInput { everything: &everything, now: now() });
        let other = compile(&CompileInput { everything: &shuffled, now: now() });
        prop_assert_eq!(one, other);
    }

    /// Whatever the store holds, compile gives every object a status.
    #[test]
    fn a_spoiled_store_does_not_stop_the_rest(text in policy("a"), drop in 0..6_usize, kind in 0..4_usize) {
        let mut everything = world(&[&text]).everything();
        let object = &mut everything.objects[1];
        if let Some(map) = object.spec.as_object_mut() {
            let field = map.keys().nth(drop).cloned();
            field.map(|f| map.remove(&f));
        }
        object.key.kind = Kind::ALL[kind];
        let compiled = compile(&CompileInput { everything: &everything, now: now() });
        prop_assert!(!compiled.snapshot.targets.is_empty() || kind == 0);
        prop_assert_eq!(compiled.statuses.len(), 2);
    }
}

#[test]
fn a_second_compile_of_its_own_statuses_changes_nothing() {
    let mut everything = Scenario::read(include_str!("../golden/compile/in/demo.yaml")).everything();
    let first = compile(&CompileInput { everything: &everything, now: now() });
    for object in &mut everything.objects {
        object.status = serde_json::to_value(&first.statuses[&object.key]).unwrap();
    }
    let later = now() + chrono::TimeDelta::hours(1);
    let second = compile(&CompileInput { everything: &everything, now: later });
    assert_eq!(first, second);
}

/// No assertion on time: the figure is printed.
#[test]
fn a_thousand_objects_compile() {
    let model = model();
    let policy = "kind: ReleasePolicy\napiVersion: tidegate.dev/v1alpha1\nmetadata: {name: chat}\nspec: {targetRef: {kind: Model, name: chat}, stable: v1, candidate: v2, steps: [{weight: 10}], rules: [{match: [{type: Header, header: {name: x-gray-tag, type: Semver, value: ^2.1}}], to: Candidate}]}\n";
    let body = validate::parse(format!("{model}---\n{policy}").as_bytes()).unwrap();
    let mut everything = tidegate_policy::ports::Everything::default();
    for n in 0..500 {
        for object in &body {
            let mut object = stored(object, n);
            object.key.object.namespace = format!("n{n}");
            everything.objects.push(object);
        }
    }
    let began = Instant::now();
    let compiled = compile(&CompileInput { everything: &everything, now: now() });
    println!("1000 objects: {:.1} ms", began.elapsed().as_secs_f64() * 1000.0);
    assert_eq!(compiled.snapshot.targets.len(), 500);
}
