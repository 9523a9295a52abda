//! Where limits hold, how many fit, and what their status states.
use std::collections::BTreeSet;

use tidegate_limiter::admission::MAX_LIMITS;
use tidegate_policy::{
    explain::{ExplainHeader, ExplainRequest, explain},
    status::ConditionStatus,
};

use crate::{
    properties::model,
    scenario::{OPEN, Scenario, Worker},
};

const HEAD: &str = "apiVersion: tidegate.dev/v1alpha1\n";

fn pool(name: &str, versions: &str) -> String {
    format!(
        "{HEAD}kind: WorkerPool\nmetadata: {{name: {name}}}\nspec: {{modelRef: {{name: chat}}, versions: [{versions}]}}\n"
    )
}

fn policy(name: &str, target: &str, limits: &str) -> String {
    format!(
        "{HEAD}kind: RateLimitPolicy\nmetadata: {{name: {name}}}\nspec: {{targetRefs: [{target}], limits: [{limits}]}}\n"
    )
}

fn world(documents: &[String]) -> Scenario {
    let apply = std::iter::once(&model()).chain(documents).cloned().collect::<Vec<_>>().join("---\n");
    Scenario { apply, ..Scenario::default() }
}

const MODEL: &str = "{kind: Model, name: chat}";

#[test]
fn the_youngest_policies_are_left_out_when_a_pool_has_as_many_limits_as_its_workers_take() {
    let each = (0..32).map(|n| format!("{{name: l{n}, concurrency: 1}}")).collect::<Vec<_>>().join(", ");
    let fit = MAX_LIMITS / 32;
    let mut documents = vec![pool("p", "v1")];
    documents.extend((0..fit).map(|n| policy(&format!("a{n}"), MODEL, &each)));
    documents.push(policy("one-too-many", MODEL, "{name: a, concurrency: 1}"));
    let compiled = world(&documents).compile();
    let plan = compiled.snapshot.pools.values().next().unwrap();
    assert_eq!(plan.limits.len(), MAX_LIMITS);
    assert!(!compiled.snapshot.limits.contains_key("default/one-too-many/a"));
    assert_eq!(compiled.snapshot.targets[0].limits.len(), MAX_LIMITS, "nor at the gateway");
    for (key, status) in compiled.statuses.iter().filter(|(key, _)| key.to_string().starts_with("RateLimitPolicy")) {
        let accepted = status.condition("Accepted").unwrap();
        let left_out = key.object.name == "one-too-many";
        assert_eq!(accepted.status == ConditionStatus::False, left_out, "{key}: {}", accepted.message);
        assert_eq!(accepted.reason == "TooManyLimits", left_out, "{key}");
        assert!(!left_out || accepted.message.contains("default/p"), "{}", accepted.message);
    }
}

fn serving(node: &str, pool: &str, port: u16) -> Worker {
    let versions = [("v1".to_owned(), tidegate_policy::ports::VersionState::Serving)].into();
    Worker {
        node: node.to_owned(),
        pool: pool.to_owned(),
        port,
        ready: true,
        versions,
        error: String::new(),
        outdated: BTreeSet::new(),
    }
}

/// The numbers that a program reads out of a bound.
#[test]
fn a_bound_states_the_fleet_and_what_a_change_adds() {
    let limits = "{name: a, requests: {rate: 2, burst: 20}}";
    let bound = |gateways: usize, workers: usize| {
        let mut world = world(&[pool("p", "v1"), policy("l", MODEL, limits)]);
        world.gateways = gateways;
        world.workers = (0..workers).map(|n| serving(&format!("w{n}"), "default/p", 9_000 + n as u16)).collect();
        let statuses = world.compile().statuses;
        statuses.into_iter().find(|(key, _)| key.object.name == "l").unwrap().1.bounds.remove(0)
    };
    let through_one = bound(1, 3);
    for part in [
        "each process admits at most 20 + 2*t/1000ms in any t;",
        " held by 3 workers now and by 1 gateway that may connect:",
        ": at most 20 + 2*t/1000ms in the fleet,",
        ", 20 more after each change of any limit ",
        ", never over 60 + 6*t/1000ms at the workers",
    ] {
        assert!(through_one.contains(part), "{part} is not in {through_one}");
    }
    assert!(bound(0, 3).ends_with("; held by 3 workers now: at most 60 + 6*t/1000ms in the fleet"), "{}", bound(0, 3));
    assert!(
        bound(3, 1).ends_with(
            "; held by 1 worker now and by 3 gateways that may connect: at most 20 + 2*t/1000ms in the fleet"
        ),
        "{}",
        bound(3, 1)
    );
}

fn limits_of(scenario: &Scenario, tenant: Option<&str>, headers: &[(&str, &str)]) -> Vec<(String, Vec<String>)> {
    let headers = headers.iter().map(|(name, value)| ExplainHeader {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
        value_base64: None,
    });
    let request = ExplainRequest {
        model: "chat".to_owned(),
        tenant: tenant.map(str::to_owned),
        headers: headers.collect(),
        ..ExplainRequest::default()
    };
    let answer = explain(&scenario.compile().snapshot, OPEN, &request);
    answer.limits.into_iter().map(|l| (l.id.trim_start_matches("default/").to_owned(), l.places)).collect()
}

#[test]
fn explain_names_the_limits_of_pools_that_may_answer_and_leaves_out_what_counts_nobody() {
    let candidate = format!(
        "{HEAD}kind: ReleasePolicy\nmetadata: {{name: r}}\nspec: {{targetRef: {MODEL}, stable: v1, candidate: v2, rules: [{{match: [{{type: Header, header: {{name: x-try, type: Present}}}}], to: Candidate}}]}}\n"
    );
    let all = "{name: rate, requests: {rate: 9}}, {name: tenant, counters: [{type: Tenant}], requests: {rate: 5}}";
    let mut scenario = world(&[
        pool("p1", "v1"),
        pool("p2", "v2"),
        policy("all", MODEL, all),
        policy("one", "{kind: WorkerPool, name: p1}", "{name: a, concurrency: 3}"),
        policy("two", "{kind: WorkerPool, name: p2}", "{name: a, requests: {rate: 1}}"),
        candidate,
    ]);
    let v2 = [("v2".to_owned(), tidegate_policy::ports::VersionState::Serving)].into();
    scenario.workers =
        vec![serving("a", "default/p1", 9_001), Worker { versions: v2, ..serving("b", "default/p2", 9_002) }];
    let held = |id: &str, places: &[&str]| (id.to_owned(), places.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
    assert_eq!(
        limits_of(&scenario, None, &[]),
        [held("all/rate", &["gateway", "WorkerPool default/p1"]), held("one/a", &["WorkerPool default/p1"])]
    );
    assert_eq!(
        limits_of(&scenario, Some("acme"), &[("x-try", "")]),
        [
            held("all/rate", &["gateway", "WorkerPool default/p2"]),
            held("all/tenant", &["gateway", "WorkerPool default/p2"]),
            held("two/a", &["WorkerPool default/p2"])
        ]
    );
}
