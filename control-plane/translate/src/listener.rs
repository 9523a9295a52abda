//! The one listener of a gateway and its HTTP connection manager. Nothing in it comes from a policy or a key, so no policy ever
//! drains a connection: keys and limits travel by ECDS, routes by RDS.
use envoy_types::pb::envoy::{
    config::{
        common::mutation_rules::v3::{
            HeaderMutation,
            header_mutation::{Action, RemoveOnMatch},
        },
        core::v3::{
            Address, Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions, SocketAddress,
            TypedExtensionConfig, address, socket_address::PortSpecifier,
        },
        listener::v3::{Filter, FilterChain, Listener, filter::ConfigType},
    },
    extensions::{
        filters::network::http_connection_manager::v3::{
            HttpConnectionManager, Rds,
            http_connection_manager::{CodecType, PathWithEscapedSlashesAction, RouteSpecifier},
        },
        http::early_header_mutation::header_mutation::v3::HeaderMutation as EarlyHeaderMutation,
    },
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};
use prost::Message;
use tidegate_proto::contract::RESERVED_PREFIX;
use tidegate_xds::resources::ResourceSet;

use crate::{
    any::{ads, extension, falsity, pack, span, truth, u32v},
    filters, local_reply,
    settings::GatewaySettings,
    types::{LISTENER, LISTENER_NAME, ROUTE_NAME},
};

/// All request headers together, KiB.
const MAX_HEADERS_KB: u32 = 60;
const MAX_HEADERS: u32 = 100;
/// Requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// Unread bytes of one HTTP/2 stream; 64 KiB is what Envoy's guide for edge proxies says.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for a whole connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

pub(crate) fn add(set: &mut ResourceSet, settings: &GatewaySettings) {
    let manager = Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&connection_manager(settings)))),
    };
    let listener = Listener {
        name: LISTENER_NAME.to_owned(),
        address: Some(listen(settings.listen)),
        // A port belongs to one gateway. With Envoy's default a second one on the same port gets half of its connections.
        enable_reuse_port: falsity(),
        per_connection_buffer_limit_bytes: u32v(settings.max_body_bytes),
        filter_chains: vec![FilterChain { filters: vec![manager], ..Default::default() }],
        ..Default::default()
    };
    set.insert(LISTENER, LISTENER_NAME, listener.encode_to_vec());
}

/// Where the gateway listens. `[::]` is every address of the machine, also those of IPv4, as for the admin API.
fn listen(at: std::net::SocketAddr) -> Address {
    let mut address = socket(&at.ip().to_string(), at.port());
    if let Some(address::Address::SocketAddress(socket)) = &mut address.address {
        socket.ipv4_compat = at.ip() == std::net::Ipv6Addr::UNSPECIFIED;
    }
    address
}

/// A TCP address.
pub(crate) fn socket(host: &str, port: u16) -> Address {
    let address = SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(u32::from(port))),
        ..Default::default()
    };
    Address { address: Some(address::Address::SocketAddress(address)) }
}

fn connection_manager(settings: &GatewaySettings) -> HttpConnectionManager {
    HttpConnectionManager {
        codec_type: CodecType::Auto.into(),
        stat_prefix: "gateway".to_owned(),
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: ads(),
            route_config_name: ROUTE_NAME.to_owned(),
        })),
        http_filters: filters::chain(settings),
        early_header_mutation_extensions: vec![strip_reserved()],
        // A header name with `_` stays what it is: workers read names byte for byte, so it cannot pass for one with `-`.
        common_http_protocol_options: Some(HttpProtocolOptions {
            idle_timeout: span(settings.idle_timeout),
            max_headers_count: u32v(MAX_HEADERS),
            ..Default::default()
        }),
        http_protocol_options: Some(Http1ProtocolOptions::default()),
        http2_protocol_options: Some(Http2ProtocolOptions {
            max_concurrent_streams: u32v(MAX_STREAMS),
            initial_stream_window_size: u32v(STREAM_WINDOW),
            initial_connection_window_size: u32v(CONNECTION_WINDOW),
            ..Default::default()
        }),
        max_request_headers_kb: u32v(MAX_HEADERS_KB),
        stream_idle_timeout: span(settings.stream_idle_timeout),
        request_headers_timeout: span(std::time::Duration::from_secs(15)),
        request_timeout: span(std::time::Duration::from_secs(60)),
        use_remote_address: truth(),
        normalize_path: truth(),
        merge_slashes: true,
        path_with_escaped_slashes_action: PathWithEscapedSlashesAction::KeepUnchanged.into(),
        generate_request_id: truth(),
        always_set_request_id_in_response: true,
        server_name: "tidegate".to_owned(),
        local_reply_config: Some(local_reply::config()),
        tracing: settings.otlp.as_ref().map(filters::tracing::config),
        add_user_agent: falsity(),
        ..Default::default()
    }
}

/// Before anything reads a header: what only the gateway may say, and Envoy's own control headers, are removed.
fn strip_reserved() -> TypedExtensionConfig {
    let remove = |prefix: &str| HeaderMutation {
        action: Some(Action::RemoveOnMatch(RemoveOnMatch {
            key_matcher: Some(StringMatcher {
                ignore_case: true,
                match_pattern: Some(MatchPattern::Prefix(prefix.to_owned())),
            }),
        })),
    };
    let mutation = EarlyHeaderMutation { mutations: vec![remove(RESERVED_PREFIX), remove("x-envoy-")] };
    extension("envoy.http.early_header_mutation.header_mutation", &mutation)
}
