//! Who may call: `jwt_authn` with the public keys of the API keys that are good now, by ECDS. A key is revoked by leaving the set.
//! Only public keys are ever put here.
use std::collections::HashMap;

use envoy_types::pb::{
    envoy::extensions::filters::http::jwt_authn::v3::{
        JwtAuthentication, JwtCacheConfig, JwtClaimToHeader, JwtHeader, JwtProvider, JwtRequirement,
        JwtRequirementOrList, RequirementRule, jwt_provider::JwksSourceSpecifier, jwt_requirement::RequiresType,
        requirement_rule::RequirementType,
    },
    google::protobuf::Empty,
};
use prost::{Message, Name};
use tidegate_policy::snapshot::Snapshot;
use tidegate_proto::contract::{API_KEY_ISSUER, API_KEY_PREFIX, AUTHORIZATION, HEADER_TENANT};
use tidegate_xds::resources::ResourceSet;

use crate::{
    any::extension,
    local_reply::inline,
    route,
    settings::GatewaySettings,
    types::{API_KEYS, EXTENSION},
};

const PROVIDER: &str = "tidegate";
/// The scheme is case-insensitive (RFC 9110 §11.1) and Envoy's prefix is not, so these spellings of it are taken.
const SCHEMES: [&str; 3] = ["Bearer", "bearer", "BEARER"];
/// Keys whose signature was checked and is remembered; the memory ends with the next change of the key set.
const CACHED_KEYS: u32 = 1_000;
const MAX_KEY_BYTES: u32 = 4_096;

pub(crate) fn type_url() -> String {
    JwtAuthentication::type_url()
}

pub(crate) fn add(set: &mut ResourceSet, snapshot: &Snapshot, settings: &GatewaySettings) {
    let filter = extension(API_KEYS, &config(snapshot, settings.require_api_key));
    set.insert(EXTENSION, API_KEYS, filter.encode_to_vec());
}

fn config(snapshot: &Snapshot, required: bool) -> JwtAuthentication {
    // A browser sends no key with its question, and what comes back to one is never from a worker. No requirement: it passes.
    let preflight = RequirementRule { r#match: Some(route::preflight()), requirement_type: None };
    let rule = RequirementRule {
        r#match: Some(route::everything()),
        requirement_type: Some(RequirementType::Requires(requirement(required))),
    };
    JwtAuthentication {
        // One entry only: a map of more would have no stable encoding.
        providers: HashMap::from([(PROVIDER.to_owned(), provider(snapshot))]),
        rules: vec![preflight, rule],
        stat_prefix: "api_keys".to_owned(),
        ..Default::default()
    }
}

/// Not required: a request without a key passes. One with a key of another form passes this filter too and is refused by the
/// next ([`super::model::lua`]), so nobody who means to be somebody is taken for nobody.
fn requirement(required: bool) -> JwtRequirement {
    let key = JwtRequirement { requires_type: Some(RequiresType::ProviderName(PROVIDER.to_owned())) };
    if required {
        return key;
    }
    let missing = JwtRequirement { requires_type: Some(RequiresType::AllowMissing(Empty {})) };
    let any = JwtRequirementOrList { requirements: vec![key, missing] };
    JwtRequirement { requires_type: Some(RequiresType::RequiresAny(any)) }
}

fn provider(snapshot: &Snapshot) -> JwtProvider {
    JwtProvider {
        issuer: API_KEY_ISSUER.to_owned(),
        forward: false,
        from_headers: SCHEMES.map(credentials).to_vec(),
        claim_to_headers: vec![JwtClaimToHeader {
            header_name: HEADER_TENANT.to_owned(),
            claim_name: "sub".to_owned(),
            ..Default::default()
        }],
        clear_route_cache: true,
        clock_skew_seconds: 1,
        jwt_cache_config: Some(JwtCacheConfig { jwt_cache_size: CACHED_KEYS, jwt_max_token_size: MAX_KEY_BYTES }),
        jwks_source_specifier: Some(JwksSourceSpecifier::LocalJwks(inline(jwks(snapshot)))),
        ..Default::default()
    }
}

fn credentials(scheme: &str) -> JwtHeader {
    JwtHeader { name: AUTHORIZATION.to_owned(), value_prefix: format!("{scheme} {API_KEY_PREFIX}") }
}

/// A JWK Set (RFC 7517 §5), in order of key id. It always begins with a key that opens nothing, because Envoy refuses an empty
/// set, and then the last key of all could not be revoked.
fn jwks(snapshot: &Snapshot) -> String {
    let keys = snapshot.api_keys.values().map(|k| k.jwk.to_string());
    let keys: Vec<String> = std::iter::once(NOBODYS_KEY.to_owned()).chain(keys).collect();
    format!("{{\"keys\":[{}]}}", keys.join(","))
}

/// `x` is SHA-256 of "tidegate: nobody holds the private half of this key", so nobody can.
const NOBODYS_KEY: &str = concat!(
    r#"{"alg":"EdDSA","crv":"Ed25519","kid":"nobody","kty":"OKP","use":"sig","#,
    r#""x":"Hdt3icEigubVsZ1RDqf9MRRwT97CMdp89A_o6EDLtoU"}"#
);
