//! The file that an Envoy process starts with: who it is, where its control plane is, and nothing that a policy says.
//! The node token is named by path, never copied into the text, so neither the file nor `/config_dump` holds it.
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What differs between gateways.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootstrapParams {
    /// Must equal the node id of the token.
    pub node_id: String,
    /// Name of the group in Envoy's own statistics.
    pub cluster: String,
    /// Host name or IP address of the control plane's gRPC port.
    pub control_plane_host: String,
    pub control_plane_port: u16,
    /// CA bundle (PEM) to check the control plane with. None: clear text, for loopback only.
    pub control_plane_ca: Option<PathBuf>,
    /// File that holds the node token (`tgn_…`) and nothing else; Envoy reads it at start.
    pub token_file: PathBuf,
    /// File with the secret resource ([`token_secret`]), which Envoy watches: a new one, moved into its place, takes effect without a
    /// restart. None: the token is read once.
    pub secret_file: Option<PathBuf>,
    /// Unix socket of the admin interface, made with mode 0600.
    pub admin_socket: PathBuf,
    /// Client connections at a time; one more is closed at once.
    pub max_connections: u32,
    /// Heap at which new requests are refused, bytes.
    pub max_heap_bytes: u64,
}

impl BootstrapParams {
    /// A gateway on the control plane's own host, with the default bounds.
    pub fn local(
        node_id: &str,
        control_plane: std::net::SocketAddr,
        token_file: PathBuf,
        admin_socket: PathBuf,
    ) -> Self {
        Self {
            node_id: node_id.to_owned(),
            cluster: "tidegate-gateway".to_owned(),
            control_plane_host: control_plane.ip().to_string(),
            control_plane_port: control_plane.port(),
            control_plane_ca: None,
            token_file,
            secret_file: None,
            admin_socket,
            max_connections: 10_000,
            max_heap_bytes: 2 << 30,
        }
    }
}

const CONTROL_PLANE: &str = "tidegate.control-plane";
const TOKEN: &str = "tidegate.node-token";
const TYPE: &str = "type.googleapis.com";
/// Between attempts to reach the control plane Envoy waits a random time below the first, doubled each time up to the longest.
/// Its own default grows to 30 s: so long a revoked key would go on working after an outage.
const FIRST_WAIT: &str = "0.2s";
const LONGEST_WAIT: &str = "1s";

/// JSON, which `envoy -c FILE.json` takes. Keys are sorted, so equal parameters give equal text.
pub fn bootstrap(params: &BootstrapParams) -> String {
    let value = json!({
        "node": {"id": params.node_id, "cluster": params.cluster},
        "admin": {"address": {"pipe": {"path": params.admin_socket, "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {
                    "cluster_name": CONTROL_PLANE,
                    "retry_policy": {"retry_back_off": {"base_interval": FIRST_WAIT, "max_interval": LONGEST_WAIT}},
                }}],
            },
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [control_plane(params)], "secrets": secrets(params)},
        "overload_manager": overload(params),
    });
    format!("{value:#}\n")
}

fn secrets(params: &BootstrapParams) -> Vec<Value> {
    if params.secret_file.is_some() { Vec::new() } else { vec![token(&params.token_file)] }
}

/// Read by Envoy from the file; shown in `/config_dump` as redacted.
fn token(file: &Path) -> Value {
    json!({"name": TOKEN, "generic_secret": {"secret": {"filename": file}}})
}

/// What a [`BootstrapParams::secret_file`] holds. Envoy takes it anew only when its text differs, so each token needs a file of
/// its own.
pub fn token_secret(token_file: &Path) -> String {
    let mut secret = token(token_file);
    secret["@type"] = json!(format!("{TYPE}/envoy.extensions.transport_sockets.tls.v3.Secret"));
    format!("{:#}\n", json!({"resources": [secret]}))
}

fn control_plane(params: &BootstrapParams) -> Value {
    let host = &params.control_plane_host;
    let address = json!({"socket_address": {"address": host, "port_value": params.control_plane_port}});
    let fixed = host.parse::<std::net::IpAddr>().is_ok();
    let mut cluster = json!({
        "name": CONTROL_PLANE,
        "type": if fixed { "STATIC" } else { "STRICT_DNS" },
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": CONTROL_PLANE,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": format!("{TYPE}/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": {"http2_protocol_options": {
                // A control plane that vanished without a word is noticed within 15 s.
                "connection_keepalive": {"interval": "10s", "timeout": "5s"},
            }},
            "http_filters": [credential(params), {
                "name": "envoy.filters.http.upstream_codec",
                "typed_config": {"@type": format!("{TYPE}/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")},
            }],
        }},
    });
    if let Some(ca) = &params.control_plane_ca {
        cluster["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": format!("{TYPE}/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
                "sni": host,
                "common_tls_context": {"validation_context": {
                    "trusted_ca": {"filename": ca},
                    "match_typed_subject_alt_names": [
                        {"san_type": if fixed { "IP_ADDRESS" } else { "DNS" }, "matcher": {"exact": host}},
                    ],
                }},
            },
        });
    }
    cluster
}

/// Puts `authorization: Bearer <token>` on the ADS stream.
fn credential(params: &BootstrapParams) -> Value {
    let mut secret = json!({"name": TOKEN});
    if let Some(path) = &params.secret_file {
        secret["sds_config"] = json!({"path_config_source": {"path": path}, "resource_api_version": "V3"});
    }
    json!({
        "name": "envoy.filters.http.credential_injector",
        "typed_config": {
            "@type": format!("{TYPE}/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector"),
            "overwrite": true,
            "credential": {
                "name": "envoy.http.injected_credentials.generic",
                "typed_config": {
                    "@type": format!("{TYPE}/envoy.extensions.http.injected_credentials.generic.v3.Generic"),
                    "credential": secret,
                    "header": "authorization",
                    "header_value_prefix": "Bearer ",
                },
            },
        },
    })
}

/// A gateway out of memory or connections refuses work; it does not die of it.
fn overload(params: &BootstrapParams) -> Value {
    let heap =
        |threshold: f64| json!([{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": threshold}}]);
    json!({
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {"name": "envoy.resource_monitors.fixed_heap", "typed_config": {
                "@type": format!("{TYPE}/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"),
                "max_heap_size_bytes": params.max_heap_bytes,
            }},
            {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": {
                "@type": format!("{TYPE}/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"),
                "max_active_downstream_connections": params.max_connections,
            }},
        ],
        "actions": [
            {"name": "envoy.overload_actions.shrink_heap", "triggers": heap(0.9)},
            {"name": "envoy.overload_actions.stop_accepting_requests", "triggers": heap(0.97)},
        ],
    })
}
