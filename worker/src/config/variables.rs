//! Which variables of the environment that begin with `TIDEGATE_WORKER_` are mistakes, and which were written by Kubernetes for a
//! Service that is called so. Judges names and values, and reads nothing.
use std::collections::BTreeMap;

use tidegate_program::service_variables::{is_of_a_service, left_out};

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
    let names: Vec<&str> = of_services.iter().map(|(name, _)| name.as_str()).collect();
    (typed.into_iter().map(|(name, _)| mistake(name)).collect(), left_out(&names))
}
