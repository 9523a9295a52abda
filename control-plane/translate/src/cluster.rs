//! One cluster per arm. Numbers that Envoy would set silently (1,024 of everything) are set here openly. No active health checks:
//! a worker that does not renew its lease leaves the endpoints, and a connection that fails is tried elsewhere at once.
use std::{collections::HashMap, time::Duration};

use envoy_types::pb::envoy::{
    config::{
        cluster::v3::{
            CircuitBreakers, Cluster, OutlierDetection,
            circuit_breakers::Thresholds,
            cluster::{
                ClusterDiscoveryType, CommonLbConfig, DiscoveryType, EdsClusterConfig, LbConfig, LbPolicy,
                LeastRequestLbConfig,
            },
        },
        core::v3::{Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions as CommonOptions},
        endpoint::v3::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier},
    },
    extensions::upstreams::http::v3::{
        HttpProtocolOptions,
        http_protocol_options::{ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig},
    },
    r#type::v3::Percent,
};
use prost::Message;
use tidegate_policy::snapshot::{Arm, Snapshot};
use tidegate_proto::contract::GATEWAY_IDLE_SECONDS;
use tidegate_xds::resources::ResourceSet;

use crate::{
    any::{ads, falsity, pack, span, u32v},
    listener::socket,
    settings::{GatewaySettings, Otlp},
    types::{CLUSTER, OTLP_CLUSTER},
};

/// Of each kind, per arm, unless a limit says less: a bound that protects Envoy's memory, not a policy.
const PLENTY: u32 = 100_000;
/// Key of the protocol options in a cluster.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

pub(crate) fn add(set: &mut ResourceSet, snapshot: &Snapshot, settings: &GatewaySettings) {
    for arm in snapshot.arms.values() {
        set.insert(CLUSTER, arm.cluster.clone(), arm_cluster(arm, settings).encode_to_vec());
    }
    if let Some(otlp) = &settings.otlp {
        set.insert(CLUSTER, OTLP_CLUSTER, otlp_cluster(otlp).encode_to_vec());
    }
}

fn arm_cluster(arm: &Arm, settings: &GatewaySettings) -> Cluster {
    Cluster {
        name: arm.cluster.clone(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: ads(), service_name: arm.cluster.clone() }),
        connect_timeout: span(Duration::from_secs(1)),
        per_connection_buffer_limit_bytes: u32v(settings.max_body_bytes),
        lb_policy: LbPolicy::LeastRequest.into(),
        lb_config: Some(LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
            choice_count: u32v(2),
            ..Default::default()
        })),
        common_lb_config: Some(CommonLbConfig {
            // Ejections are bounded below, so there is always a host; never spread over hosts known to be bad.
            healthy_panic_threshold: Some(Percent { value: 0.0 }),
            ..Default::default()
        }),
        circuit_breakers: Some(CircuitBreakers { thresholds: vec![thresholds(arm)], ..Default::default() }),
        outlier_detection: Some(outliers()),
        typed_extension_protocol_options: protocol(http1()),
        ignore_health_on_host_removal: true,
        ..Default::default()
    }
}

fn thresholds(arm: &Arm) -> Thresholds {
    Thresholds {
        max_connections: u32v(PLENTY),
        max_pending_requests: u32v(PLENTY),
        max_requests: u32v(arm.max_concurrency.unwrap_or(PLENTY)),
        max_retries: u32v(PLENTY),
        track_remaining: true,
        ..Default::default()
    }
}

/// Only what Envoy itself saw (no connection, reset, time-out) ejects; a worker's answer never does, as a draining worker says 503.
fn outliers() -> OutlierDetection {
    OutlierDetection {
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: u32v(3),
        enforcing_consecutive_local_origin_failure: u32v(100),
        enforcing_local_origin_success_rate: u32v(0),
        enforcing_consecutive_5xx: u32v(0),
        enforcing_consecutive_gateway_failure: u32v(0),
        enforcing_success_rate: u32v(0),
        interval: span(Duration::from_secs(1)),
        base_ejection_time: span(Duration::from_secs(1)),
        max_ejection_time: span(Duration::from_secs(5)),
        max_ejection_percent: u32v(50),
        always_eject_one_host: falsity(),
        ..Default::default()
    }
}

/// HTTP/1.1 to workers: a request has its connection to itself, so one that dies takes no other with it.
fn http1() -> ProtocolConfig {
    ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default())
}

fn protocol(config: ProtocolConfig) -> HashMap<String, envoy_types::pb::google::protobuf::Any> {
    let options = HttpProtocolOptions {
        common_http_protocol_options: Some(CommonOptions {
            idle_timeout: span(Duration::from_secs(GATEWAY_IDLE_SECONDS)),
            ..Default::default()
        }),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(config),
        })),
        ..Default::default()
    };
    HashMap::from([(HTTP_OPTIONS.to_owned(), pack(&options))])
}

fn otlp_cluster(otlp: &Otlp) -> Cluster {
    let endpoint = Endpoint { address: Some(socket(&otlp.host, otlp.port)), ..Default::default() };
    let host = LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..Default::default() };
    let fixed = otlp.host.parse::<std::net::IpAddr>().is_ok();
    let discovery = if fixed { DiscoveryType::Static } else { DiscoveryType::StrictDns };
    Cluster {
        name: OTLP_CLUSTER.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        connect_timeout: span(Duration::from_secs(1)),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: OTLP_CLUSTER.to_owned(),
            endpoints: vec![LocalityLbEndpoints { lb_endpoints: vec![host], ..Default::default() }],
            ..Default::default()
        }),
        typed_extension_protocol_options: protocol(ProtocolConfig::Http2ProtocolOptions(
            Http2ProtocolOptions::default(),
        )),
        // Traces must never keep a gateway from starting.
        wait_for_warm_on_init: falsity(),
        ..Default::default()
    }
}
