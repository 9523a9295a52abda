//! The gateway's own filter ([`SCRIPT`]): reads bodies, so that unmodified OpenAI clients are routed by the `model` in them. The header
//! that carries it is under the prefix that is stripped from every client, so a client cannot set it otherwise.
use envoy_types::pb::envoy::{
    config::route::v3::{HeaderMatcher, header_matcher::HeaderMatchSpecifier},
    extensions::filters::http::lua::v3::Lua,
};

use tidegate_proto::contract::AUTHORIZATION;

use crate::{local_reply::inline, table};

/// Request header inside the gateway: the body's `model`. Removed before the request leaves.
pub(crate) const HEADER: &str = "x-tidegate-model";

/// Three things that no configuration of stock filters does.
///
/// A key that was good is gone by now, so credentials that are left are none that this gateway knows: 401, also where no key is
/// required.
///
/// A header that stands several times is joined by `,` into one (RFC 9110 §5.3 says that this changes nothing). Otherwise Envoy's
/// routes would test each value alone, its matcher trees all of them joined, its hash policy all of them sorted and its limits
/// the first.
///
/// The body is read by the worker's rules (`docs/adr`: one reading at both doors). The model is copied into a header, because a
/// matcher tree reads headers only, and the route is picked again. Text that cannot be a model id (a line end in it would forge
/// headers) becomes `?`, which no model is called.
pub(crate) fn lua() -> Lua {
    Lua {
        default_source_code: Some(inline(SCRIPT.replace("HEADER", HEADER).replace("AUTHORIZATION", AUTHORIZATION))),
        ..Default::default()
    }
}

const SCRIPT: &str = include_str!("body.lua");

/// The body's `model` is this; `None`: is any text.
pub(crate) fn matcher(model_id: Option<&str>) -> HeaderMatcher {
    let specifier = match model_id {
        Some(id) => HeaderMatchSpecifier::StringMatch(table::exact(id)),
        None => HeaderMatchSpecifier::PresentMatch(true),
    };
    HeaderMatcher { name: HEADER.to_owned(), header_match_specifier: Some(specifier), ..Default::default() }
}
