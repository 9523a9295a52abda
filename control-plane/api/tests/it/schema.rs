//! Whether a JSON value is what a schema of the OpenAPI document says. It knows the keywords that the document uses, and takes
//! every other one for a mistake, so that nothing is passed over.
use serde_json::{Map, Value, json};
use tidegate_api::admin::openapi_document;

/// Every way in which `value` is not what `schema` says, each with the place.
pub fn mistakes(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, value, "$", &mut found);
    found
}

fn fits(schema: &Value, value: &Value) -> bool {
    mistakes(schema, value).is_empty()
}

fn check(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(keywords) = schema.as_object() else {
        if schema != &json!(true) {
            found.push(format!("{at}: nothing is allowed here"));
        }
        return;
    };
    for (keyword, said) in keywords {
        let good = match keyword.as_str() {
            "$ref" => {
                let to = said.as_str().and_then(|s| openapi_document().pointer(s.strip_prefix('#')?));
                check(to.unwrap_or_else(|| panic!("{said} leads nowhere")), value, at, found);
                true
            }
            "allOf" => {
                said.as_array().unwrap().iter().for_each(|s| check(s, value, at, found));
                true
            }
            "anyOf" => said.as_array().unwrap().iter().any(|s| fits(s, value)),
            "not" => !fits(said, value),
            "if" => {
                let branch = if fits(said, value) { "then" } else { "else" };
                keywords.get(branch).into_iter().for_each(|s| check(s, value, at, found));
                true
            }
            "then" | "else" => true,
            "uniqueItems" => value.as_array().is_none_or(|a| (1..a.len()).all(|i| !a[..i].contains(&a[i]))),
            "maxProperties" => value.as_object().is_none_or(|m| m.len() <= size(said)),
            "oneOf" => said.as_array().unwrap().iter().filter(|s| fits(s, value)).count() == 1,
            "type" if said.is_array() => said.as_array().unwrap().iter().any(|t| is(t, value)),
            "type" => is(said, value),
            "enum" => said.as_array().unwrap().contains(value),
            "const" => said == value,
            "minimum" => value.as_f64().is_none_or(|n| n >= said.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|n| n <= said.as_f64().unwrap()),
            "minItems" => value.as_array().is_none_or(|a| a.len() >= size(said)),
            "maxItems" => value.as_array().is_none_or(|a| a.len() <= size(said)),
            "minLength" => value.as_str().is_none_or(|s| s.chars().count() >= size(said)),
            "maxLength" => value.as_str().is_none_or(|s| s.chars().count() <= size(said)),
            "pattern" => value.as_str().is_none_or(|s| matches(said.as_str().unwrap(), s)),
            "format" if said == "date-time" => {
                value.as_str().is_none_or(|s| chrono::DateTime::parse_from_rfc3339(s).is_ok())
            }
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.for_each(|(i, item)| check(said, item, &format!("{at}[{i}]"), found));
                true
            }
            "required" | "properties" | "additionalProperties" | "propertyNames" => {
                value.as_object().into_iter().for_each(|map| members(keywords, (keyword, said), map, (at, found)));
                true
            }
            // They say something to people, or to generators.
            "format"
            | "description"
            | "title"
            | "default"
            | "readOnly"
            | "discriminator"
            | "example"
            | "examples"
            | "x-tidegate-not-supported"
            | "x-tidegate-since" => true,
            _ => panic!("the checker does not know the keyword {keyword} of {schema}"),
        };
        if !good {
            found.push(format!("{at}: {value} is against {keyword}: {said}"));
        }
    }
}

/// Patterns are read once each: there are few, and they are asked often.
fn matches(pattern: &str, text: &str) -> bool {
    thread_local!(static READ: std::cell::RefCell<std::collections::HashMap<String, regex::Regex>> = Default::default());
    READ.with_borrow_mut(|read| {
        let known = read.entry(pattern.to_owned()).or_insert_with(|| regex::Regex::new(pattern).unwrap());
        known.is_match(text)
    })
}

fn size(said: &Value) -> usize {
    usize::try_from(said.as_u64().unwrap()).unwrap()
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        other => panic!("there is no type {other}"),
    }
}

/// The keywords about an object's members.
fn members(
    keywords: &Map<String, Value>,
    (keyword, said): (&str, &Value),
    map: &Map<String, Value>,
    (at, found): (&str, &mut Vec<String>),
) {
    let place = |name: &str| format!("{at}.{name}");
    match keyword {
        "required" => {
            let missing =
                said.as_array().unwrap().iter().filter_map(Value::as_str).filter(|name| !map.contains_key(*name));
            found.extend(missing.map(|name| format!("{} is missing", place(name))));
        }
        "properties" => {
            for (name, schema) in said.as_object().unwrap() {
                map.get(name).into_iter().for_each(|value| check(schema, value, &place(name), found));
            }
        }
        "additionalProperties" => {
            let known = |name: &String| keywords.get("properties").is_some_and(|p| p.get(name).is_some());
            map.iter().filter(|(name, _)| !known(name)).for_each(|(name, v)| check(said, v, &place(name), found));
        }
        _ => map.keys().for_each(|name| check(said, &json!(name), &place(name), found)),
    }
}

#[test]
fn each_keyword_can_fail() {
    let wrong = [
        (json!(false), json!(1)),
        (json!({"$ref": "#/components/schemas/Problem"}), json!({"title": 1})),
        (json!({"allOf": [{"type": "string"}]}), json!(1)),
        (json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), json!(1)),
        (json!({"not": {"type": "integer"}}), json!(1)),
        (json!({"if": {"type": "integer"}, "then": {"minimum": 3}, "else": false}), json!(1)),
        (json!({"if": {"type": "integer"}, "then": {"minimum": 3}, "else": false}), json!("a")),
        (json!({"uniqueItems": true}), json!([1, 2, 1])),
        (json!({"maxProperties": 0}), json!({"a": 1})),
        (json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}), json!(1)),
        (json!({"type": ["string", "null"]}), json!(1)),
        (json!({"type": "integer"}), json!(1.5)),
        (json!({"enum": ["a"]}), json!("b")),
        (json!({"const": "a"}), json!("b")),
        (json!({"minimum": 0}), json!(-1)),
        (json!({"maximum": 3}), json!(4)),
        (json!({"minItems": 1}), json!([])),
        (json!({"maxItems": 1}), json!([1, 2])),
        (json!({"minLength": 2}), json!("a")),
        (json!({"maxLength": 1}), json!("ab")),
        (json!({"pattern": "^a$"}), json!("b")),
        (json!({"format": "date-time"}), json!("yesterday")),
        (json!({"items": {"type": "string"}}), json!(["a", 1])),
        (json!({"required": ["a"]}), json!({})),
        (json!({"properties": {"a": {"type": "string"}}}), json!({"a": 1})),
        (json!({"properties": {"a": {}}, "additionalProperties": false}), json!({"a": 1, "b": 1})),
        (json!({"additionalProperties": {"type": "string"}}), json!({"a": 1})),
        (json!({"propertyNames": {"maxLength": 1}}), json!({"ab": 1})),
    ];
    for (schema, value) in wrong {
        assert!(!mistakes(&schema, &value).is_empty(), "{value} by {schema}");
    }
    let right = json!({"type": "object", "required": ["a"], "properties": {"a": {"items": {"enum": [1]}}}, "additionalProperties": false});
    assert_eq!(mistakes(&right, &json!({"a": [1, 1]})), Vec::<String>::new());
    assert_eq!(mistakes(&right, &json!({"a": [1, 2]})), ["$.a[1]: 2 is against enum: [1]"]);
}
