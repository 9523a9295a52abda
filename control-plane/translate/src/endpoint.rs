//! The workers of each arm. An arm without workers has an empty list: Envoy then answers 503 with a body that says so.
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use prost::Message;
use tidegate_policy::snapshot::{Arm, Snapshot};
use tidegate_xds::resources::ResourceSet;

use crate::{listener::socket, types::ENDPOINT};

pub(crate) fn add(set: &mut ResourceSet, snapshot: &Snapshot) {
    for arm in snapshot.arms.values() {
        set.insert(ENDPOINT, arm.cluster.clone(), assignment(arm).encode_to_vec());
    }
}

fn assignment(arm: &Arm) -> ClusterLoadAssignment {
    let hosts = arm.endpoints.iter().map(|address| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(socket(&address.ip().to_string(), address.port())),
            ..Default::default()
        })),
        ..Default::default()
    });
    let hosts: Vec<_> = hosts.collect();
    let endpoints = if hosts.is_empty() {
        Vec::new()
    } else {
        vec![LocalityLbEndpoints { lb_endpoints: hosts, ..Default::default() }]
    };
    ClusterLoadAssignment { cluster_name: arm.cluster.clone(), endpoints, ..Default::default() }
}
