//! The order of fields: a store may give them back in another one than they were written in. What people read is in the order in
//! which the kinds declare their fields, always.
use serde_json::{Map, Value};

use super::{SCHEMA_PATH, schemas};

static ANYTHING: Value = Value::Bool(true);

/// A value with its fields in the order of the schema of this name; maps with free keys, and fields that the schema does not
/// know, by name.
pub fn in_schema_order(schema: &str, value: &Value) -> Value {
    order(value, schemas().get(schema).unwrap_or(&ANYTHING))
}

/// Follows references.
pub(crate) fn resolve(schema: &'static Value) -> &'static Value {
    let mut schema = schema;
    while let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        match schemas().get(name.strip_prefix(SCHEMA_PATH).unwrap_or(name)) {
            Some(target) => schema = target,
            None => return &ANYTHING,
        }
    }
    schema
}

fn order(value: &Value, schema: &'static Value) -> Value {
    let schema = branch(resolve(schema), value);
    match value {
        Value::Object(map) => Value::Object(fields(map, schema)),
        Value::Array(items) => {
            let inner = schema.get("items").unwrap_or(&ANYTHING);
            Value::Array(items.iter().map(|item| order(item, inner)).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// The schema that speaks of this value: of an optional thing the thing, of a union the variant that `type` names.
fn branch(schema: &'static Value, value: &Value) -> &'static Value {
    let list = |name: &str| schema.get(name).and_then(Value::as_array);
    // Beside fields of its own, branches only say which of them go together.
    let whole = schema.get("properties").is_some();
    if let Some(branches) = list("anyOf").filter(|_| !whole) {
        let thing = branches.iter().find(|b| b.get("type").and_then(Value::as_str) != Some("null"));
        return thing.map_or(schema, |b| branch(resolve(b), value));
    }
    let of_type = |variant: &&'static Value| variant.pointer("/properties/type/const") == value.get("type");
    let variant = list("oneOf").and_then(|all| all.iter().map(resolve).find(of_type));
    variant.unwrap_or(schema)
}

fn fields(map: &Map<String, Value>, schema: &'static Value) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut declared: Vec<_> = properties.into_iter().flatten().collect();
    if schema.pointer("/properties/type/const").is_some() {
        // The tag of a union leads, wherever its schema names it.
        declared.sort_by_key(|(name, _)| *name != "type");
    }
    let mut ordered = Map::new();
    ordered.extend(declared.into_iter().filter_map(|(name, inner)| Some((name.clone(), order(map.get(name)?, inner)))));
    let free = schema.get("additionalProperties").filter(|a| a.is_object()).unwrap_or(&ANYTHING);
    let mut others: Vec<_> = map.iter().filter(|(name, _)| !ordered.contains_key(*name)).collect();
    others.sort_by_key(|(name, _)| *name);
    ordered.extend(others.into_iter().map(|(name, value)| (name.clone(), order(value, free))));
    ordered
}
