//! The one route configuration: every target's table, the list of models, and an answer for all that is none of these.
//! Routes know nothing of limits, so a route change never refills a bucket.
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, HeaderMatcher, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
    WeightedCluster,
    header_matcher::HeaderMatchSpecifier,
    route::Action,
    route_action::{
        ClusterSpecifier, HashPolicy,
        hash_policy::{Header, PolicySpecifier},
    },
    route_match::PathSpecifier,
    weighted_cluster::{ClusterWeight, RandomValueSpecifier},
};
use envoy_types::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;
use envoy_types::pb::google::protobuf::BoolValue;
use prost::Message;
use tidegate_policy::snapshot::{Snapshot, Target};
use tidegate_proto::contract::{
    AUTHORIZATION, HEADER_ARM, HEADER_GENERATION, HEADER_MODEL_VERSION, HEADER_RETRY, HEADER_RULE,
};
use tidegate_xds::resources::ResourceSet;

use crate::{
    any::{set_header, span, u32v},
    errors::{self, ClientError},
    filters::model,
    local_reply, matcher, models, retry,
    settings::GatewaySettings,
    table::{self, Destination, Leg, Row, exact, regex},
    types::{ROUTE, ROUTE_NAME},
};

/// The two paths that go to workers.
const INFERENCE: &str = "/v1/(chat/completions|embeddings)";
/// Envoy's own default; the list of models may be longer.
const LEAST_DIRECT_BODY: usize = 4_096;

pub(crate) fn add(set: &mut ResourceSet, snapshot: &Snapshot, settings: &GatewaySettings) {
    let (model_routes, largest) = models::routes(snapshot);
    let mut host = VirtualHost {
        name: "tidegate".to_owned(),
        domains: vec!["*".to_owned()],
        // The key has been checked and the model is in the body: a worker has no use for these.
        request_headers_to_remove: vec![AUTHORIZATION.to_owned(), model::HEADER.to_owned()],
        response_headers_to_remove: vec![HEADER_RETRY.to_owned()],
        retry_policy: Some(retry::policy()),
        ..Default::default()
    };
    if snapshot.targets.iter().any(table::needs_matcher) {
        host.matcher = Some(matcher::tree(branches(snapshot, settings), rest(model_routes)));
    } else {
        let targets = snapshot.targets.iter().flat_map(|t| target_routes(snapshot, t, settings));
        host.routes = targets.chain(rest(model_routes)).collect();
    }
    let config = RouteConfiguration {
        name: ROUTE_NAME.to_owned(),
        virtual_hosts: vec![host],
        max_direct_response_body_size_bytes: u32v(u32::try_from(largest.max(LEAST_DIRECT_BODY)).unwrap_or(u32::MAX)),
        ..Default::default()
    };
    set.insert(ROUTE, ROUTE_NAME, config.encode_to_vec());
}

/// A target without buckets: its rows in order, each a route.
fn target_routes(snapshot: &Snapshot, target: &Target, settings: &GatewaySettings) -> Vec<Route> {
    table::rows(snapshot, target)
        .iter()
        .filter_map(|row| {
            let mut route = row_route(row, settings);
            let matched = route.r#match.get_or_insert_default();
            matched.headers.push(model::matcher(Some(&target.model_id)));
            matched.headers.extend(table::header_matchers(row.conditions)?);
            Some(route)
        })
        .collect()
}

/// The same rows as branches of a tree. A target without buckets is one branch with all its routes: the last always matches.
fn branches<'a>(snapshot: &'a Snapshot, settings: &GatewaySettings) -> Vec<matcher::Branch<'a>> {
    let mut all = Vec::new();
    for target in &snapshot.targets {
        if !table::needs_matcher(target) {
            let mut routes = target_routes(snapshot, target, settings);
            routes.extend(fallbacks());
            all.push(matcher::Branch { model_id: &target.model_id, conditions: &[], routes });
            continue;
        }
        for row in table::rows(snapshot, target) {
            let mut routes = vec![row_route(&row, settings)];
            routes.extend(fallbacks());
            all.push(matcher::Branch { model_id: &target.model_id, conditions: row.conditions, routes });
        }
    }
    all
}

/// One row as a route that matches on path and method only.
fn row_route(row: &Row<'_>, settings: &GatewaySettings) -> Route {
    let mut route = Route {
        name: row.id.to_owned(),
        r#match: Some(method(path(INFERENCE), "POST")),
        response_headers_to_add: vec![
            set_header(HEADER_RULE, row.id),
            set_header(HEADER_GENERATION, row.owner_generation.to_string()),
        ],
        ..Default::default()
    };
    let specifier = match &row.to {
        Destination::Nowhere => return refuse_with(route, &errors::NO_VERSION),
        Destination::Arm(leg) => {
            route.request_headers_to_add = vec![set_header(HEADER_MODEL_VERSION, leg.version)];
            route.response_headers_to_add.push(set_header(HEADER_ARM, leg.label));
            ClusterSpecifier::Cluster(leg.cluster.to_owned())
        }
        Destination::Split { legs, .. } => ClusterSpecifier::WeightedClusters(weighted(legs)),
    };
    route.action = Some(Action::Route(RouteAction {
        cluster_specifier: Some(specifier),
        hash_policy: hash_policy(&row.to),
        timeout: span(settings.request_timeout),
        ..Default::default()
    }));
    route
}

fn weighted(legs: &[(Leg<'_>, u32)]) -> WeightedCluster {
    let clusters = legs
        .iter()
        .map(|(leg, weight)| ClusterWeight {
            name: leg.cluster.to_owned(),
            weight: u32v(*weight),
            request_headers_to_add: vec![set_header(HEADER_MODEL_VERSION, leg.version)],
            response_headers_to_add: vec![set_header(HEADER_ARM, leg.label)],
            ..Default::default()
        })
        .collect();
    WeightedCluster {
        clusters,
        random_value_specifier: Some(RandomValueSpecifier::UseHashPolicy(BoolValue { value: true })),
        ..Default::default()
    }
}

/// Bucket = xxh64(`salt:key`, 0) mod 10,000. The salt is put in front by a rewrite, so it lives in routes only.
fn hash_policy(to: &Destination<'_>) -> Vec<HashPolicy> {
    let Destination::Split { key_header, salt, .. } = to else { return Vec::new() };
    let rewrite = RegexMatchAndSubstitute {
        pattern: Some(regex(r"^(\C*)$")),
        substitution: format!(r"{}:\1", salt.replace('\\', r"\\")),
    };
    let header = Header { header_name: (*key_header).to_owned(), regex_rewrite: Some(rewrite) };
    vec![HashPolicy { policy_specifier: Some(PolicySpecifier::Header(header)), ..Default::default() }]
}

/// What is no target's: models, then refusals.
fn rest(model_routes: Vec<Route>) -> Vec<Route> {
    let mut unknown = refuse("model-not-found", method(path(INFERENCE), "POST"), &errors::MODEL_NOT_FOUND);
    unknown.r#match.get_or_insert_default().headers.push(model::matcher(None));
    let mut routes = model_routes;
    routes.push(refuse("model-not-found", method(path(r"/v1/models/\C*"), "GET"), &errors::MODEL_NOT_FOUND));
    routes.push(unknown);
    // Only if the reader of bodies itself fails: never as another method.
    routes.push(refuse("body-not-read", method(path(INFERENCE), "POST"), &errors::OTHER));
    routes.extend(fallbacks());
    routes
}

/// The end of every list of routes.
fn fallbacks() -> Vec<Route> {
    let known = path(r"/v1/(chat/completions|embeddings|models(/\C*)?)");
    vec![
        refuse("preflight", preflight(), &errors::ORIGIN_REFUSED),
        refuse("wrong-method", known, &errors::WRONG_METHOD),
        refuse("unknown-path", everything(), &errors::NO_SUCH_PATH),
    ]
}

pub(crate) fn everything() -> RouteMatch {
    RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".to_owned())), ..Default::default() }
}

/// A browser's question whether a page may call (Fetch §3.3.2); of origins that may, it is answered before it comes to a route.
pub(crate) fn preflight() -> RouteMatch {
    let mut matched = method(everything(), "OPTIONS");
    matched.headers.extend(["origin", "access-control-request-method"].map(|name| HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::PresentMatch(true)),
        ..Default::default()
    }));
    matched
}

pub(crate) fn path(pattern: &str) -> RouteMatch {
    RouteMatch { path_specifier: Some(PathSpecifier::SafeRegex(regex(pattern))), ..Default::default() }
}

/// A GET of exactly this path.
pub(crate) fn get(exactly: &str) -> RouteMatch {
    method(RouteMatch { path_specifier: Some(PathSpecifier::Path(exactly.to_owned())), ..Default::default() }, "GET")
}

pub(crate) fn method(mut matched: RouteMatch, name: &str) -> RouteMatch {
    matched.headers.push(HeaderMatcher {
        name: ":method".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(exact(name))),
        ..Default::default()
    });
    matched
}

pub(crate) fn refuse(name: &str, matched: RouteMatch, error: &ClientError) -> Route {
    refuse_with(Route { name: name.to_owned(), r#match: Some(matched), ..Default::default() }, error)
}

fn refuse_with(mut route: Route, error: &ClientError) -> Route {
    route.response_headers_to_add.extend(local_reply::retry_after(error));
    route.action = Some(Action::DirectResponse(direct((error.status, error.body()))));
    route
}

/// A route that Envoy answers itself, with JSON.
pub(crate) fn answer(name: &str, matched: RouteMatch, reply: (u32, String)) -> Route {
    Route {
        name: name.to_owned(),
        r#match: Some(matched),
        action: Some(Action::DirectResponse(direct(reply))),
        ..Default::default()
    }
}

fn direct((status, body): (u32, String)) -> DirectResponseAction {
    DirectResponseAction {
        status,
        body: Some(local_reply::inline(body)),
        body_format: Some(local_reply::json("%LOCAL_REPLY_BODY%".to_owned())),
    }
}
