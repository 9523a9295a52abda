//! The bootstrap: what it must hold and what it must never hold.
use serde_json::Value;
use tidegate_translate::{BootstrapParams, bootstrap};

fn params() -> BootstrapParams {
    BootstrapParams::local("gw-1", "127.0.0.1:18000".parse().unwrap(), "/data/token".into(), "/data/admin.sock".into())
}

#[test]
fn it_names_the_token_by_file_and_the_admin_by_socket() {
    let value: Value = serde_json::from_str(&bootstrap(&params())).unwrap();
    assert_eq!(value["static_resources"]["secrets"][0]["generic_secret"]["secret"]["filename"], "/data/token");
    assert_eq!(value["admin"]["address"]["pipe"]["path"], "/data/admin.sock");
    assert_eq!(value["admin"]["address"]["pipe"]["mode"], 0o600);
    assert_eq!(value["node"]["id"], "gw-1");
    assert_eq!(value["dynamic_resources"]["ads_config"]["api_type"], "DELTA_GRPC");
    assert!(value["stats_sinks"].is_null());
}

#[test]
fn after_an_outage_the_control_plane_is_tried_at_least_once_a_second() {
    let value: Value = serde_json::from_str(&bootstrap(&params())).unwrap();
    let service = &value["dynamic_resources"]["ads_config"]["grpc_services"][0]["envoy_grpc"];
    let wait = &service["retry_policy"]["retry_back_off"];
    assert_eq!((&wait["base_interval"], &wait["max_interval"]), (&"0.2s".into(), &"1s".into()));
}

#[test]
fn with_a_ca_the_control_plane_is_checked_by_name() {
    let tls = BootstrapParams {
        control_plane_host: "control.example".to_owned(),
        control_plane_ca: Some("/data/ca.pem".into()),
        ..params()
    };
    let value: Value = serde_json::from_str(&bootstrap(&tls)).unwrap();
    let cluster = &value["static_resources"]["clusters"][0];
    assert_eq!(cluster["type"], "STRICT_DNS");
    let context = &cluster["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"];
    assert_eq!(context["trusted_ca"]["filename"], "/data/ca.pem");
    assert_eq!(context["match_typed_subject_alt_names"][0]["matcher"]["exact"], "control.example");
}
