//! The HTTP filters of a gateway, in order: from where, who, which model, how often, whereto. Their order is part of the contract with workers.
pub(crate) mod api_keys;
pub(crate) mod cors;
pub(crate) mod local_limits;
pub(crate) mod model;
pub(crate) mod tracing;

use envoy_types::pb::envoy::{
    config::core::v3::ExtensionConfigSource,
    extensions::filters::{
        http::router::v3::Router,
        network::http_connection_manager::v3::{HttpFilter, http_filter::ConfigType},
    },
};
use prost::{Message, Name};

use crate::{
    any::{ads, pack},
    settings::GatewaySettings,
    types::{API_KEYS, LIMITS},
};

/// All filters, first to last. What a filter answers passes those before it, so `cors` sees every answer.
pub(crate) fn chain(settings: &GatewaySettings) -> Vec<HttpFilter> {
    let cors = (!settings.cors_origins.is_empty()).then(|| fixed(cors::NAME, &cors::lua(&settings.cors_origins)));
    let all = [
        discovered(API_KEYS, &api_keys::type_url()),
        fixed("envoy.filters.http.lua", &model::lua()),
        discovered(LIMITS, &local_limits::type_url()),
        fixed("envoy.filters.http.router", &Router { suppress_envoy_headers: true, ..Default::default() }),
    ];
    cors.into_iter().chain(all).collect()
}

fn fixed<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(pack(config))), ..Default::default() }
}

/// A filter whose configuration comes by ECDS. Without a default: until it comes, the listener waits, and then refuses.
fn discovered(name: &str, type_url: &str) -> HttpFilter {
    let source =
        ExtensionConfigSource { config_source: ads(), type_urls: vec![type_url.to_owned()], ..Default::default() };
    HttpFilter { name: name.to_owned(), config_type: Some(ConfigType::ConfigDiscovery(source)), ..Default::default() }
}
