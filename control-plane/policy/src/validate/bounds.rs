//! Small checks that several kinds share: lengths of lists, numbers, durations, unique names, version names.
use std::{collections::BTreeSet, ops::RangeInclusive};

use crate::{
    documents::{is_label_part, name_problem},
    kinds::bounds::Span,
    reject::{Code, Sink, quoted},
    units::duration_ms,
};

/// The number lies in the range, or a complaint here.
pub(super) fn number(value: u64, range: RangeInclusive<u64>, sink: &mut Sink) {
    if !range.contains(&value) {
        sink.reject(Code::OutOfRange, format!("{value} is not between {} and {}", range.start(), range.end()));
    }
}

/// The list's length lies in the range, or a complaint here.
pub(super) fn length(len: usize, range: RangeInclusive<usize>, sink: &mut Sink) {
    if len < *range.start() {
        sink.reject(Code::OutOfRange, format!("at least {} is needed", range.start()));
    } else if len > *range.end() {
        sink.reject(Code::TooMany, format!("{len} entries; at most {}", range.end()));
    }
}

/// A duration within its span, or a complaint here.
pub(super) fn duration(text: &str, span: &Span, sink: &mut Sink) {
    match duration_ms(text) {
        None => {
            let hint = other_spelling(text);
            sink.reject(Code::Duration, format!("{} is not a duration such as 2ms, 30s, 1m or 1h{hint}", quoted(text)));
        }
        Some(ms) if span.ms.contains(&ms) => {}
        Some(_) => sink.reject(Code::Duration, format!("{} is not between {}", quoted(text), span.words)),
    }
}

/// How a duration of several units, or of days, is written here.
fn other_spelling(text: &str) -> String {
    match tidegate_text::duration_ms(text) {
        Some(ms) => format!("; one whole number and one unit: write {}", tidegate_text::duration_text(ms)),
        None => String::new(),
    }
}

/// An RFC 1123 label, or a complaint here.
pub(super) fn name(text: &str, sink: &mut Sink) {
    if let Some(problem) = name_problem(text) {
        sink.reject(Code::Name, problem);
    }
}

/// What is wrong with the name of a version, if anything: it stands in Envoy's cluster names and in headers.
pub fn version_problem(text: &str) -> Option<String> {
    const RULE: &str = "ASCII letters, digits, `-`, `_` and `.`, a letter or digit at both ends, at most 63";
    (!is_label_part(text)).then(|| format!("{} is not a version name; version names are {RULE}", quoted(text)))
}

/// A version name, or a complaint here.
pub(super) fn version(text: &str, sink: &mut Sink) {
    if let Some(problem) = version_problem(text) {
        sink.reject(Code::Name, problem);
    }
}

/// What is wrong with the name of a tenant, if anything. Tenants stand in JWTs and headers.
pub fn tenant_problem(text: &str) -> Option<String> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@' | b':' | b'/');
    (text.is_empty() || text.len() > 128 || !text.bytes().all(ok))
        .then(|| format!("{} is not a tenant name: 1 to 128 ASCII letters, digits and `-_.@:/`", quoted(text)))
}

/// Complains at every entry that stood earlier in the list.
pub(super) fn unique<T: Ord + Clone>(items: &[T], describe: impl Fn(&T) -> String, sink: &mut Sink) {
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        if !seen.insert(item.clone()) {
            sink.index(i, |s| s.reject(Code::Duplicate, format!("{} stands twice", describe(item))));
        }
    }
}

/// As [`unique`], for one text field of every entry.
pub(super) fn unique_field<'a>(values: impl Iterator<Item = &'a str>, field: &str, sink: &mut Sink) {
    let mut seen = BTreeSet::new();
    for (i, value) in values.enumerate() {
        if !seen.insert(value) {
            sink.index(i, |s| s.at(field, |s| s.reject(Code::Duplicate, format!("{} stands twice", quoted(value)))));
        }
    }
}
