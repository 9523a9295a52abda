//! Conditions: header names and values, patterns, tenants, buckets. What passes here, Envoy and `explain` read alike.
use std::collections::BTreeSet;

use tidegate_limiter::matching::{BUCKETS, Pattern, PatternError, ValueTest};

use super::{bounds, semver};
use crate::{
    kinds::{
        BucketMatch, HeaderMatch, Match, MatchType,
        bounds::{HEADER_LENGTH, VALUE_LENGTH},
    },
    names::{RESERVED_PREFIX, TAG_PREFIX, is_gateway_header},
    reject::{Code, Sink, quoted},
};

/// Every condition of a list, and that no header stands twice.
pub(super) fn check(matches: &[Match], sink: &mut Sink) {
    let mut headers = BTreeSet::new();
    let mut tenants = 0;
    let mut buckets = BTreeSet::new();
    for (i, condition) in matches.iter().enumerate() {
        sink.index(i, |s| match condition {
            Match::Header { header } => s.at("header", |s| {
                s.at("name", |s| header_name(&header.name, s));
                value(header, s);
                once(headers.insert(header.name.to_ascii_lowercase()), &header.name, s);
            }),
            Match::Tag { tag } => s.at("tag", |s| {
                s.at("name", |s| tag_name(&tag.name, s));
                value(tag, s);
                once(headers.insert(tag_header(&tag.name)), &tag_header(&tag.name), s);
            }),
            Match::Tenant { tenant } => s.at("tenant", |s| {
                s.at("name", |s| {
                    if let Some(problem) = bounds::tenant_problem(&tenant.name) {
                        s.reject(Code::Name, problem);
                    }
                });
                tenants += 1;
                if tenants > 1 {
                    s.reject(
                        Code::Duplicate,
                        "a request has one tenant; a second tenant condition can never hold with the first",
                    );
                }
            }),
            Match::Bucket { bucket } => s.at("bucket", |s| {
                self::bucket(bucket, s);
                if !buckets.insert((bucket.header.to_ascii_lowercase(), bucket.salt.clone())) {
                    s.reject(Code::Duplicate, "a second bucket condition with this header and salt; use one interval");
                }
            }),
        });
    }
}

fn once(first: bool, name: &str, sink: &mut Sink) {
    if !first {
        sink.at("name", |s| {
            s.reject(Code::Duplicate, format!("the header {} stands twice in one match", quoted(name)))
        });
    }
}

/// The request header of a tag.
pub(crate) fn tag_header(tag: &str) -> String {
    format!("{TAG_PREFIX}{}", tag.to_ascii_lowercase())
}

/// A header that a policy may look at: an RFC 9110 token that neither Tidegate nor the gateway writes.
pub(super) fn header_name(name: &str, sink: &mut Sink) {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > HEADER_LENGTH || !name.bytes().all(token) {
        let rule = "1 to 128 ASCII letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 token)";
        sink.reject(Code::HeaderName, format!("{} is not a header name: {rule}", quoted(name)));
    } else if lower.starts_with(RESERVED_PREFIX) {
        let message = format!("{} is reserved: {RESERVED_PREFIX}* of a client is removed at the gateway", quoted(name));
        sink.reject(Code::ReservedHeader, message);
    } else if is_gateway_header(&lower) {
        let message = format!(
            "{} is made, rewritten or joined by the gateway, so a policy cannot see what the client sent",
            quoted(name)
        );
        sink.reject(Code::ReservedHeader, message);
    }
}

fn tag_name(name: &str, sink: &mut Sink) {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if name.is_empty() || name.len() > 63 || !name.bytes().all(ok) {
        sink.reject(Code::HeaderName, format!("{} is not a tag: 1 to 63 ASCII letters, digits and `-`", quoted(name)));
    }
}

fn value(header: &HeaderMatch, sink: &mut Sink) {
    sink.at("value", |s| match (header.op, header.value.as_deref()) {
        (MatchType::Present, None) => {}
        (MatchType::Present, Some(_)) => s.reject(Code::Contradiction, "`Present` takes no value"),
        (op, None) => s.reject(Code::MissingField, format!("missing; `{op:?}` needs a value")),
        (MatchType::Exact, Some(text)) => literal(text, true, s),
        (MatchType::Prefix, Some("")) => {
            s.reject(Code::HeaderValue, "an empty prefix holds for every value; use `Present`")
        }
        (MatchType::Prefix, Some(text)) => literal(text, false, s),
        (MatchType::Regex, Some(text)) => pattern(Pattern::parse(text), s),
        (MatchType::Semver, Some(text)) => match semver::Range::parse(text) {
            // The pattern is of the language by its making; only its size can be too much.
            Ok(range) if Pattern::parse(&range.pattern()).is_err() => s.reject(Code::Semver, semver::too_long(text)),
            Ok(_) => {}
            Err(problem) => s.reject(Code::Semver, problem),
        },
    });
}

/// Text that a header can carry: no control characters, and no blanks at an end that a proxy would trim.
fn literal(text: &str, whole: bool, sink: &mut Sink) {
    let blank = |c: char| c == ' ' || c == '\t';
    let length = text.chars().count();
    if length > VALUE_LENGTH {
        sink.reject(Code::HeaderValue, format!("{length} characters; at most {VALUE_LENGTH}"));
    } else if let Some(c) = text.chars().find(|c| (*c < ' ' && *c != '\t') || *c == '\u{7f}') {
        sink.reject(
            Code::HeaderValue,
            format!("the control character U+{:04X} cannot stand in a header", u32::from(c)),
        );
    } else if text.starts_with(blank) || (whole && text.ends_with(blank)) {
        sink.reject(Code::HeaderValue, "blanks at an end are trimmed on the way, so this can never hold");
    }
}

fn pattern(parsed: Result<Pattern, PatternError>, sink: &mut Sink) {
    if let Err(error) = parsed {
        let code = if error.is_size() { Code::PatternSize } else { Code::Pattern };
        sink.reject(code, error.to_string());
    }
}

fn bucket(bucket: &BucketMatch, sink: &mut Sink) {
    sink.at("header", |s| header_name(&bucket.header, s));
    sink.at("salt", |s| salt(&bucket.salt, s));
    if bucket.to > BUCKETS {
        sink.at("to", |s| s.reject(Code::OutOfRange, format!("{} is more than {BUCKETS}", bucket.to)));
    }
    if bucket.from >= bucket.to {
        sink.at("from", |s| s.reject(Code::OutOfRange, format!("{} is not below `to` ({})", bucket.from, bucket.to)));
    }
}

/// A salt goes into a regex substitution at Envoy, so it is plain text.
pub(super) fn salt(text: &str, sink: &mut Sink) {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    if text.len() > 128 || !text.bytes().all(ok) {
        sink.reject(
            Code::OutOfRange,
            format!("{} is not a salt: at most 128 ASCII letters, digits and `-_./`", quoted(text)),
        );
    }
}

/// The seed of a bucket condition's hash.
pub(crate) fn salt_seed(salt: &str) -> u64 {
    tidegate_limiter::matching::seed(salt)
}

/// The test of a valid header match; `None` only for what validation refuses.
pub(crate) fn value_test(header: &HeaderMatch) -> Option<ValueTest> {
    let value = header.value.as_deref();
    match header.op {
        MatchType::Present => Some(ValueTest::Present),
        MatchType::Exact => value.map(|v| ValueTest::Exact(v.to_owned())),
        MatchType::Prefix => value.map(|v| ValueTest::Prefix(v.to_owned())),
        MatchType::Regex => ValueTest::regex(value?).ok(),
        MatchType::Semver => ValueTest::regex(&semver::Range::parse(value?).ok()?.pattern()).ok(),
    }
}
