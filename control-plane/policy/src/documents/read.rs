//! Bytes to JSON values, with bounds: size, depth, aliases, number of documents; a key that stands twice is refused.
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{MAX_BYTES, MAX_DOCUMENTS};
use crate::reject::{Code, Rejection};

/// Deepest nesting of a document.
const MAX_DEPTH: usize = 64;

/// All documents of a body. A top-level list is a list of documents; empty documents are left out.
pub(super) fn values(bytes: &[u8]) -> Result<Vec<Value>, Rejection> {
    if bytes.len() > MAX_BYTES {
        return Err(whole(Code::TooLarge, format!("the body has {} bytes; the limit is {MAX_BYTES}", bytes.len())));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|e| whole(Code::Malformed, format!("the body is not UTF-8 after {} bytes", e.valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read = if text.trim_start().starts_with(['{', '[']) {
        json(text).or_else(|e| yaml(text).map_err(|_| e))
    } else {
        yaml(text)
    };
    let documents: Vec<Value> = read?
        .into_iter()
        .flat_map(|value| match value {
            Value::Array(items) => items,
            Value::Null => Vec::new(),
            single @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => vec![single],
        })
        .collect();
    match documents.len() {
        0 => Err(whole(Code::DocumentCount, "the body holds no document".to_owned())),
        n if n > MAX_DOCUMENTS => {
            Err(whole(Code::DocumentCount, format!("the body holds {n} documents; the limit is {MAX_DOCUMENTS}")))
        }
        _ => Ok(documents),
    }
}

fn whole(code: Code, message: String) -> Rejection {
    Rejection { path: "$".to_owned(), message, code, document: None }
}

fn json(text: &str) -> Result<Vec<Value>, Rejection> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| vec![value]))
        .map_err(|e| whole(Code::Malformed, format!("malformed JSON: {e}")))
}

fn yaml(text: &str) -> Result<Vec<Value>, Rejection> {
    let mut options = serde_saphyr::Options::default();
    let mut budget = serde_saphyr::Budget::default();
    budget.max_events = 200_000;
    budget.max_nodes = 100_000;
    budget.max_depth = MAX_DEPTH;
    budget.flow_nesting_limit = MAX_DEPTH;
    budget.max_aliases = 1_000;
    budget.max_anchors = 1_000;
    budget.max_documents = 10 * MAX_DOCUMENTS;
    options.budget = Some(budget);
    serde_saphyr::from_multiple_with_options::<Unique>(text, options)
        .map(|values| values.into_iter().map(|v| v.0).collect())
        .map_err(|e| whole(Code::Malformed, yaml_message(&e)))
}

/// One line: where, and what.
fn yaml_message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    // The parser repeats the place and names its own options.
    let first = first.split(", set ").next().unwrap_or_default().split(" at line ").next().unwrap_or_default().trim();
    match error.location() {
        Some(at) => format!("malformed YAML at line {}, column {}: {first}", at.line(), at.column()),
        None => format!("malformed YAML: {first}"),
    }
}

/// A value whose maps have no key twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Strict { depth: 0 }.deserialize(deserializer).map(Self)
    }
}

/// Builds a value, counting depth and refusing repeated keys.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i128<E: serde::de::Error>(self, v: i128) -> Result<Value, E> {
        Err(E::custom(format!("the number {v} is too large")))
    }

    fn visit_u128<E: serde::de::Error>(self, v: u128) -> Result<Value, E> {
        Err(E::custom(format!("the number {v} is too large")))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom(format!("{v} is not a number")))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(inner)?;
            if map.contains_key(&key) {
                return Err(serde::de::Error::custom(format!("the key {} stands twice", crate::reject::quoted(&key))));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
