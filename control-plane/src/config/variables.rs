//! Which variables of the environment that begin with `TIDEGATE_` are ours, which are mistakes, and which were written by
//! Kubernetes: it gives every pod variables of each Service of the namespace, and a Service may be called `tidegate`.
use std::collections::BTreeMap;

use tidegate_program::service_variables::{is_of_a_service, left_out};

use super::{
    ConfigError,
    fields::{FIELDS, Field},
    layers::nearest,
};

/// Variables of this prefix that are no settings of `serve` or `up`.
const OTHERS: &[&str] = &[
    "TIDEGATE_CONFIG",
    "TIDEGATE_TOOLS",
    "TIDEGATE_SERVER",
    "TIDEGATE_TOKEN_FILE",
    "TIDEGATE_CA_FILE",
    "TIDEGATE_NAMESPACE",
];
/// Of programs that judge their own: the worker, and the tests.
const OTHER_PREFIXES: &[&str] = &["TIDEGATE_WORKER_", "TIDEGATE_TEST_"];

/// What is wrong with the names: mistakes, and sentences about what is left out.
pub fn judge(env: &BTreeMap<String, String>) -> (Vec<ConfigError>, Vec<String>) {
    let (mut mistakes, mut of_services) = (Vec::new(), Vec::new());
    for (name, value) in env {
        let known = !name.starts_with("TIDEGATE_")
            || OTHERS.contains(&name.as_str())
            || FIELDS.iter().any(|f| f.env() == *name);
        if known {
            continue;
        }
        if is_of_a_service(name, value) {
            of_services.push(name.as_str());
        } else if !OTHER_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            let names = FIELDS.iter().map(Field::env).chain(OTHERS.iter().map(|&name| name.to_owned()));
            mistakes.push(ConfigError::unknown(&format!("env {name}"), nearest(name, names)));
        }
    }
    (mistakes, left_out(&of_services).into_iter().collect())
}

#[cfg(test)]
mod tests {
    //! Kubernetes' names and people's.
    use super::*;

    #[test]
    fn the_variables_of_a_service_are_left_out_and_a_typing_mistake_is_not() {
        let of_services = [
            ("TIDEGATE_SERVICE_HOST", "10.0.0.1"),
            ("TIDEGATE_SERVICE_HOST", "fd00::1"),
            ("TIDEGATE_SERVICE_PORT", "9080"),
            ("TIDEGATE_SERVICE_PORT_HTTP_ADMIN", "9080"),
            ("TIDEGATE_PORT", "tcp://10.0.0.1:9080"),
            ("TIDEGATE_PORT", "tcp://[fd00::1]:1"),
            ("TIDEGATE_PORT_9080_TCP", "tcp://10.0.0.1:9080"),
            ("TIDEGATE_PORT_9080_TCP_PROTO", "tcp"),
            ("TIDEGATE_PORT_9080_TCP_PORT", "9080"),
            ("TIDEGATE_PORT_9080_TCP_ADDR", "10.0.0.1"),
            ("TIDEGATE_PORT_53_UDP", "udp://10.0.0.1:53"),
            ("TIDEGATE_PORT_1_SCTP_PROTO", "sctp"),
            ("TIDEGATE_GATEWAY_SERVICE_HOST", "10.0.0.2"),
            ("TIDEGATE_GATEWAY_PORT", "tcp://10.0.0.2:80"),
            ("TIDEGATE_WORKER_PORT", "tcp://10.0.0.3:80"),
            ("TIDEGATE_WORKER_SERVICE_PORT", "80"),
            ("TIDEGATE_TEST_SERVICE_HOST", "10.0.0.1"),
        ];
        for (name, value) in of_services {
            let (mistakes, told) = judge(&BTreeMap::from([(name.to_owned(), value.to_owned())]));
            assert!(
                mistakes.is_empty() && told.len() == 1 && told[0].contains(name),
                "{name}={value}: {mistakes:?} {told:?}"
            );
        }
        let of_people = [
            ("TIDEGATE_ADMIN_PORT", "9080"),
            ("TIDEGATE_PORT", "9080"),
            ("TIDEGATE_SERVICE_HOST", "tidegate.example"),
            ("TIDEGATE_SERVICE_PORT", "http"),
            ("TIDEGATE_PORT_9080", "x"),
            ("TIDEGATE_PORT_9080_TLS", "tcp://10.0.0.1:9080"),
            ("TIDEGATE_PORT_9080_TCP_MODE", "x"),
            ("TIDEGATE_MAX_WORKRES", "3"),
            ("TIDEGATE_NAMESAPCE", "a"),
            ("TIDEGATE_SERVICE_HOSTS", "10.0.0.1"),
        ];
        for (name, value) in of_people {
            let (mistakes, told) = judge(&BTreeMap::from([(name.to_owned(), value.to_owned())]));
            assert!(mistakes.len() == 1 && told.is_empty(), "{name}={value}: {mistakes:?} {told:?}");
        }
        let typed = judge(&BTreeMap::from([("TIDEGATE_NAMESAPCE".to_owned(), "a".to_owned())])).0;
        assert!(typed[0].message.contains("TIDEGATE_NAMESPACE"), "{typed:?}");
    }

    #[test]
    fn all_of_a_service_are_one_sentence() {
        let names = ["TIDEGATE_SERVICE_PORT", "TIDEGATE_ADMIN_SERVICE_PORT", "TIDEGATE_X_SERVICE_PORT"];
        let env = names.map(|name| (name.to_owned(), "1".to_owned()));
        let told = judge(&env.into()).1;
        assert!(told.len() == 1 && told[0].contains("TIDEGATE_ADMIN_SERVICE_PORT and 2 more"), "{told:?}");
    }
}
