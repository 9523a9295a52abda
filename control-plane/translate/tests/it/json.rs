//! Protobuf to JSON for goldens, by the .proto files that envoy-types carries and our own. Nothing here checks anything.
use std::{fs, path::PathBuf, sync::LazyLock};

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let envoy = envoy_protos();
    let mut includes: Vec<PathBuf> = fs::read_dir(&envoy).unwrap().map(|d| d.unwrap().path()).collect();
    includes.push(envoy.join("cel-spec/proto"));
    includes.push(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto")));
    DescriptorPool::from_file_descriptor_set(protox::compile(FILES, includes).unwrap()).unwrap()
});

/// Every file whose messages can stand in a golden; what they import comes along.
const FILES: &[&str] = &[
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/core/v3/extension.proto",
    "envoy/config/trace/v3/opentelemetry.proto",
    "envoy/extensions/access_loggers/filters/cel/v3/cel.proto",
    "envoy/extensions/filters/http/json_to_metadata/v3/json_to_metadata.proto",
    "envoy/extensions/filters/http/jwt_authn/v3/config.proto",
    "envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto",
    "envoy/extensions/filters/http/lua/v3/lua.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation.proto",
    "envoy/extensions/matching/input_matchers/consistent_hashing/v3/consistent_hashing.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/type/matcher/v3/http_inputs.proto",
    "tidegate/worker/v1/worker.proto",
];

/// The folder `proto` of the very envoy-types that cargo locked.
fn envoy_protos() -> PathBuf {
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
    let version = lock.split("name = \"envoy-types\"\nversion = \"").nth(1).unwrap().split('"').next().unwrap();
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo"));
    let registries = fs::read_dir(home.join("registry/src")).unwrap().map(|d| d.unwrap().path());
    let mut found = registries.map(|r| r.join(format!("envoy-types-{version}/proto"))).filter(|p| p.exists());
    found.next().unwrap()
}

/// The message as canonical JSON, `Any`s unpacked, keys sorted.
pub fn of(type_url: &str, body: &[u8]) -> Value {
    let name = type_url.strip_prefix("type.googleapis.com/").unwrap();
    let message = POOL.get_message_by_name(name).unwrap_or_else(|| panic!("{name} is in none of FILES"));
    let message = DynamicMessage::decode(message, body).unwrap();
    let options = SerializeOptions::new().use_proto_field_name(true);
    message.serialize_with_options(serde_json::value::Serializer, &options).unwrap()
}
