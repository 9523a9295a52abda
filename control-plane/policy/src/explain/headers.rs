//! Headers as the matchers see them: lower-case names, values without the blanks around them, and without what the gateway
//! removes before it looks.
use std::collections::BTreeSet;

use super::ExplainRequest;
use crate::names::RESERVED_PREFIX;

/// What is left of a request's headers, in order; what is not as it was sent is noted.
pub(super) fn seen(request: &ExplainRequest, notes: &mut Vec<String>) -> Vec<(String, Vec<u8>)> {
    let mut seen = Vec::new();
    for header in &request.headers {
        let name = header.name.to_ascii_lowercase();
        if name.starts_with(RESERVED_PREFIX) {
            notes.push(format!("{name} is removed at the gateway"));
            continue;
        }
        match header.bytes() {
            Ok(value) => {
                let trimmed = trim(&value);
                if trimmed.len() < value.len() {
                    notes.push(format!("the blanks around the value of {name} are removed on the way"));
                }
                seen.push((name, trimmed.to_vec()));
            }
            Err(problem) => notes.push(format!("{name} is left out: {problem}")),
        }
    }
    let named = named_by_connection(&seen);
    seen.retain(|(name, _)| {
        let kept = !named.contains(name.as_bytes());
        if !kept {
            notes.push(format!("{name} is named in `connection` and removed at the gateway"));
        }
        kept
    });
    seen
}

/// The headers that are for the next hop only (RFC 9110 §7.6.1), in lower case.
fn named_by_connection(headers: &[(String, Vec<u8>)]) -> BTreeSet<Vec<u8>> {
    let values = headers.iter().filter(|(name, _)| name == "connection");
    values.flat_map(|(_, value)| value.split(|b| *b == b',')).map(|name| trim(name).to_ascii_lowercase()).collect()
}

/// Without spaces and tabs at both ends: optional white space of RFC 9110 §5.5.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
