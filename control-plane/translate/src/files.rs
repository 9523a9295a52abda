//! The same resources for an Envoy that has no control plane: each `ads` source becomes a file, and endpoints move into their
//! cluster (an inotify instance per cluster would be too many). It changes where Envoy looks, never what it finds.
use std::path::Path;

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                Cluster,
                cluster::{ClusterDiscoveryType, DiscoveryType},
            },
            core::v3::{ApiVersion, ConfigSource, PathConfigSource, config_source::ConfigSourceSpecifier},
            endpoint::v3::ClusterLoadAssignment,
            listener::v3::{Listener, filter},
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, http_connection_manager::RouteSpecifier, http_filter,
        },
        service::discovery::v3::DiscoveryResponse,
    },
    google::protobuf::Any,
};
use prost::{DecodeError, Message};
use serde_json::json;
use tidegate_xds::resources::{Resource, ResourceSet};

use crate::{
    any::pack,
    types::{CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE},
};

/// Name and content of each file that stands for `set` under `dir`, in the order in which to write them.
///
/// # Errors
/// When a resource does not decode as its type.
pub fn files(set: &ResourceSet, dir: &Path) -> Result<Vec<(String, Vec<u8>)>, DecodeError> {
    let mut files = Vec::new();
    for url in [EXTENSION, ROUTE] {
        for (name, resource) in set.of_type(url).into_iter().flatten() {
            files.push((file_of(name), response(vec![any(url, resource.body.to_vec())])));
        }
    }
    let clusters = set.of_type(CLUSTER).into_iter().flatten().map(|(_, r)| cluster(r, set));
    files.push(("cds.pb".to_owned(), response(clusters.collect::<Result<_, _>>()?)));
    let listeners = set.of_type(LISTENER).into_iter().flatten().map(|(_, r)| listener(r, dir));
    files.push(("lds.pb".to_owned(), response(listeners.collect::<Result<_, _>>()?)));
    Ok(files)
}

/// A bootstrap (JSON) that reads those files.
pub fn file_bootstrap(dir: &Path, admin_socket: &Path) -> String {
    let path = |name: &str| json!({"path_config_source": {"path": dir.join(name)}, "resource_api_version": "V3"});
    let value = json!({
        "node": {"id": "files", "cluster": "files"},
        "admin": {"address": {"pipe": {"path": admin_socket, "mode": 0o600}}},
        "dynamic_resources": {"lds_config": path("lds.pb"), "cds_config": path("cds.pb")},
    });
    format!("{value:#}\n")
}

fn file_of(name: &str) -> String {
    format!("{name}.pb")
}

fn from_file(dir: &Path, name: &str) -> Option<ConfigSource> {
    let path = dir.join(file_of(name)).to_string_lossy().into_owned();
    let source = PathConfigSource { path, ..Default::default() };
    Some(ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::PathConfigSource(source)),
        ..Default::default()
    })
}

fn any(type_url: &str, value: Vec<u8>) -> Any {
    Any { type_url: type_url.to_owned(), value }
}

fn response(resources: Vec<Any>) -> Vec<u8> {
    DiscoveryResponse { version_info: "file".to_owned(), resources, ..Default::default() }.encode_to_vec()
}

fn cluster(resource: &Resource, set: &ResourceSet) -> Result<Any, DecodeError> {
    let mut cluster = Cluster::decode(resource.body.clone())?;
    if cluster.eds_cluster_config.take().is_some() {
        let endpoints = set.of_type(ENDPOINT).and_then(|all| all.get(&cluster.name));
        let endpoints = endpoints
            .map_or_else(|| Ok(ClusterLoadAssignment::default()), |e| ClusterLoadAssignment::decode(e.body.clone()))?;
        cluster.load_assignment = Some(ClusterLoadAssignment { cluster_name: cluster.name.clone(), ..endpoints });
        cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into()));
    }
    Ok(any(CLUSTER, cluster.encode_to_vec()))
}

fn listener(resource: &Resource, dir: &Path) -> Result<Any, DecodeError> {
    let mut listener = Listener::decode(resource.body.clone())?;
    for filter in listener.filter_chains.iter_mut().flat_map(|c| &mut c.filters) {
        let Some(filter::ConfigType::TypedConfig(config)) = &mut filter.config_type else { continue };
        let mut manager = HttpConnectionManager::decode(config.value.as_slice())?;
        if let Some(RouteSpecifier::Rds(rds)) = &mut manager.route_specifier {
            rds.config_source = from_file(dir, &rds.route_config_name);
        }
        for filter in &mut manager.http_filters {
            if let Some(http_filter::ConfigType::ConfigDiscovery(source)) = &mut filter.config_type {
                source.config_source = from_file(dir, &filter.name);
            }
        }
        *config = pack(&manager);
    }
    Ok(any(LISTENER, listener.encode_to_vec()))
}
