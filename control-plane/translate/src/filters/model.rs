//! Reads `model` out of a JSON body, so that unmodified OpenAI clients are routed. The header that carries it is under the prefix
//! that is stripped from every client, so a client cannot set it otherwise.
use envoy_types::pb::envoy::{
    config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier},
    extensions::filters::http::{
        json_to_metadata::v3::{
            JsonToMetadata,
            json_to_metadata::{KeyValuePair, MatchRules, Rule, Selector, ValueType, selector},
        },
        lua::v3::Lua,
    },
};

use tidegate_proto::contract::AUTHORIZATION;

use crate::{local_reply::inline, table};

/// Request header inside the gateway: the body's `model`. Removed before the request leaves.
pub(crate) const HEADER: &str = "x-tidegate-model";

/// Metadata namespace of the filter.
const NAMESPACE: &str = "envoy.filters.http.json_to_metadata";
/// Key under it.
const KEY: &str = "model";

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
        allow_content_types_regex: Some(table::regex(r"(?i)application/json[ \t]*(;\C*)?")),
        ..Default::default()
    };
    JsonToMetadata { request_rules: Some(rules), ..Default::default() }
}

/// Three things that no configuration of stock filters does.
///
/// A key that was good is gone by now, so credentials that are left are none that this gateway knows: 401, also where no key is
/// required.
///
/// A header that stands several times is joined by `,` into one (RFC 9110 §5.3 says that this changes nothing). Otherwise Envoy's
/// routes would test each value alone, its matcher trees all of them joined, its hash policy all of them sorted and its limits
/// the first.
///
/// The model is copied into a header, because a matcher tree reads headers only, and the route is picked again. Text that
/// cannot be a model id (a line end in it would forge headers) becomes `?`, which no model is called.
pub(crate) fn lua() -> Lua {
    Lua {
        default_source_code: Some(inline(SCRIPT.replace("HEADER", HEADER).replace("AUTHORIZATION", AUTHORIZATION))),
        ..Default::default()
    }
}

const SCRIPT: &str = r#"function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get("AUTHORIZATION") then
    handle:respond({[":status"] = "401"}, "")
    return
  end
  local seen, twice = {}, nil
  for name, value in pairs(headers) do
    local first = seen[name]
    if first == nil then
      seen[name] = value
    elseif name ~= "cookie" then
      seen[name] = first .. "," .. value
      twice = twice or {}
      twice[name] = true
    end
  end
  for name in pairs(twice or {}) do
    headers:remove(name)
    headers:add(name, seen[name])
  end
  local found = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.json_to_metadata")
  local model = found and found["model"]
  if type(model) == "string" then
    if #model > 512 or not model:match("^[%w%.%-_/]+$") then model = "?" end
    headers:replace("HEADER", model)
  end
  handle:clearRouteCache()
end
"#;

/// The body's `model` is this; `None`: is any text.
pub(crate) fn matcher(model_id: Option<&str>) -> HeaderMatcher {
    let specifier = match model_id {
        Some(id) => HeaderMatchSpecifier::StringMatch(table::exact(id)),
        None => HeaderMatchSpecifier::PresentMatch(true),
    };
    HeaderMatcher { name: HEADER.to_owned(), header_match_specifier: Some(specifier), ..Default::default() }
}
