//! Small constructors for Envoy's wrapper messages. No knowledge of policies.
//! A message with a protobuf map of more than one entry has no stable encoding here: never build one.
use std::time::Duration;

use envoy_types::pb::{
    envoy::config::core::v3::{
        AggregatedConfigSource, ApiVersion, ConfigSource, HeaderValue, HeaderValueOption, TypedExtensionConfig,
        config_source::ConfigSourceSpecifier, header_value_option::HeaderAppendAction,
    },
    google::protobuf::{Any, BoolValue, Duration as ProtoDuration, UInt32Value},
};
use prost::{Message, Name};

pub(crate) fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

pub(crate) fn extension<M: Message + Name>(name: &str, message: &M) -> TypedExtensionConfig {
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(pack(message)) }
}

pub(crate) fn truth() -> Option<BoolValue> {
    Some(BoolValue { value: true })
}

pub(crate) fn falsity() -> Option<BoolValue> {
    Some(BoolValue { value: false })
}

pub(crate) fn u32v(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(crate) fn span(value: Duration) -> Option<ProtoDuration> {
    let seconds = i64::try_from(value.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(value.subsec_nanos()).unwrap_or(0);
    Some(ProtoDuration { seconds, nanos })
}

pub(crate) fn millis(value: u64) -> Option<ProtoDuration> {
    span(Duration::from_millis(value))
}

/// "Ask the stream that you have."
pub(crate) fn ads() -> Option<ConfigSource> {
    Some(ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    })
}

/// Sets a header, whatever was there.
pub(crate) fn set_header(name: &str, value: impl Into<String>) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value: value.into(), ..Default::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..Default::default()
    }
}
