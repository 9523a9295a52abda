//! What must not change, or must change alone: same meaning, same bytes; one change, one resource.
use std::collections::BTreeSet;

use tidegate_policy::snapshot::Snapshot;
use tidegate_translate::{GatewayCover, GatewaySettings, gateway, gateway_cover, gateway_enforces, types};

use crate::world;

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

#[test]
fn the_gateway_leaves_to_workers_what_it_cannot_say() {
    let snapshot = world::snapshot(LIMITS);
    let cover = |name: &str| gateway_cover(&snapshot.limits[&format!("default/limits/{name}")]);
    assert_eq!(cover("all"), GatewayCover::GatewayAndWorkers);
    assert_eq!(cover("per-tenant"), GatewayCover::GatewayAndWorkers);
    assert_eq!(cover("by-bucket"), GatewayCover::Bucket);
    assert_eq!(cover("at-once"), GatewayCover::NoRequestRate);
    let mut huge = snapshot.limits["default/limits/all"].clone();
    huge.requests.as_mut().unwrap().burst = 1 << 33;
    assert_eq!(gateway_cover(&huge), GatewayCover::Range);
    assert!(!gateway_enforces(&huge));
}

#[test]
fn no_limit_that_the_gateway_does_not_enforce_reaches_it() {
    let snapshot = world::snapshot(LIMITS);
    let set = gateway(&snapshot, &GatewaySettings::default());
    let body = &set.of_type(types::EXTENSION).unwrap()[types::LIMITS].body;
    let text = String::from_utf8_lossy(body);
    for (id, limit) in &snapshot.limits {
        assert_eq!(text.contains(id.as_str()), gateway_enforces(limit), "{id}");
    }
}

#[test]
fn every_cluster_that_a_route_names_is_there_with_its_endpoints() {
    for document in [include_str!("golden/release/in.yaml"), include_str!("golden/buckets/in.yaml"), LIMITS] {
        let snapshot = world::snapshot(document);
        let set = gateway(&snapshot, &GatewaySettings::default());
        let named = snapshot
            .targets
            .iter()
            .flat_map(|t| t.rules.iter().map(|r| &r.arm).chain(t.split.intervals.iter().map(|i| &i.arm)));
        for cluster in named {
            assert!(set.of_type(types::CLUSTER).unwrap().contains_key(cluster), "{cluster}");
            assert!(set.of_type(types::ENDPOINT).unwrap().contains_key(cluster), "{cluster}");
        }
    }
}
