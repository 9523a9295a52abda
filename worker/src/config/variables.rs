//! Which variables of the environment that begin with `TIDEGATE_WORKER_` are mistakes, and which were written by Kubernetes for a
//! Service that is called so. Judges names and values, and reads nothing.
use std::collections::BTreeMap;

use super::{
    Problem,
    keys::{KEYS, env_name},
};

/// Not of the worker: the file of its configuration, and where `tidegate up` finds the worker.
const OTHERS: &[&str] = &["TIDEGATE_WORKER_CONFIG", "TIDEGATE_WORKER_BIN"];

/// What is wrong with the names: mistakes, and a sentence about what is left out.
pub fn judge(env: &BTreeMap<String, String>) -> (Vec<Problem>, Option<String>) {
    let known = |name: &str| OTHERS.contains(&name) || KEYS.iter().any(|key| env_name(key.name) == name);
    let ours = env.iter().filter(|(name, _)| name.starts_with("TIDEGATE_WORKER_") && !known(name));
    let (of_services, typed): (Vec<_>, Vec<_>) = ours.partition(|(name, value)| is_of_a_service(name, value));
    let mistake =
        |name: &str| Problem::new(&format!("env {name}"), "there is no such setting; see --help for all of them");
    let left_out = of_services.first().map(|(first, _)| {
        let more = of_services.len() - 1;
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!(
            "TG-1547 the variable {first}{more} left out: Kubernetes writes such names for a Service; `enableServiceLinks: false` in the pod's spec keeps them away"
        )
    });
    (typed.into_iter().map(|(name, _)| mistake(name)).collect(), left_out)
}

/// `X_SERVICE_HOST`, `X_SERVICE_PORT`, `X_SERVICE_PORT_NAME`, `X_PORT`, `X_PORT_80_TCP`, `X_PORT_80_TCP_ADDR` …, with the kind of
/// value that Kubernetes gives each: a number in `X_PORT` was written by a person.
fn is_of_a_service(name: &str, value: &str) -> bool {
    let number = |text: &str| text.parse::<u16>().is_ok();
    let url = |text: &str| ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme));
    if name.ends_with("_SERVICE_HOST") {
        return value.parse::<std::net::IpAddr>().is_ok();
    }
    if name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return number(value);
    }
    if name.ends_with("_PORT") && url(value) {
        return true;
    }
    let Some((_, tail)) = name.rsplit_once("_PORT_") else { return false };
    let mut parts = tail.split('_');
    let begins = parts.next().is_some_and(number) && parts.next().is_some_and(|p| ["TCP", "UDP", "SCTP"].contains(&p));
    begins
        && match (parts.next(), parts.next()) {
            (None, None) => url(value),
            (Some("PROTO"), None) => ["tcp", "udp", "sctp"].contains(&value),
            (Some("PORT"), None) => number(value),
            (Some("ADDR"), None) => value.parse::<std::net::IpAddr>().is_ok(),
            (Some(_), _) | (None, Some(_)) => false,
        }
}
