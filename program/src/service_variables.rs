//! Variables that Kubernetes writes into every pod for each Service of its namespace. A Service may be called like our prefix, so
//! they are told from our settings by their form. Judges names and values, and reads nothing.

/// One sentence about all of them: each Service brings seven.
pub fn left_out(names: &[&str]) -> Option<String> {
    let (first, rest) = names.split_first()?;
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    Some(format!(
        "TG-1547 the variable {first}{more} left out: Kubernetes writes such names for a Service; `enableServiceLinks: false` in the pod's spec keeps them away"
    ))
}

/// `X_SERVICE_HOST`, `X_SERVICE_PORT`, `X_SERVICE_PORT_NAME`, `X_PORT`, `X_PORT_80_TCP`, `X_PORT_80_TCP_ADDR` …, with the kind of
/// value that Kubernetes gives each: a number in `X_PORT` was written by a person.
pub fn is_of_a_service(name: &str, value: &str) -> bool {
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

#[cfg(test)]
mod tests {
    //! Kubernetes' names and people's.
    use super::*;

    #[test]
    fn a_name_counts_only_with_the_kind_of_value_that_kubernetes_gives_it() {
        for (name, value, expected) in [
            ("A_SERVICE_HOST", "fd00::1", true),
            ("A_SERVICE_HOST", "a.example", false),
            ("A_SERVICE_PORT_HTTP", "80", true),
            ("A_PORT", "tcp://10.0.0.1:80", true),
            ("A_PORT", "80", false),
            ("A_PORT_53_UDP_PROTO", "udp", true),
            ("A_PORT_53_UDP_MODE", "udp", false),
        ] {
            assert_eq!(is_of_a_service(name, value), expected, "{name}={value}");
        }
        assert_eq!(left_out(&[]), None);
    }
}
