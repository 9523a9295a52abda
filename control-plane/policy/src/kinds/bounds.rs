//! What may stand in a field: how many, how large, of which form. The one place for `validate`, which refuses, and for the
//! schemas, which tell; a property test holds the two together. Numbers and patterns only. A pattern is read alike by ECMAScript,
//! Python, RE2 and Rust: no look-around, no classes with a backslash.
use std::{ops::RangeInclusive, sync::LazyLock};

use serde_json::{Value, json};
use tidegate_limiter::bucket::Quota;
pub use tidegate_limiter::matching::BUCKETS;

use crate::names::{GATEWAY_HEADERS, GATEWAY_PREFIXES, RESERVED_PREFIX};

/// Of a Model.
pub const MODEL_VERSIONS: usize = 32;
/// Of a version.
pub const FILES: usize = 64;
/// Largest file of a version.
pub const FILE_BYTES: u64 = 1 << 44;
/// Longest path of a file, and of a `uri` behind its scheme, in characters.
pub const PATH_LENGTH: usize = 255;
/// Most versions that a pool may ask for. A worker takes these and [`MAX_RETAINED`] more.
pub const MAX_DECLARED: usize = 16;
/// Most versions of one pool that are kept beside those until no route points at them.
pub const MAX_RETAINED: usize = 32;
pub const REPLICAS: u32 = 64;
pub const BATCH: u32 = 64;
pub const QUEUE: u32 = 10_000;
/// Of a RateLimitPolicy.
pub const TARGETS: usize = 16;
/// Of a RateLimitPolicy.
pub const LIMITS: usize = 32;
pub const CONCURRENCY: u64 = 1_000_000;
/// Of a limit.
pub const COUNTERS: usize = 4;
/// Of a rate and its burst.
pub const RATE: u64 = Quota::MAX_COUNT;
/// Of a ReleasePolicy.
pub const RULES: usize = 64;
/// More than one is not supported yet.
pub const STEPS: usize = 1;
/// Per cent.
pub const WEIGHT: u32 = 100;
/// Most conditions of one rule or limit.
pub const MATCHES: usize = 16;
/// Longest literal value or pattern, in characters.
pub const VALUE_LENGTH: usize = 1024;
pub const HEADER_LENGTH: usize = 128;
/// Most labels or annotations of an object.
pub const LABELS: usize = 64;
/// A prefix of 253, a slash, a name of 63.
pub const LABEL_KEY_LENGTH: usize = 253 + 1 + 63;
/// Largest revision that a document may name: 18 digits.
pub const MAX_REVISION: i64 = 999_999_999_999_999_999;

/// A duration in milliseconds, with the limits in words.
#[derive(Clone, Debug)]
pub struct Span {
    pub ms: RangeInclusive<u64>,
    pub words: &'static str,
}

/// Of a rate; the least is Envoy's shortest fill interval.
pub const WINDOW: Span = Span { ms: 50..=Quota::MAX_WINDOW_MS, words: "50ms and 24h" };
/// How long a batch may wait to fill.
pub const DELAY: Span = Span { ms: 0..=1_000, words: "0ms and 1s" };
/// Of an inference, and of a drain.
pub const TIMEOUT: Span = Span { ms: 1..=3_600_000, words: "1ms and 1h" };

/// RFC 1123 label.
pub const NAME: &str = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";
/// A version, and what stands in a label.
pub const LABEL_PART: &str = "^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
/// The value of a label, which may be empty.
pub const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$";
/// `[prefix/]name`.
pub const LABEL_KEY: &str = "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
/// Text without the character U+0000.
pub const NO_NUL: &str = r"^[^\x00]*$";
/// The revision that an edit is based on.
pub const RESOURCE_VERSION: &str = "^[0-9]{1,18}$";
pub const TENANT: &str = "^[-A-Za-z0-9_.@:/]{1,128}$";
/// `<namespace>/<name>`.
pub const NAMESPACED: &str = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";
pub const SALT: &str = "^[-A-Za-z0-9_./]{0,128}$";
/// RFC 9110 token.
pub const HEADER: &str = "^[-A-Za-z0-9!#$%&'*+.^_`|~]{1,128}$";
pub const TAG: &str = "^[-A-Za-z0-9]{1,63}$";
pub const DIGEST: &str = "^[0-9a-f]{64}$";
/// A value that a header can carry: no control characters, no blanks at an end.
const EXACT: &str = r"^([^\x00-\x20\x7f]([^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)?$";
/// The beginning of such a value.
const PREFIX: &str = r"^[^\x00-\x20\x7f][^\x00-\x08\x0a-\x1f\x7f]*$";
/// A range of versions; see `validate::semver`.
const SEMVER: &str = concat!(
    "^[=^~]?v?((0|[1-9][0-9]{0,5})([.](0|[1-9][0-9]{0,5})([.]([xX*]|0|[1-9][0-9]{0,5}))?|[.][xX*]([.][xX*])?)?",
    "|[xX*]([.][xX*]){0,2})$"
);

/// A part of a path: not empty, not `.` or `..`, no separator and no control character, nor one of `but`.
fn path_part(but: &str) -> String {
    let not = |more: &str| format!(r"[^{more}/\x5c\x00-\x1f\x7f-\x9f{but}]");
    let (dotless, any) = (not("."), not(""));
    format!("({dotless}{any}*|[.]{dotless}{any}*|[.][.]{any}+)")
}

/// A path relative to a directory.
pub static PATH: LazyLock<String> = LazyLock::new(|| format!("^{0}(/{0})*$", path_part("")));
/// `file:relative/dir` or `file:///absolute/dir`.
pub static URI: LazyLock<String> = LazyLock::new(|| format!("^file:(///)?{0}(/{0})*$", path_part("%?#")));

/// Longest `uri`: scheme, slashes and path.
pub const URI_LENGTH: usize = "file:///".len() + PATH_LENGTH;

/// One whole number and one unit within the span, and nothing else.
pub fn duration(span: &Span) -> String {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let unit = |(name, factor): (&str, u64)| {
        let (low, high) = (span.ms.start().div_ceil(factor), span.ms.end() / factor);
        (low <= high).then(|| format!("({}){name}", numbers(low, high)))
    };
    format!("^({})$", units.into_iter().filter_map(unit).collect::<Vec<_>>().join("|"))
}

/// The whole numbers of a range, without leading zeros: one branch for each run of digits that may be anything.
fn numbers(low: u64, high: u64) -> String {
    let mut branches = Vec::new();
    let mut from = low;
    while from <= high {
        // The largest block of numbers that begin with the same digits and stay in the range.
        let mut size = 1;
        while from > 0 && from.is_multiple_of(size * 10) && from + size * 10 - 1 <= high {
            size *= 10;
        }
        // As many such blocks as differ in their last fixed digit only.
        let digit = from / size % 10;
        let more = ((high + 1 - from) / size - 1).min(9 - digit);
        let (fixed, free) = (from / size / 10, size.ilog10());
        let head = if fixed > 0 { fixed.to_string() } else { String::new() };
        let last = if more == 0 { digit.to_string() } else { format!("[{digit}-{}]", digit + more) };
        let tail = if free == 0 { String::new() } else { format!("[0-9]{{{free}}}") };
        branches.push(format!("{head}{last}{tail}"));
        from += size * (more + 1);
    }
    branches.join("|")
}

/// A header that a policy may look at: not one that Tidegate or the gateway writes.
pub fn reserved_headers() -> Value {
    let any_case = |text: &str| -> String {
        let each =
            |c: char| if c.is_ascii_alphabetic() { format!("[{}{c}]", c.to_ascii_uppercase()) } else { c.to_string() };
        text.chars().map(each).collect()
    };
    let prefixes: Vec<_> = GATEWAY_PREFIXES.iter().chain([&RESERVED_PREFIX]).map(|p| any_case(p)).collect();
    let names: Vec<_> = GATEWAY_HEADERS.iter().map(|name| any_case(name)).collect();
    json!({"pattern": format!("^({}|({})$)", prefixes.join("|"), names.join("|"))})
}

/// What `value` may be depends on `type`.
pub fn header_value(schema: &mut schemars::Schema) {
    let case = |op: &str, value: Value, rest: Value| {
        json!({
            "if": {"properties": {"type": {"const": op}}},
            "then": {"required": ["value"], "properties": {"value": value}},
            "else": rest,
        })
    };
    let text = |key: &str, said: &str| json!({"type": "string", key: said, "maxLength": VALUE_LENGTH});
    let present = json!({"properties": {"value": {"type": "null"}}});
    let regex = case("Regex", text("format", "regex"), present);
    let semver = case("Semver", text("pattern", SEMVER), regex);
    let prefix = case("Prefix", text("pattern", PREFIX), semver);
    merge(schema, case("Exact", text("pattern", EXACT), prefix));
}

/// A limit limits something.
pub fn some_limit(schema: &mut schemars::Schema) {
    let given = |field: &str| json!({"required": [field], "properties": {field: {"not": {"type": "null"}}}});
    merge(schema, json!({"anyOf": [given("requests"), given("concurrency")]}));
}

/// Without a candidate nothing goes to it.
pub fn no_candidate(schema: &mut schemars::Schema) {
    let rules = json!({"items": {"properties": {"to": {"const": "Stable"}}}});
    let steps = json!({"items": {"properties": {"weight": {"maximum": 0}}}});
    merge(
        schema,
        json!({
            "if": {"properties": {"candidate": {"type": "null"}}},
            "then": {"properties": {"rules": rules, "steps": steps}},
        }),
    );
}

/// A chat version has a template, an embedding version has none.
pub fn template_of_task(schema: &mut schemars::Schema) {
    merge(
        schema,
        json!({
            "if": {"properties": {"task": {"const": "Chat"}}},
            "then": {"required": ["chatTemplate"], "properties": {"chatTemplate": {"type": "string"}}},
            "else": {"properties": {"chatTemplate": {"type": "null"}}},
        }),
    );
}

fn merge(schema: &mut schemars::Schema, more: Value) {
    if let (Some(all), Value::Object(more)) = (schema.as_object_mut(), more) {
        all.extend(more);
    }
}
