//! Spans from the gateway. W3C trace context goes on to the worker, so one trace id covers both.
use envoy_types::pb::envoy::{
    config::{
        core::v3::{
            GrpcService,
            grpc_service::{EnvoyGrpc, TargetSpecifier},
        },
        trace::v3::{
            OpenTelemetryConfig,
            tracing::{Http, http::ConfigType},
        },
    },
    extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing,
    r#type::v3::Percent,
};

use crate::{
    any::{pack, span, truth},
    settings::Otlp,
    types::OTLP_CLUSTER,
};

pub(crate) fn config(otlp: &Otlp) -> Tracing {
    let service = GrpcService {
        timeout: span(std::time::Duration::from_secs(1)),
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: OTLP_CLUSTER.to_owned(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let tracer = OpenTelemetryConfig {
        grpc_service: Some(service),
        service_name: "tidegate-gateway".to_owned(),
        ..Default::default()
    };
    let percent = |value: u8| Some(Percent { value: f64::from(value) });
    Tracing {
        random_sampling: percent(otlp.sample_percent),
        overall_sampling: percent(100),
        client_sampling: percent(100),
        spawn_upstream_span: truth(),
        provider: Some(Http {
            name: "envoy.tracers.opentelemetry".to_owned(),
            config_type: Some(ConfigType::TypedConfig(pack(&tracer))),
        }),
        ..Default::default()
    }
}
