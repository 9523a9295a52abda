//! What must not change, or must change alone: same meaning, same bytes; one change, one resource.
use std::collections::BTreeSet;

use serde_json::Value;
use tidegate_policy::{compile::gateway_holds_requests, snapshot::Snapshot, validate};
use tidegate_proto::contract::{MAX_DECLARED_VERSIONS, MAX_RETAINED_VERSIONS, TYPE_LIMIT_SET, TYPE_MODEL_SET};
use tidegate_translate::{GatewaySettings, gateway, pool, types};

use crate::{json, world};

const LIMITS: &str = include_str!("golden/limits/in.yaml");

/// `<type> <name>` of every resource that differs.
fn changed(before: &Snapshot, after: &Snapshot) -> BTreeSet<String> {
    let settings = GatewaySettings::default();
    let (old, new) = (gateway(before, &settings), gateway(after, &settings));
    let mut differs = BTreeSet::new();
    for (url, resources) in old.iter().chain(new.iter()) {
        for name in resources.keys() {
            let version =
                |set: &tidegate_xds::resources::ResourceSet| Some(set.of_type(url)?.get(name)?.version.clone());
            if version(&old) != version(&new) {
                differs.insert(format!("{} {name}", url.rsplit('.').next().unwrap()));
            }
        }
    }
    differs
}

#[test]
fn the_same_snapshot_gives_the_same_bytes() {
    let (one, two) = (world::snapshot(LIMITS), world::snapshot(LIMITS));
    for _ in 0..20 {
        assert_eq!(changed(&one, &two), BTreeSet::new());
    }
}

#[test]
fn a_revoked_key_changes_the_keys_and_nothing_else() {
    let before = world::snapshot(LIMITS);
    let mut after = before.clone();
    assert!(after.api_keys.pop_first().is_some());
    assert_eq!(changed(&before, &after), BTreeSet::from([format!("TypedExtensionConfig {}", types::API_KEYS)]));
}

#[test]
fn a_changed_rate_changes_the_limits_and_nothing_else() {
    let before = world::snapshot(LIMITS);
    let mut after = before.clone();
    after.limits.values_mut().filter_map(|l| l.requests.as_mut()).for_each(|r| r.rate += 1);
    assert_eq!(changed(&before, &after), BTreeSet::from([format!("TypedExtensionConfig {}", types::LIMITS)]));
}

#[test]
fn a_worker_that_comes_or_goes_changes_endpoints_and_nothing_else() {
    let before = world::snapshot(LIMITS);
    let mut after = before.clone();
    let arm = after.arms.values_mut().next().unwrap();
    arm.endpoints.push("127.0.0.1:9".parse().unwrap());
    let expected = format!("ClusterLoadAssignment {}", arm.cluster);
    assert_eq!(changed(&before, &after), BTreeSet::from([expected]));
}

#[test]
fn a_revision_alone_changes_nothing() {
    let before = world::snapshot(LIMITS);
    let after = Snapshot { revision: 99, ..before.clone() };
    assert_eq!(changed(&before, &after), BTreeSet::new());
}

/// Ids of the limits that Envoy is told of.
fn held(snapshot: &Snapshot) -> BTreeSet<String> {
    let set = gateway(snapshot, &GatewaySettings::default());
    let filter = json::of(types::EXTENSION, &set.of_type(types::EXTENSION).unwrap()[types::LIMITS].body);
    let descriptors = filter["typed_config"]["descriptors"].as_array().into_iter().flatten();
    descriptors.map(|d| d["entries"][0]["value"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_gateway_holds_what_policy_says_and_leaves_the_rest_to_workers() {
    let snapshot = world::snapshot(LIMITS);
    let named = |names: &[&str]| names.iter().map(|n| format!("default/limits/{n}")).collect::<BTreeSet<_>>();
    let held = held(&snapshot);
    assert!(held.is_superset(&named(&["all", "per-tenant"])), "{held:?}");
    assert!(held.is_disjoint(&named(&["by-bucket", "at-once"])), "{held:?}");
    for (id, limit) in &snapshot.limits {
        assert_eq!(held.contains(id), gateway_holds_requests(limit), "{id}");
    }
}

#[test]
fn the_largest_numbers_of_a_policy_fit_into_envoys() {
    let mut snapshot = world::snapshot(LIMITS);
    let before = held(&snapshot);
    let most = tidegate_limiter::bucket::Quota::MAX_COUNT;
    snapshot.limits.values_mut().filter_map(|l| l.requests.as_mut()).for_each(|r| (r.rate, r.burst) = (most, most));
    assert_eq!(held(&snapshot), before);
}

#[test]
fn workers_take_as_many_versions_as_a_pool_may_have() {
    assert_eq!((validate::MAX_DECLARED, validate::MAX_RETAINED), (MAX_DECLARED_VERSIONS, MAX_RETAINED_VERSIONS));
}

#[test]
fn a_pool_whose_versions_are_gone_keeps_its_limits_and_is_told_no_models() {
    let snapshot = world::snapshot(LIMITS);
    for (name, plan) in &snapshot.pools {
        let full = pool(&snapshot, plan);
        assert_eq!(full.of_type(TYPE_MODEL_SET).map(|all| all.len()), Some(1), "{name}");
        let mut bare = plan.clone();
        bare.versions.clear();
        let rest = pool(&snapshot, &bare);
        assert!(rest.of_type(TYPE_MODEL_SET).is_none_or(|all| all.is_empty()), "{name}");
        let version = |set: &tidegate_xds::resources::ResourceSet| {
            set.of_type(TYPE_LIMIT_SET).unwrap().values().map(|r| r.version.clone()).collect::<Vec<_>>()
        };
        assert_eq!(version(&rest), version(&full), "{name}");
    }
}

/// Every cluster that the JSON of a route configuration names, in plain routes, in splits and in matcher trees.
fn clusters(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("cluster").and_then(Value::as_str) {
                found.insert(name.to_owned());
            }
            let legs = map.get("weighted_clusters").and_then(|w| w["clusters"].as_array());
            found.extend(legs.into_iter().flatten().map(|leg| leg["name"].as_str().unwrap().to_owned()));
            map.values().for_each(|inner| clusters(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| clusters(inner, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_cluster_that_a_route_names_is_there_with_its_endpoints() {
    for document in [include_str!("golden/release/in.yaml"), include_str!("golden/buckets/in.yaml"), LIMITS] {
        let snapshot = world::snapshot(document);
        let set = gateway(&snapshot, &GatewaySettings::default());
        let mut named = BTreeSet::new();
        clusters(&json::of(types::ROUTE, &set.of_type(types::ROUTE).unwrap()[types::ROUTE_NAME].body), &mut named);
        assert!(named.len() > 1, "{named:?}");
        for cluster in named {
            assert!(set.of_type(types::CLUSTER).unwrap().contains_key(&cluster), "{cluster}");
            assert!(set.of_type(types::ENDPOINT).unwrap().contains_key(&cluster), "{cluster}");
        }
    }
}
