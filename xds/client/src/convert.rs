//! Between the generated messages and the plain data of the client machine. No decision is made here.
use std::collections::HashMap;

use bytes::Bytes;
use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    },
    google::{
        protobuf::{Struct, Value, value},
        rpc,
    },
};
use tidegate_xds::{
    DeltaRequest,
    client::{DeltaResponse, Received},
};

use crate::config::Config;

/// gRPC INVALID_ARGUMENT, as Envoy uses it for a NACK.
const INVALID_ARGUMENT: i32 = 3;

pub(crate) fn node(config: &Config) -> Node {
    let text = |text: &String| Value { kind: Some(value::Kind::StringValue(text.clone())) };
    let fields: HashMap<_, _> = config.metadata.iter().map(|(key, value)| (key.clone(), text(value))).collect();
    Node {
        id: config.node_id.clone(),
        metadata: Some(Struct { fields }),
        user_agent_name: config.build.clone(),
        ..Node::default()
    }
}

pub(crate) fn request(request: DeltaRequest, node: Option<Node>) -> DeltaDiscoveryRequest {
    let status = |message| rpc::Status { code: INVALID_ARGUMENT, message, details: Vec::new() };
    DeltaDiscoveryRequest {
        node,
        type_url: request.type_url,
        resource_names_subscribe: request.subscribe,
        resource_names_unsubscribe: request.unsubscribe,
        initial_resource_versions: request.initial_versions.into_iter().collect(),
        response_nonce: request.nonce,
        error_detail: request.error.map(status),
        ..DeltaDiscoveryRequest::default()
    }
}

pub(crate) fn response(response: DeltaDiscoveryResponse) -> DeltaResponse {
    let received = response.resources.into_iter().map(|resource| Received {
        name: resource.name,
        version: resource.version,
        body: resource.resource.map(|any| Bytes::from(any.value)).unwrap_or_default(),
    });
    DeltaResponse {
        type_url: response.type_url,
        nonce: response.nonce,
        resources: received.collect(),
        removed: response.removed_resources,
    }
}
