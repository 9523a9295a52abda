//! Headers as the matchers see them: lower-case names, values without the blanks around them, and without what the gateway
//! removes before it looks.
use super::ExplainRequest;
use crate::names::RESERVED_PREFIX;

/// Most headers that `connection` may name at stock Envoy.
const MAX_NAMED: usize = 9;
/// Headers that `connection` may not name at stock Envoy, as pseudo-headers: who sends a request would hide where it is from.
const NEVER_NAMED: [&str; 3] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// What is left of a request's headers.
pub(super) struct Seen {
    /// In order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Why the gateway refuses the request and looks at nothing else.
    pub refused: Option<String>,
}

/// What is left of a request's headers; what is not as it was sent is noted.
pub(super) fn seen(request: &ExplainRequest, notes: &mut Vec<String>) -> Seen {
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
    if let Some(problem) = refused(&named) {
        notes.push(format!("the gateway answers 400 and looks at no rule: {problem}"));
        return Seen { headers: seen, refused: Some(problem) };
    }
    seen.retain(|(name, _)| {
        let kept = !named.iter().any(|named| named == name.as_bytes());
        if !kept {
            notes.push(format!("{name} is named in `connection` and removed at the gateway"));
        }
        kept
    });
    Seen { headers: seen, refused: None }
}

/// The headers that are for the next hop only (RFC 9110 §7.6.1), in lower case, as often as they are named. What is blank between
/// two commas counts, what is empty does not (Envoy: `Utility::sanitizeConnectionHeader`).
fn named_by_connection(headers: &[(String, Vec<u8>)]) -> Vec<Vec<u8>> {
    let values = headers.iter().filter(|(name, _)| name == "connection");
    let names = values.flat_map(|(_, value)| value.split(|b| *b == b',')).filter(|name| !name.is_empty());
    names.map(|name| trim(name).to_ascii_lowercase()).collect()
}

/// Why Envoy refuses what `connection` names, if it does.
fn refused(named: &[Vec<u8>]) -> Option<String> {
    if named.len() > MAX_NAMED {
        return Some(format!("`connection` names {} headers, and at most {MAX_NAMED} are allowed", named.len()));
    }
    let forbidden =
        |name: &&Vec<u8>| name.starts_with(b":") || NEVER_NAMED.iter().any(|never| never.as_bytes() == **name);
    let name = named.iter().find(forbidden)?;
    Some(format!("`connection` names {}, which it must not", String::from_utf8_lossy(name)))
}

/// Without spaces and tabs at both ends: optional white space of RFC 9110 §5.5.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
