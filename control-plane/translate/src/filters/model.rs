//! Reads `model` out of a JSON body, so that unmodified OpenAI clients are routed. The value goes into dynamic metadata, never
//! into a header, so a client cannot set it otherwise.
use envoy_types::pb::envoy::{
    extensions::filters::http::json_to_metadata::v3::{
        JsonToMetadata,
        json_to_metadata::{KeyValuePair, MatchRules, Rule, Selector, ValueType, selector},
    },
    r#type::matcher::v3::{
        MetadataMatcher, StringMatcher, ValueMatcher,
        metadata_matcher::{PathSegment, path_segment::Segment},
        string_matcher::MatchPattern,
        value_matcher,
    },
};

/// Metadata namespace of the filter.
pub(crate) const NAMESPACE: &str = "envoy.filters.http.json_to_metadata";
/// Key under it.
pub(crate) const KEY: &str = "model";

pub(crate) fn config() -> JsonToMetadata {
    let rule = Rule {
        selectors: vec![Selector { selector: Some(selector::Selector::Key(KEY.to_owned())) }],
        on_present: Some(KeyValuePair {
            metadata_namespace: NAMESPACE.to_owned(),
            key: KEY.to_owned(),
            // As it is: a number stays a number and is no model.
            r#type: ValueType::ProtobufValue.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let rules = MatchRules {
        rules: vec![rule],
        allow_content_types_regex: Some(crate::table::regex(r"(?i)application/json[ \t]*(;\C*)?")),
        ..Default::default()
    };
    JsonToMetadata { request_rules: Some(rules), ..Default::default() }
}

/// Holds when the body's `model` is this string; `None`: any string.
pub(crate) fn matcher(model_id: Option<&str>) -> MetadataMatcher {
    MetadataMatcher {
        filter: NAMESPACE.to_owned(),
        path: vec![PathSegment { segment: Some(Segment::Key(KEY.to_owned())) }],
        value: Some(value(model_id)),
        ..Default::default()
    }
}

/// The value test of [`matcher`].
pub(crate) fn value(model_id: Option<&str>) -> ValueMatcher {
    let pattern = match model_id {
        Some(id) => MatchPattern::Exact(id.to_owned()),
        None => MatchPattern::SafeRegex(crate::table::regex(crate::table::ANY_BYTES)),
    };
    let string = StringMatcher { match_pattern: Some(pattern), ..Default::default() };
    ValueMatcher { match_pattern: Some(value_matcher::MatchPattern::StringMatch(string)) }
}
