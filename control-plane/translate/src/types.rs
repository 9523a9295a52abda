//! Type URLs and names of what a gateway is served. Constants only.

/// LDS.
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// RDS.
pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// CDS.
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// EDS.
pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// ECDS.
pub const EXTENSION: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// The one listener of a gateway.
pub const LISTENER_NAME: &str = "tidegate.gateway";
/// The one route configuration of a gateway.
pub const ROUTE_NAME: &str = "tidegate.routes";
/// ECDS resource and filter name: who may call.
pub const API_KEYS: &str = "tidegate.api-keys";
/// ECDS resource and filter name: how often.
pub const LIMITS: &str = "tidegate.limits";
/// The cluster that receives traces, when there is one.
pub const OTLP_CLUSTER: &str = "tidegate.otlp";
