//! The type URLs whose order matters, and which tier each belongs to. Nothing here knows what is inside a resource.

/// CDS.
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// EDS.
pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// LDS.
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// RDS.
pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// SRDS.
pub const SCOPED_ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration";
/// VHDS.
pub const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";
/// ECDS.
pub const EXTENSION: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
/// SDS.
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// The tiers of make-before-break (xds_protocol.rst, "Eventual consistency considerations").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Tier {
    /// CDS: additions first, removals last of all.
    Clusters,
    /// EDS: with the clusters, after them on the wire.
    Endpoints,
    /// LDS, SRDS, ECDS, RDS, VHDS: after clusters and endpoints were ACKed.
    Routing,
    /// Everything else (secrets, our own worker types): in no order with anything.
    Free,
}

/// Routing types in the order in which they are written to a stream.
pub const ROUTING_ORDER: [&str; 5] = [LISTENER, SCOPED_ROUTE, EXTENSION, ROUTE, VIRTUAL_HOST];

/// The tier of a type.
pub fn tier(type_url: &str) -> Tier {
    match type_url {
        CLUSTER => Tier::Clusters,
        ENDPOINT => Tier::Endpoints,
        other if ROUTING_ORDER.contains(&other) => Tier::Routing,
        _ => Tier::Free,
    }
}

/// In state-of-the-world, a response of these types is the whole state: what is absent was deleted.
pub fn is_full_state(type_url: &str) -> bool {
    matches!(type_url, CLUSTER | LISTENER)
}

/// Types that are only ever asked for by name: an empty first request means "nothing", not "everything".
pub fn is_by_name(type_url: &str) -> bool {
    matches!(type_url, ENDPOINT | ROUTE | VIRTUAL_HOST | EXTENSION | SECRET)
}
