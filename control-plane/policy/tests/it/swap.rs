//! A change of version, step by step: load beside, all serve, move the routes, drop the old.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tidegate_policy::{
    compile::{CompileInput, Compiled, compile},
    ports::{Everything, VersionState},
    snapshot::Snapshot,
};

use crate::{
    properties::model,
    scenario::{Scenario, Worker, lease, now},
};

/// A world that remembers its statuses between compiles, as the store does.
struct World {
    everything: Everything,
}

fn worker(node: &str, port: u16, versions: &[(&str, VersionState)]) -> Worker {
    let versions: BTreeMap<String, VersionState> = versions.iter().map(|(v, s)| ((*v).to_owned(), *s)).collect();
    Worker {
        node: node.to_owned(),
        pool: "default/p".to_owned(),
        port,
        ready: true,
        versions,
        error: String::new(),
        outdated: BTreeSet::new(),
    }
}

impl World {
    fn new(policy: &str) -> Self {
        let pool = "apiVersion: tidegate.dev/v1alpha1\nkind: WorkerPool\nmetadata: {name: p}\nspec: {modelRef: {name: chat}, versions: [v1], replicas: 2}\n";
        let apply = [model(), pool.to_owned(), policy.to_owned()]
            .iter()
            .filter(|t| !t.is_empty())
            .cloned()
            .collect::<Vec<_>>()
            .join("---\n");
        Self { everything: Scenario { apply, ..Scenario::default() }.everything() }
    }

    fn workers(&mut self, workers: &[Worker]) -> &mut Self {
        self.everything.fleet = workers.iter().map(lease).collect();
        self
    }

    fn set(&mut self, name: &str, field: &str, value: serde_json::Value) -> &mut Self {
        let object = self.everything.objects.iter_mut().find(|o| o.key.object.name == name).unwrap();
        object.spec[field] = value;
        self
    }

    fn compile(&mut self) -> Compiled {
        let compiled = compile(&CompileInput { everything: &self.everything, now: now() });
        for object in &mut self.everything.objects {
            object.status = serde_json::to_value(&compiled.statuses[&object.key]).unwrap();
        }
        compiled
    }
}

fn routed(snapshot: &Snapshot) -> Vec<String> {
    snapshot.targets[0]
        .split
        .intervals
        .iter()
        .filter(|i| i.weight > 0)
        .map(|i| snapshot.arms[&i.arm].version.clone())
        .collect()
}

fn loaded(snapshot: &Snapshot) -> Vec<(String, bool)> {
    snapshot.pools.values().next().unwrap().versions.iter().map(|v| (v.version.name.clone(), v.retained)).collect()
}

use VersionState::{Draining, Failed, Loading, Serving};

fn v1_everywhere() -> [Worker; 2] {
    [worker("a", 1, &[("v1", Serving)]), worker("b", 2, &[("v1", Serving)])]
}

#[test]
fn a_new_version_takes_over_only_when_every_worker_serves_it() {
    for policy in [
        "",
        "apiVersion: tidegate.dev/v1alpha1\nkind: ReleasePolicy\nmetadata: {name: r}\nspec: {targetRef: {kind: Model, name: chat}, stable: v1}\n",
    ] {
        let mut world = World::new(policy);
        assert_eq!(routed(&world.workers(&v1_everywhere()).compile().snapshot), ["v1"]);
        world.set("p", "versions", json!(["v2"]));
        if !policy.is_empty() {
            world.set("r", "stable", json!("v2"));
        }
        let keep = [("v2".to_owned(), false), ("v1".to_owned(), true)];
        // Nobody has heard of it; one loads; one serves and the other still loads.
        let moments: [[Worker; 2]; 3] = [
            v1_everywhere(),
            [worker("a", 1, &[("v1", Serving), ("v2", Loading)]), worker("b", 2, &[("v1", Serving)])],
            [worker("a", 1, &[("v1", Serving), ("v2", Serving)]), worker("b", 2, &[("v1", Serving), ("v2", Loading)])],
        ];
        for moment in moments {
            let snapshot = world.workers(&moment).compile().snapshot;
            assert_eq!(routed(&snapshot), ["v1"]);
            assert_eq!(loaded(&snapshot), keep);
        }
        let both = |n, port| worker(n, port, &[("v1", Serving), ("v2", Serving)]);
        let snapshot = world.workers(&[both("a", 1), both("b", 2)]).compile().snapshot;
        assert_eq!(routed(&snapshot), ["v2"]);
        assert_eq!(loaded(&snapshot), [("v2".to_owned(), false)]);
        assert_eq!(snapshot.arms["model.default.chat.v2"].endpoints.len(), 2);
        // A worker that comes back and loads v2 anew does not move anybody back.
        let after = [worker("a", 1, &[("v1", Draining), ("v2", Serving)]), worker("b", 2, &[("v2", Loading)])];
        assert_eq!(routed(&world.workers(&after).compile().snapshot), ["v2"]);
    }
}

#[test]
fn a_version_that_fails_everywhere_never_takes_over() {
    let mut world = World::new("");
    world.workers(&v1_everywhere()).compile();
    world.set("p", "versions", json!(["v2"]));
    let failing = |n, port| worker(n, port, &[("v1", Serving), ("v2", Failed)]);
    let compiled = world.workers(&[failing("a", 1), failing("b", 2)]).compile();
    assert_eq!(routed(&compiled.snapshot), ["v1"]);
    assert!(loaded(&compiled.snapshot).contains(&("v1".to_owned(), true)));
}

#[test]
fn a_candidate_that_was_never_there_leaves_its_share_with_stable() {
    let policy = "apiVersion: tidegate.dev/v1alpha1\nkind: ReleasePolicy\nmetadata: {name: r}\nspec: {targetRef: {kind: Model, name: chat}, stable: v1, candidate: v2, steps: [{weight: 50}]}\n";
    let mut world = World::new(policy);
    world.set("p", "versions", json!(["v1", "v2"]));
    assert_eq!(routed(&world.workers(&v1_everywhere()).compile().snapshot), ["v1", "v1"]);
    let both = |n, port| worker(n, port, &[("v1", Serving), ("v2", Serving)]);
    assert_eq!(routed(&world.workers(&[both("a", 1), both("b", 2)]).compile().snapshot), ["v2", "v1"]);
    // A worker that comes back moves nobody; when no worker has it any more, nobody is left to ask.
    let back = worker("b", 2, &[("v1", Serving), ("v2", Loading)]);
    assert_eq!(routed(&world.workers(&[both("a", 1), back]).compile().snapshot), ["v2", "v1"]);
    assert_eq!(routed(&world.workers(&v1_everywhere()).compile().snapshot), ["v1", "v1"]);
}

/// Two pools; both serve theirs; half of the users see the candidate.
fn canary() -> World {
    let policy = "apiVersion: tidegate.dev/v1alpha1\nkind: ReleasePolicy\nmetadata: {name: r}\nspec: {targetRef: {kind: Model, name: chat}, stable: v1, candidate: v2, steps: [{weight: 50}], rules: [{match: [{type: Header, header: {name: try, type: Present}}], to: Candidate}]}\n---\n";
    let pool = "apiVersion: tidegate.dev/v1alpha1\nkind: WorkerPool\nmetadata: {name: c}\nspec: {modelRef: {name: chat}, versions: [v2]}\n";
    let mut world = World::new(&format!("{policy}{pool}"));
    let mut there = worker("c", 3, &[("v2", Serving)]);
    there.pool = "default/c".to_owned();
    let [a, b] = v1_everywhere();
    assert_eq!(routed(&world.workers(&[a, b, there]).compile().snapshot), ["v2", "v1"]);
    world
}

fn rule(snapshot: &Snapshot) -> (String, &str) {
    let rule = &snapshot.targets[0].rules[0];
    (snapshot.arms[&rule.arm].version.clone(), &rule.arm_label)
}

#[test]
fn a_canary_pool_without_replicas_or_deleted_gives_its_share_back() {
    let mut world = canary();
    world.set("c", "replicas", json!(0));
    // Its worker still answers: nobody wants it to.
    let compiled = world.compile();
    assert_eq!(routed(&compiled.snapshot), ["v1", "v1"]);
    assert_eq!(rule(&compiled.snapshot), ("v1".to_owned(), "stable"));
    world.workers(&v1_everywhere());
    assert_eq!(routed(&world.compile().snapshot), ["v1", "v1"]);
    let mut world = canary();
    world.everything.objects.retain(|o| o.key.object.name != "c");
    let compiled = world.compile();
    assert_eq!(routed(&compiled.snapshot), ["v1", "v1"]);
    let status = compiled.statuses.iter().find(|(key, _)| key.object.name == "r").unwrap().1;
    let said = &status.warnings[0];
    assert!(
        said.contains("50 %") && said.contains("1 rule") && said.contains("v2") && said.contains("v1 answers"),
        "{said}"
    );
}

#[test]
fn a_stable_version_that_nobody_serves_is_answered_by_the_candidate_and_says_so() {
    let mut world = canary();
    world.set("p", "replicas", json!(0));
    let compiled = world.compile();
    assert_eq!(routed(&compiled.snapshot), ["v2", "v2"]);
    let split = &compiled.snapshot.targets[0].split.intervals;
    assert!(split.iter().all(|i| i.arm_label == "candidate"), "{split:?}");
    let status = compiled.statuses.iter().find(|(key, _)| key.object.name == "r").unwrap().1;
    assert!(
        status.warnings[0].contains("stable v1") && status.warnings[0].contains("v2 answers"),
        "{:?}",
        status.warnings
    );
}

#[test]
fn without_a_release_a_pool_without_replicas_does_not_win() {
    let mut world = canary();
    world.everything.objects.retain(|o| o.key.object.name != "r");
    assert_eq!(routed(&world.compile().snapshot), ["v1"]);
    world.set("p", "replicas", json!(0));
    assert_eq!(routed(&world.compile().snapshot), ["v2"]);
}

#[test]
fn a_version_that_fails_leaves_everybody_where_they_are_and_not_at_the_canary() {
    let mut world = canary();
    world.set("p", "versions", json!(["v3"]));
    let model = world.everything.objects.iter_mut().find(|o| o.key.object.name == "chat").unwrap();
    let mut third = model.spec["versions"][0].clone();
    third["name"] = json!("v3");
    model.spec["versions"].as_array_mut().unwrap().push(third);
    let mut there = worker("c", 3, &[("v2", Serving)]);
    there.pool = "default/c".to_owned();
    for state in [Loading, Failed] {
        let one = |n, port| worker(n, port, &[("v1", Serving), ("v3", state)]);
        let snapshot = world.workers(&[one("a", 1), one("b", 2), there.clone()]).compile().snapshot;
        assert_eq!(routed(&snapshot), ["v2", "v1"], "{state:?}");
    }
    // Nobody asks for v1 any more: the version that the pool asks for takes over once it can.
    let one = |n, port| worker(n, port, &[("v1", Serving), ("v3", Serving)]);
    let snapshot = world.workers(&[one("a", 1), one("b", 2), there]).compile().snapshot;
    assert_eq!(routed(&snapshot), ["v2", "v3"]);
}

#[test]
fn a_new_candidate_that_nobody_serves_gets_nothing_though_an_older_one_is_remembered() {
    let policy = "apiVersion: tidegate.dev/v1alpha1\nkind: ReleasePolicy\nmetadata: {name: r}\nspec: {targetRef: {kind: Model, name: chat}, stable: v1, candidate: v2, steps: [{weight: 50}]}\n";
    let mut world = World::new(policy);
    world.workers(&v1_everywhere());
    let release = world.everything.objects.iter_mut().find(|o| o.key.object.name == "r").unwrap();
    release.status = json!({"arms": {"stable": "v1", "candidate": "v0"}});
    let snapshot = world.compile().snapshot;
    assert_eq!(routed(&snapshot), ["v1", "v1"], "v0 is gone and v2 is not there yet");
    assert!(!snapshot.arms.contains_key("model.default.chat.v2"));
}

fn take_out_of_the_model(world: &mut World, version: &str) {
    let model = world.everything.objects.iter_mut().find(|o| o.key.object.name == "chat").unwrap();
    model.spec["versions"].as_array_mut().unwrap().retain(|v| v["name"] != version);
}

#[test]
fn a_version_that_leaves_the_model_before_its_pool_is_not_dropped_by_workers() {
    let limit = "apiVersion: tidegate.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {name: l}\nspec: {targetRefs: [{kind: Model, name: chat}], limits: [{name: a, concurrency: 2}]}\n";
    let mut world = World::new(limit);
    world.workers(&v1_everywhere()).compile();
    take_out_of_the_model(&mut world, "v1");
    let snapshot = world.compile().snapshot;
    assert_eq!(routed(&snapshot), ["v1"], "workers serve it still");
    assert_eq!(loaded(&snapshot), [], "nothing to be told: they keep what they have");
    // The whole model goes: its limits stay with the workers that have its weights.
    world.everything.objects.retain(|o| o.key.object.name != "chat");
    let snapshot = world.compile().snapshot;
    let plan = snapshot.pools.values().next().unwrap();
    assert_eq!((plan.versions.len(), plan.limits.as_slice()), (0, &["default/l/a".to_owned()][..]));
    assert!(snapshot.limits.contains_key("default/l/a"));
}

#[test]
fn a_version_that_is_still_in_the_model_is_told_when_another_is_gone() {
    let mut world = World::new("");
    world.set("p", "versions", json!(["v1", "v2"])).workers(&v1_everywhere()).compile();
    take_out_of_the_model(&mut world, "v1");
    let snapshot = world.compile().snapshot;
    assert_eq!(loaded(&snapshot), [("v2".to_owned(), false)]);
    assert_eq!(routed(&snapshot), ["v1"], "nobody serves another");
    let both = |n, port| worker(n, port, &[("v1", Serving), ("v2", Serving)]);
    let snapshot = world.workers(&[both("a", 1), both("b", 2)]).compile().snapshot;
    assert_eq!(routed(&snapshot), ["v2"], "the model has no v1");
}

#[test]
fn without_a_release_the_models_order_decides_and_not_the_pools() {
    let mut world = World::new("");
    let both = |n, port| worker(n, port, &[("v1", Serving), ("v2", Serving)]);
    world.set("p", "versions", json!(["v2", "v1"])).workers(&[both("a", 1), both("b", 2)]);
    assert_eq!(routed(&world.compile().snapshot), ["v1"]);
}

#[test]
fn a_worker_that_is_not_ready_gets_no_requests() {
    let mut away = worker("b", 2, &[("v1", Serving)]);
    away.ready = false;
    let snapshot = World::new("").workers(&[worker("a", 1, &[("v1", Serving)]), away]).compile().snapshot;
    assert_eq!(snapshot.arms["model.default.chat.v1"].endpoints.len(), 1);
}
