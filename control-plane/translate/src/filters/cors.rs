//! Which web pages may call (CORS). A browser asks before it sends JSON or a key to another origin, and it sends no key then, so
//! this filter comes before the one that wants a key. It decides nothing about who calls.
//!
//! Envoy's own `cors` filter passes over every route that Envoy answers itself (`/v1/models`, refusals, and any request whose model
//! is not known yet), so a page could read no error. Hence [`SCRIPT`].
use envoy_types::pb::envoy::extensions::filters::http::lua::v3::Lua;
use tidegate_proto::contract::{HEADER_ARM, HEADER_GENERATION, HEADER_MODEL_VERSION, HEADER_REQUEST_ID, HEADER_RULE};

use crate::{local_reply::inline, settings::CorsOrigin};

/// The name of the filter.
pub(crate) const NAME: &str = "tidegate.cors";

/// `*` is every header but Authorization, which a page may send only where it is named (Fetch §3.3.5).
const REQUEST_HEADERS: &str = "authorization, *";
/// How long a browser may remember the answer, seconds; browsers remember for two hours at most.
const MAX_AGE: &str = "7200";

const SCRIPT: &str = include_str!("cors.lua");

/// Origins are of letters, digits and `-_.:+[]/` only ([`CorsOrigin`]), so they stand in quotes as they are.
pub(crate) fn lua(origins: &[CorsOrigin]) -> Lua {
    let (mut any, mut exactly, mut under) = (false, Vec::new(), Vec::new());
    for origin in origins {
        match origin {
            CorsOrigin::Any => any = true,
            CorsOrigin::Exactly(origin) => exactly.push(format!("[\"{origin}\"] = true")),
            CorsOrigin::Under { scheme, domain } => under.push(format!("{{\"{scheme}://\", \".{domain}\"}}")),
        }
    }
    let exposed = [
        HEADER_REQUEST_ID,
        HEADER_MODEL_VERSION,
        HEADER_ARM,
        HEADER_RULE,
        HEADER_GENERATION,
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
        "server-timing",
    ];
    let source = SCRIPT
        .replace("ANY_ORIGIN", if any { "true" } else { "false" })
        .replace("EXACT_ORIGINS", &exactly.join(", "))
        .replace("ORIGIN_PATTERNS", &under.join(", "))
        .replace("REQUEST_HEADERS", REQUEST_HEADERS)
        .replace("EXPOSED_HEADERS", &exposed.join(", "))
        .replace("MAX_AGE", MAX_AGE);
    Lua { default_source_code: Some(inline(source)), ..Default::default() }
}
