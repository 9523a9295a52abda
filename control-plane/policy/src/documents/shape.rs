//! Walks a spec along the JSON schema of its kind and reports every field that is unknown, missing or of a wrong type.
//! A wrong place is replaced by a stand-in, so that the rest of the document can still be checked for its meaning.
use serde_json::{Map, Value, json};

use super::suggest::{did_you_mean, near};
use crate::{
    kinds::{Kind, resolve, schemas},
    reject::{Code, Sink, quoted},
};

/// What a walk leaves behind.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// Paths whose value is a stand-in: later complaints about them would be noise.
    pub stand_ins: Vec<String>,
}

static ANYTHING: Value = Value::Bool(true);

impl Shape {
    pub fn check_spec(&mut self, kind: Kind, spec: &Value, sink: &mut Sink) -> Value {
        match schemas().get(kind.spec_schema()) {
            Some(schema) => self.check(spec, schema, sink),
            None => spec.clone(),
        }
    }

    pub fn missing_spec(&mut self, kind: Kind, sink: &mut Sink) -> Value {
        sink.reject(Code::MissingField, "missing");
        self.stand_ins.push(sink.path());
        schemas().get(kind.spec_schema()).map_or(Value::Null, stand_in)
    }

    fn check(&mut self, value: &Value, schema: &'static Value, sink: &mut Sink) -> Value {
        let schema = resolve(schema);
        let nullable = schema.get("anyOf").and_then(Value::as_array).filter(|branches| branches.iter().any(is_null));
        if let Some(branches) = nullable {
            return self.any_of(value, branches, sink);
        }
        if constants(schema).is_some() {
            return self.constant(value, schema, sink);
        }
        if let Some(variants) = schema.get("oneOf").and_then(Value::as_array) {
            return self.tagged(value, variants, sink);
        }
        match (types(schema), value) {
            (types, Value::Null) if types.contains(&"null") => Value::Null,
            (types, Value::Object(map)) if types.contains(&"object") => self.object(map, schema, sink),
            (types, Value::Array(items)) if types.contains(&"array") => self.array(items, schema, sink),
            (types, Value::String(_)) if types.contains(&"string") => value.clone(),
            (types, Value::Bool(_)) if types.contains(&"boolean") => value.clone(),
            (types, Value::Number(n)) if types.contains(&"number") || (types.contains(&"integer") && !n.is_f64()) => {
                self.number(value, schema, sink)
            }
            (types, _) if types.is_empty() => value.clone(),
            (types, _) => self.wrong(value, (schema, &expected(&types)), sink),
        }
    }

    /// `anyOf` is how an optional reference looks: the thing, or null.
    fn any_of(&mut self, value: &Value, branches: &'static [Value], sink: &mut Sink) -> Value {
        if value.is_null() {
            return Value::Null;
        }
        match branches.iter().find(|b| !is_null(b)) {
            Some(branch) => self.check(value, branch, sink),
            None => value.clone(),
        }
    }

    fn constant(&mut self, value: &Value, schema: &'static Value, sink: &mut Sink) -> Value {
        let allowed = constants(schema).unwrap_or_default();
        match value {
            Value::String(text) if allowed.contains(&text.as_str()) => value.clone(),
            Value::Null if types(schema).contains(&"null") => Value::Null,
            Value::String(text) => {
                let hint = near(text, &allowed);
                sink.reject(Code::OutOfRange, format!("{} is not one of {}{hint}", quoted(text), allowed.join(", ")));
                self.stand_in_for(schema, sink)
            }
            other => self.wrong(other, (schema, &format!("one of {}", allowed.join(", "))), sink),
        }
    }

    /// A union: `type` names the variant.
    fn tagged(&mut self, value: &Value, variants: &'static [Value], sink: &mut Sink) -> Value {
        let first = variants.first().unwrap_or(&ANYTHING);
        let Value::Object(map) = value else {
            return self.wrong(value, (first, "an object with a `type`"), sink);
        };
        let tag = |variant: &'static Value| resolve(variant).pointer("/properties/type/const").and_then(Value::as_str);
        let known: Vec<&str> = variants.iter().filter_map(tag).collect();
        let found = match map.get("type") {
            Some(Value::String(text)) => variants.iter().find(|v| tag(v) == Some(text)).ok_or(format!(
                "{} is not one of {}{}",
                quoted(text),
                known.join(", "),
                near(text, &known)
            )),
            Some(other) => Err(format!("expected one of {}, found {}", known.join(", "), describe(other))),
            None => Err(format!("missing; one of {}", known.join(", "))),
        };
        match found {
            Ok(variant) => self.check(value, variant, sink),
            Err(message) => {
                let code = match map.get("type") {
                    None => Code::MissingField,
                    Some(Value::String(_)) => Code::OutOfRange,
                    Some(_) => Code::WrongType,
                };
                sink.at("type", |s| s.reject(code, message));
                self.stand_in_for(first, sink)
            }
        }
    }

    fn object(&mut self, map: &Map<String, Value>, schema: &'static Value, sink: &mut Sink) -> Value {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|a| a.is_object());
        let mut kept = Map::new();
        for (field, value) in map {
            let known = properties.and_then(|p| p.get(field)).or(others);
            if let Some(inner) = known {
                kept.insert(field.clone(), sink.at(field, |s| self.check(value, inner, s)));
            } else {
                let names = properties.unwrap_or(&empty).keys().map(String::as_str);
                let hint = did_you_mean(field, names);
                sink.at(field, |s| s.reject(Code::UnknownField, format!("unknown field{hint}")));
            }
        }
        for field in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !map.contains_key(field) {
                let inner = properties.and_then(|p| p.get(field)).unwrap_or(&ANYTHING);
                let value = sink.at(field, |s| {
                    s.reject(Code::MissingField, "missing");
                    self.stand_in_for(inner, s)
                });
                kept.insert(field.to_owned(), value);
            }
        }
        Value::Object(kept)
    }

    fn array(&mut self, items: &[Value], schema: &'static Value, sink: &mut Sink) -> Value {
        let inner = schema.get("items").unwrap_or(&ANYTHING);
        Value::Array(items.iter().enumerate().map(|(i, item)| sink.index(i, |s| self.check(item, inner, s))).collect())
    }

    fn number(&mut self, value: &Value, schema: &'static Value, sink: &mut Sink) -> Value {
        let least = schema.get("minimum").and_then(Value::as_i64);
        let most = match schema.get("format").and_then(Value::as_str) {
            Some("uint8") => Some(i64::from(u8::MAX)),
            Some("uint32") => Some(i64::from(u32::MAX)),
            Some("int32") => Some(i64::from(i32::MAX)),
            Some(_) | None => None,
        };
        // Only what the type cannot hold: whatever else is out of range, `validate` says with its range.
        let low = least.is_some_and(|least| least >= 0 && value.as_i64().is_some_and(|n| n < 0));
        let high = most.is_some_and(|most| value.as_u64().is_some_and(|n| i64::try_from(n).map_or(true, |n| n > most)));
        if low || high {
            sink.reject(Code::OutOfRange, format!("{value} is {}", if low { "too small" } else { "too large" }));
            return self.stand_in_for(schema, sink);
        }
        value.clone()
    }

    fn wrong(&mut self, value: &Value, (schema, expected): (&'static Value, &str), sink: &mut Sink) -> Value {
        let hint = match value {
            value if expected == "a string" => quote_hint(value),
            Value::String(_) if expected == "a whole number" => " (without quotes)",
            _ => "",
        };
        sink.reject(Code::WrongType, format!("expected {expected}, found {}{hint}", describe(value)));
        self.stand_in_for(schema, sink)
    }

    fn stand_in_for(&mut self, schema: &'static Value, sink: &Sink) -> Value {
        self.stand_ins.push(sink.path());
        stand_in(schema)
    }
}

fn is_null(branch: &Value) -> bool {
    branch.get("type").and_then(Value::as_str) == Some("null")
}

/// The smallest value that a schema allows.
fn stand_in(schema: &'static Value) -> Value {
    let schema = resolve(schema);
    if let Some(first) = constants(schema).and_then(|all| all.first().copied()) {
        return json!(first);
    }
    let reference = |branch: &&Value| branch.get("$ref").is_some() || branch.get("type").is_some();
    for union in ["oneOf", "anyOf"] {
        if let Some(first) = schema.get(union).and_then(Value::as_array).and_then(|v| v.first()).filter(reference) {
            return stand_in(first);
        }
    }
    match types(schema).first().copied() {
        Some("string") => json!(""),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(0)),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => {
            let required =
                schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            required
                .map(|f| (f.to_owned(), stand_in(schema.get("properties").and_then(|p| p.get(f)).unwrap_or(&ANYTHING))))
                .collect::<Map<_, _>>()
                .into()
        }
        Some(_) | None => Value::Null,
    }
}

/// The texts that a schema allows, if it is a list of texts.
fn constants(schema: &'static Value) -> Option<Vec<&'static str>> {
    if let Some(text) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![text]);
    }
    if let Some(list) = schema.get("enum").and_then(Value::as_array) {
        return Some(list.iter().filter_map(Value::as_str).collect());
    }
    let variants = schema.get("oneOf").and_then(Value::as_array)?;
    let each: Option<Vec<Vec<&str>>> = variants.iter().map(constants).collect();
    each.map(|lists| lists.concat())
}

fn types(schema: &'static Value) -> Vec<&'static str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn expected(types: &[&str]) -> String {
    let words = types.iter().filter(|t| **t != "null").map(|t| match *t {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        _ => "an object",
    });
    words.collect::<Vec<_>>().join(" or ")
}

/// What helps when a text was wanted: YAML makes other things of some plain words.
pub(super) fn quote_hint(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => " (n, no, off, y, yes and on are booleans in YAML as true and false are; put it in quotes)",
        Value::Number(_) => " (put it in quotes)",
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => "",
    }
}

/// A value in words, for messages.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(b) => format!("the boolean {b}"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(text) => format!("the string {}", quoted(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
