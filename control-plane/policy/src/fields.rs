//! What may be written in a document, field by field: for `tidegate fields` and the pages in docs/reference/fields. Read from the
//! schemas, which are made from the types; nothing about a field is written down here.
mod page;
mod terminal;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use serde_json::Value;

use crate::{
    documents::did_you_mean,
    kinds::{API_VERSION, Kind, NOT_SUPPORTED, SCHEMA_PATH, SINCE, schemas},
    reject::quoted,
};

pub use page::page;
pub use terminal::{kinds, text};

/// The first release. What is younger says so with [`SINCE`] in its schema.
const FIRST: &str = "0.1";

/// A field, or a whole kind.
#[derive(Clone, Debug, Default)]
pub struct Field {
    pub name: String,
    /// `string`, `[]Object`, `map[string]string`.
    pub type_name: String,
    pub required: bool,
    /// As it is written in YAML.
    pub default: Option<String>,
    /// In words: `1 to 64`, `at most 16 items`.
    pub bounds: Vec<String>,
    /// The values that it can have, when they are counted.
    pub values: Vec<Choice>,
    /// False: part of the language, but this version does not do it.
    pub supported: bool,
    pub since: String,
    pub description: String,
    pub children: Vec<Field>,
}

/// A value that a field can have.
#[derive(Clone, Debug)]
pub struct Choice {
    pub value: String,
    pub description: String,
    pub supported: bool,
}

/// A kind with all its fields.
pub fn of(kind: Kind) -> Field {
    let mut root = schemas().get(kind.name()).map(|schema| field(kind.name(), schema, FIRST)).unwrap_or_default();
    // What a kind is, its spec says best.
    if let Some(spec) = schemas().get(kind.spec_schema()) {
        root.description = said(spec, "description").unwrap_or_default().to_owned();
    }
    root
}

/// The kind and the field that a path such as `rel.spec.rules` names; places in lists (`rules[0]`) do no harm.
///
/// # Errors
/// What is wrong with the path, in words.
pub fn find(path: &str) -> Result<(Kind, Vec<String>, Field), String> {
    let mut segments = path.split('.').map(|segment| segment.split('[').next().unwrap_or_default());
    let first = segments.next().unwrap_or_default();
    let kind = Kind::parse(first).ok_or_else(|| {
        let names = Kind::ALL.into_iter().flat_map(|k| [k.name(), k.plural(), k.short()]);
        format!("there is no kind {}{}; `tidegate fields` lists all of them", quoted(first), did_you_mean(first, names))
    })?;
    let (mut at, mut walked) = (of(kind), Vec::new());
    for segment in segments.filter(|s| !s.is_empty()) {
        let names = || at.children.iter().map(|child| child.name.as_str());
        let Some(child) = at.children.iter().find(|child| child.name == segment) else {
            let place = [kind.short().to_owned()].into_iter().chain(walked).collect::<Vec<_>>().join(".");
            let hint = did_you_mean(segment, names());
            let none = if at.children.is_empty() { "; it has no fields" } else { "" };
            return Err(format!("{place} has no field {}{hint}{none}", quoted(segment)));
        };
        walked.push(segment.to_owned());
        at = child.clone();
    }
    Ok((kind, walked, at))
}

/// Every path, with the short names of the kinds: what a shell completes.
pub fn paths() -> &'static [String] {
    static PATHS: LazyLock<Vec<String>> = LazyLock::new(every_path);
    &PATHS
}

fn every_path() -> Vec<String> {
    fn below(prefix: &str, field: &Field, out: &mut Vec<String>) {
        out.push(prefix.to_owned());
        field.children.iter().for_each(|child| below(&format!("{prefix}.{}", child.name), child, out));
    }
    let mut out = Vec::new();
    Kind::ALL.into_iter().for_each(|kind| below(kind.short(), &of(kind), &mut out));
    out
}

fn said<'a>(schema: &'a Value, keyword: &str) -> Option<&'a str> {
    schema.get(keyword).and_then(Value::as_str)
}

/// Follows references, and the one branch of an optional thing that is not null.
fn resolve(schema: &'static Value) -> &'static Value {
    if let Some(name) = said(schema, "$ref")
        && let Some(target) = schemas().get(name.strip_prefix(SCHEMA_PATH).unwrap_or(name))
    {
        return resolve(target);
    }
    let branches = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let thing = branches.clone().find(|b| b.get("$ref").is_some());
    thing.map_or(schema, resolve)
}

fn field(name: &str, schema: &'static Value, since: &str) -> Field {
    let target = resolve(schema);
    let own = |keyword: &str| schema.get(keyword).or_else(|| target.get(keyword));
    let since = own(SINCE).and_then(Value::as_str).unwrap_or(since).to_owned();
    let items = target.get("items").map(resolve);
    let mut children = children(items.unwrap_or(target), &since);
    if let Some(extra) = target.get("additionalProperties").filter(|a| a.is_object()) {
        children.extend(field("*", extra, &since).children);
    }
    Field {
        name: name.to_owned(),
        type_name: type_name(target),
        required: false,
        default: own("default").map(written),
        bounds: bounds(schema, target, items),
        values: choices(items.unwrap_or(target)),
        supported: own(NOT_SUPPORTED) != Some(&Value::Bool(true)),
        description: own("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " "),
        since,
        children,
    }
}

fn children(schema: &'static Value, since: &str) -> Vec<Field> {
    let mut found = properties(schema, since);
    let variants = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten().map(resolve);
    for variant in variants.filter(|v| v.get("properties").is_some()) {
        let tag = variant.pointer("/properties/type/const").and_then(Value::as_str).unwrap_or_default();
        for mut child in properties(variant, since) {
            if child.name == "type" {
                let description = said(variant, "description").unwrap_or_default().replace('\n', " ");
                let choice = Choice { value: tag.to_owned(), description, supported: true };
                match found.iter_mut().find(|f| f.name == "type") {
                    Some(known) => known.values.push(choice),
                    None => {
                        "Which of them it is; the field of this name goes with it.".clone_into(&mut child.description);
                        child.values = vec![choice];
                        found.push(child);
                    }
                }
            } else {
                child.required = false;
                child.bounds.push(format!("with `type: {tag}` only, and required there"));
                found.push(child);
            }
        }
    }
    found
}

fn properties(schema: &'static Value, since: &str) -> Vec<Field> {
    let required = schema.get("required").and_then(Value::as_array);
    let all = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    all.map(|(name, inner)| {
        let mut child = field(name, inner, since);
        child.required = required.is_some_and(|r| r.iter().any(|n| n.as_str() == Some(name)));
        child
    })
    .collect()
}

fn type_name(schema: &'static Value) -> String {
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect(),
        _ => Vec::new(),
    };
    match types.first().copied() {
        Some("array") => format!("[]{}", schema.get("items").map_or("any".to_owned(), |i| type_name(resolve(i)))),
        Some("object") => match schema.get("additionalProperties").filter(|a| a.is_object()) {
            Some(inner) => format!("map[string]{}", type_name(resolve(inner))),
            None => "Object".to_owned(),
        },
        Some(_) => types.join(" or "),
        None if schema.get("oneOf").is_some() => {
            let first = schema.get("oneOf").and_then(Value::as_array).and_then(|v| v.first());
            first.map_or("any".to_owned(), |v| type_name(resolve(v)))
        }
        None => "any".to_owned(),
    }
}

/// Values of an enum, each with what it means.
fn choices(schema: &'static Value) -> Vec<Choice> {
    let choice = |value: &Value, of: &Value| {
        Some(Choice {
            value: value.as_str()?.to_owned(),
            description: said(of, "description").unwrap_or_default().replace('\n', " "),
            supported: of.get(NOT_SUPPORTED) != Some(&Value::Bool(true)),
        })
    };
    if let Some(constant) = schema.get("const") {
        return choice(constant, &Value::Null).into_iter().collect();
    }
    let listed = |of: &'static Value| of.get("enum").and_then(Value::as_array).into_iter().flatten();
    let plain = listed(schema).filter_map(|value| choice(value, &Value::Null));
    let variants = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let rich = variants.flat_map(|v| v.get("const").into_iter().chain(listed(v)).filter_map(move |c| choice(c, v)));
    plain.chain(rich).collect()
}

/// A value as YAML has it in one line.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        other => other.to_string(),
    }
}

/// Numbers in words; a pattern as it is, unless it is too long for people and the description says it.
fn bounds(schema: &Value, target: &Value, items: Option<&Value>) -> Vec<String> {
    const READABLE: usize = 72;
    let number = |of: &[&Value], keyword: &str| of.iter().find_map(|s| s.get(keyword).and_then(Value::as_u64));
    let mut found = Vec::new();
    let here = [schema, target];
    let mut between = |low: Option<u64>, high: Option<u64>, unit: &str| match (low, high) {
        (Some(low), Some(high)) => found.push(format!("{low} to {high}{unit}")),
        (None, Some(high)) => found.push(format!("at most {high}{unit}")),
        (Some(low), None) if low > 0 => found.push(format!("at least {low}{unit}")),
        (Some(_) | None, None) => {}
    };
    between(number(&here, "minimum"), number(&here, "maximum"), "");
    between(number(&here, "minItems"), number(&here, "maxItems"), " items");
    between(number(&here, "minLength"), number(&here, "maxLength"), " characters");
    between(None, number(&here, "maxProperties"), " entries");
    if here.iter().any(|s| s.get("uniqueItems") == Some(&Value::Bool(true))) {
        found.push("no item twice".to_owned());
    }
    let pattern = here.into_iter().chain(items).find_map(|s| said(s, "pattern"));
    found.extend(pattern.filter(|p| p.len() <= READABLE).map(|p| format!("form `{p}`")));
    found
}

impl Field {
    /// `-required-`, the default, or nothing.
    fn demand(&self) -> String {
        match (&self.default, self.required) {
            (_, true) => "required".to_owned(),
            (Some(default), false) => format!("default `{default}`"),
            (None, false) => "optional".to_owned(),
        }
    }

    /// Bounds and values in one line, without a full stop.
    fn limits(&self) -> String {
        let mut all = self.bounds.clone();
        if let [only] = self.values.as_slice() {
            all.push(format!("always `{}`", only.value));
        } else if !self.values.is_empty() {
            let values = self.values.iter().map(|choice| {
                let later = if choice.supported { "" } else { " (not supported yet)" };
                format!("`{}`{later}", choice.value)
            });
            all.push(format!("one of {}", values.collect::<Vec<_>>().join(", ")));
        }
        all.join("; ")
    }
}

/// The version of the language, for both outputs.
const VERSION: &str = API_VERSION;
