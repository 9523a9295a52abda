//! The outside of a document: apiVersion, kind, metadata. Names are RFC 1123 labels because they become DNS names, file
//! names and Envoy cluster names.
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Document, Draft, shape::Shape, suggest::did_you_mean};
use crate::{
    kinds::{
        API_VERSION, Kind,
        bounds::{LABELS, MAX_REVISION},
    },
    ports::ObjectKey,
    reject::{Code, Sink, quoted},
    snapshot::ObjectRef,
};

const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
const META_FIELDS: [&str; 10] = [
    "name",
    "namespace",
    "labels",
    "annotations",
    "resourceVersion",
    "uid",
    "generation",
    "creationTimestamp",
    "managedBy",
    "managedFields",
];

/// Most bytes of all annotations together.
const MAX_ANNOTATION_BYTES: usize = 64 * 1024;

/// Checks one document from outside to inside.
pub(super) fn open(index: usize, value: &Value, namespace: &str) -> Draft {
    let mut sink = Sink::default();
    let (document, stand_ins) = match value {
        Value::Object(map) => document((index, namespace), map, &mut sink),
        other => {
            sink.reject(
                Code::WrongType,
                format!("expected a document (an object), found {}", super::shape::describe(other)),
            );
            (None, Vec::new())
        }
    };
    Draft { document, found: sink.into_found(Some(index)), stand_ins }
}

fn document(
    (index, namespace): (usize, &str),
    map: &Map<String, Value>,
    sink: &mut Sink,
) -> (Option<Document>, Vec<String>) {
    unknown_fields(map, &FIELDS, sink);
    sink.at("apiVersion", |s| match map.get("apiVersion") {
        None => s.reject(Code::MissingField, format!("missing; expected \"{API_VERSION}\"")),
        Some(Value::String(v)) if v == API_VERSION => {}
        Some(Value::String(v)) => {
            s.reject(Code::ApiVersion, format!("{} is not known; expected \"{API_VERSION}\"", quoted(v)))
        }
        Some(other) => s.reject(Code::WrongType, format!("expected a string, found {}", super::shape::describe(other))),
    });
    let kind = sink.at("kind", |s| kind(map.get("kind"), s));
    let meta = sink.at("metadata", |s| metadata(map.get("metadata"), namespace, s));
    let Some(kind) = kind else { return (None, Vec::new()) };
    let mut shape = Shape::default();
    let spec = sink.at("spec", |s| match map.get("spec") {
        Some(spec) => shape.check_spec(kind, spec, s),
        None => shape.missing_spec(kind, s),
    });
    let key = ObjectKey { kind, object: ObjectRef { namespace: meta.namespace, name: meta.name } };
    let document = Document {
        index,
        key,
        labels: meta.labels,
        annotations: meta.annotations,
        resource_version: meta.resource_version,
        spec,
    };
    (Some(document), shape.stand_ins)
}

fn kind(value: Option<&Value>, sink: &mut Sink) -> Option<Kind> {
    let known = || Kind::ALL.into_iter().map(Kind::name);
    match value {
        None => sink.reject(Code::MissingField, format!("missing; known: {}", known().collect::<Vec<_>>().join(", "))),
        Some(Value::String(text)) => match Kind::ALL.into_iter().find(|k| k.name() == text) {
            Some(kind) => return Some(kind),
            None => {
                sink.reject(Code::UnknownKind, format!("{} is not a kind{}", quoted(text), did_you_mean(text, known())))
            }
        },
        Some(other) => {
            sink.reject(Code::WrongType, format!("expected a string, found {}", super::shape::describe(other)))
        }
    }
    None
}

pub(super) fn unknown_fields(map: &Map<String, Value>, known: &[&str], sink: &mut Sink) {
    for field in map.keys().filter(|f| !known.contains(&f.as_str())) {
        let hint = did_you_mean(field, known.iter().copied());
        sink.at(field, |s| s.reject(Code::UnknownField, format!("unknown field{hint}")));
    }
}

#[derive(Default)]
struct Metadata {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    resource_version: Option<i64>,
}

fn metadata(value: Option<&Value>, namespace: &str, sink: &mut Sink) -> Metadata {
    let mut meta = Metadata { namespace: namespace.to_owned(), ..Metadata::default() };
    let map = match value {
        Some(Value::Object(map)) => map,
        Some(other) => {
            sink.reject(Code::WrongType, format!("expected an object, found {}", super::shape::describe(other)));
            return meta;
        }
        None => {
            sink.reject(Code::MissingField, "missing; it holds at least `name`");
            return meta;
        }
    };
    unknown_fields(map, &META_FIELDS, sink);
    if let Some(name) = sink.at("name", |s| name(map.get("name"), s)) {
        meta.name = name;
    }
    if map.get("namespace").is_some_and(|v| !v.is_null()) {
        if let Some(namespace) = sink.at("namespace", |s| name(map.get("namespace"), s)) {
            meta.namespace = namespace;
        }
    } else if let Some(problem) = name_problem(namespace) {
        sink.at("namespace", |s| s.reject(Code::Name, problem));
    }
    meta.labels = sink.at("labels", |s| texts(map.get("labels"), Some(63), s));
    meta.annotations = sink.at("annotations", |s| texts(map.get("annotations"), None, s));
    meta.resource_version = sink.at("resourceVersion", |s| resource_version(map.get("resourceVersion"), s));
    meta
}

fn name(value: Option<&Value>, sink: &mut Sink) -> Option<String> {
    match value {
        None | Some(Value::Null) => sink.reject(Code::MissingField, "missing"),
        Some(Value::String(text)) => match name_problem(text) {
            None => return Some(text.clone()),
            Some(problem) => sink.reject(Code::Name, problem),
        },
        Some(other) => {
            let hint = super::shape::quote_hint(other);
            sink.reject(Code::WrongType, format!("expected a string, found {}{hint}", super::shape::describe(other)))
        }
    }
    None
}

/// What is wrong with a name, if anything: an RFC 1123 label is wanted.
pub fn name_problem(text: &str) -> Option<String> {
    const RULE: &str =
        "lower-case ASCII letters, digits and `-`, a letter or digit at both ends, at most 63 (RFC 1123)";
    if text.is_empty() {
        return Some(format!("the name is empty; names are {RULE}"));
    }
    if let Some((at, c)) = text.chars().enumerate().find(|(_, c)| !c.is_ascii()) {
        let n = u32::from(c);
        let shown = if c.is_control() { String::new() } else { format!("`{c}` ") };
        return Some(format!(
            "{} has a character beyond ASCII: {shown}(U+{n:04X}) at character {}; names are {RULE}",
            quoted(text),
            at + 1
        ));
    }
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(|b| ok(*b)) && bytes.last().is_some_and(|b| ok(*b));
    if text.len() <= 63 && ends && bytes.iter().all(|b| ok(*b) || *b == b'-') {
        None
    } else {
        Some(format!("{} is not a name; names are {RULE}", quoted(text)))
    }
}

fn resource_version(value: Option<&Value>, sink: &mut Sink) -> Option<i64> {
    let parsed = match value? {
        Value::Null => return None,
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) && text.len() <= 18 => text.parse::<i64>().ok(),
        Value::Number(n) => n.as_i64(),
        Value::String(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let valid = parsed.filter(|n| (0..=MAX_REVISION).contains(n));
    if valid.is_none() {
        sink.reject(
            Code::WrongType,
            "expected the resourceVersion of an earlier answer, a whole number such as \"42\"",
        );
    }
    valid
}

fn texts(value: Option<&Value>, longest_value: Option<usize>, sink: &mut Sink) -> BTreeMap<String, String> {
    let map = match value {
        None | Some(Value::Null) => return BTreeMap::new(),
        Some(Value::Object(map)) => map,
        Some(other) => {
            sink.reject(
                Code::WrongType,
                format!("expected an object of strings, found {}", super::shape::describe(other)),
            );
            return BTreeMap::new();
        }
    };
    if map.len() > LABELS {
        sink.reject(Code::Metadata, format!("{} entries; at most {LABELS}", map.len()));
        return BTreeMap::new();
    }
    let mut texts = BTreeMap::new();
    let mut bytes = 0;
    for (key, value) in map {
        let text = sink.at(key, |s| entry(key, value, longest_value, s));
        bytes += key.len() + text.as_ref().map_or(0, String::len);
        texts.insert(key.clone(), text.unwrap_or_default());
    }
    if bytes > MAX_ANNOTATION_BYTES {
        sink.reject(Code::Metadata, format!("{bytes} bytes; at most {MAX_ANNOTATION_BYTES}"));
    }
    texts
}

fn entry(key: &str, value: &Value, longest_value: Option<usize>, sink: &mut Sink) -> Option<String> {
    if !is_label_key(key) {
        sink.reject(
            Code::Metadata,
            "not a label key: [prefix/]name, ASCII letters, digits, `-`, `_`, `.`, at most 63 after the `/`",
        );
    }
    let Value::String(text) = value else {
        let hint = super::shape::quote_hint(value);
        sink.reject(Code::WrongType, format!("expected a string, found {}{hint}", super::shape::describe(value)));
        return None;
    };
    if text.contains('\0') {
        sink.reject(Code::Metadata, "has a NUL character");
    }
    if let Some(longest) = longest_value
        && (text.len() > longest || !text.is_empty() && !is_label_part(text))
    {
        sink.reject(
            Code::Metadata,
            format!("{} is not a label value: ASCII letters, digits, `-`, `_`, `.`, at most 63", quoted(text)),
        );
    }
    Some(text.clone())
}

/// `[prefix/]name` as on Kubernetes.
fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => {
            let parts = |p: &str| p.split('.').all(|label| name_problem(label).is_none());
            prefix.len() <= 253 && parts(prefix) && is_label_part(name)
        }
        None => is_label_part(key),
    }
}

/// 1 to 63 of ASCII letters, digits, `-`, `_`, `.`, a letter or digit at both ends.
pub(crate) fn is_label_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    text.len() <= 63
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
