//! JSON schemas of the kinds, made from the types: for the OpenAPI document, and for the check of every incoming document.
use std::sync::LazyLock;

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{API_VERSION, Kind, ModelSpec, RateLimitPolicySpec, ReleasePolicySpec, WorkerPoolSpec, bounds};
use crate::{names::DEFAULT_NAMESPACE, status::ObjectStatus};

/// Where the schemas stand in the OpenAPI document, with a slash at the end: `#/components/schemas/`.
pub const SCHEMA_PATH: &str = "#/components/schemas/";

/// Marks a field, or a value of a list of values, that is part of the language but that this version does not do.
pub const NOT_SUPPORTED: &str = "x-tidegate-not-supported";

/// From which release on a field is there, when that is not the first one.
pub const SINCE: &str = "x-tidegate-since";

static SCHEMAS: LazyLock<Map<String, Value>> = LazyLock::new(generate);
static PUBLISHED: LazyLock<Map<String, Value>> = LazyLock::new(|| publish(schemas()));

/// Every schema by name: one per kind (`Model`), its spec (`ModelSpec`) and all that they refer to, `ObjectMeta` and
/// `ObjectStatus`. References are below [`SCHEMA_PATH`].
pub fn schemas() -> &'static Map<String, Value> {
    &SCHEMAS
}

/// The schemas as others read them: what is not supported yet takes only the value that is accepted there, which is none or an
/// empty one, and keeps its mark and its description. What is valid by them is accepted, apart from what compares fields of a
/// document with each other.
pub fn published() -> &'static Map<String, Value> {
    &PUBLISHED
}

impl Kind {
    /// Name of the schema of `spec`.
    pub fn spec_schema(self) -> &'static str {
        match self {
            Self::Model => "ModelSpec",
            Self::WorkerPool => "WorkerPoolSpec",
            Self::ReleasePolicy => "ReleasePolicySpec",
            Self::RateLimitPolicy => "RateLimitPolicySpec",
        }
    }
}

fn generate() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut generator = SchemaGenerator::new(settings);
    generator.subschema_for::<ModelSpec>();
    generator.subschema_for::<WorkerPoolSpec>();
    generator.subschema_for::<ReleasePolicySpec>();
    generator.subschema_for::<RateLimitPolicySpec>();
    generator.subschema_for::<ObjectStatus>();
    let mut all = generator.take_definitions(true);
    all.insert("ObjectMeta".to_owned(), object_meta());
    for kind in Kind::ALL {
        all.insert(kind.name().to_owned(), document(kind));
    }
    all
}

fn publish(all: &Map<String, Value>) -> Map<String, Value> {
    all.iter().map(|(name, schema)| (name.clone(), only_what_is_supported(schema))).collect()
}

fn only_what_is_supported(schema: &Value) -> Value {
    let marked = |value: &Value| value.get(NOT_SUPPORTED) == Some(&Value::Bool(true));
    match schema {
        Value::Object(map) if marked(schema) => {
            let mut only = nothing(map);
            for kept in [NOT_SUPPORTED, "description"] {
                only.extend(map.get(kept).map(|value| (kept.to_owned(), value.clone())));
            }
            Value::Object(only)
        }
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), only_what_is_supported(v))).collect(),
        // Values of an enum: those that are not supported are left out.
        Value::Array(items) => {
            let constant = |item: &Value| item.get("const").is_some();
            items.iter().filter(|item| !(marked(item) && constant(item))).map(only_what_is_supported).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

/// What a field that is not supported may be: an empty list or map, false, else null, which is the same as absent.
fn nothing(schema: &Map<String, Value>) -> Map<String, Value> {
    let said = match schema.get("type").and_then(Value::as_str) {
        Some("array") => json!({"type": "array", "items": {}, "maxItems": 0}),
        Some("object") => json!({"type": "object", "maxProperties": 0}),
        Some("boolean") => json!({"type": "boolean", "const": false}),
        Some(_) | None => json!({"type": "null"}),
    };
    said.as_object().cloned().unwrap_or_default()
}

fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::Model => "Which weights exist.",
        Kind::WorkerPool => "What runs where: workers that keep versions of one model loaded.",
        Kind::ReleasePolicy => "Who sees which version of a model.",
        Kind::RateLimitPolicy => "Who may use how much of some models.",
    }
}

fn document(kind: Kind) -> Value {
    json!({
        "type": "object",
        "description": about(kind),
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"type": "string", "const": API_VERSION, "description": "The version of the language."},
            "kind": {"type": "string", "const": kind.name(), "description": "What the document is."},
            "metadata": {"$ref": format!("{SCHEMA_PATH}ObjectMeta")},
            "spec": {"$ref": format!("{SCHEMA_PATH}{}", kind.spec_schema())},
            "status": {"$ref": format!("{SCHEMA_PATH}ObjectStatus"), "readOnly": true},
        },
    })
}

fn object_meta() -> Value {
    let texts = |value: &str, description: &str| {
        json!({
            "type": ["object", "null"],
            "description": description,
            "maxProperties": bounds::LABELS,
            "propertyNames": {"pattern": bounds::LABEL_KEY, "maxLength": bounds::LABEL_KEY_LENGTH},
            "additionalProperties": {"type": "string", "pattern": value},
        })
    };
    // What the system adds is ignored on the way in, whatever it is, so that what was read can be sent back.
    let added = |schema: Value, description: &str| {
        let mut schema = schema;
        schema["readOnly"] = true.into();
        schema["description"] = description.into();
        schema
    };
    json!({
        "type": "object",
        "description": "What names an object, and what the system knows about it.",
        "additionalProperties": false,
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "pattern": bounds::NAME, "description": "RFC 1123 label; unique in its namespace and kind."},
            "namespace": {"type": ["string", "null"], "pattern": bounds::NAME, "default": DEFAULT_NAMESPACE, "description": "RFC 1123 label."},
            "labels": texts(bounds::LABEL_VALUE, "For people and tools; nothing reads them."),
            "annotations": texts(bounds::NO_NUL, "For people and tools; nothing reads them. At most 64 KiB together."),
            "resourceVersion": {
                "type": ["string", "integer", "null"], "pattern": bounds::RESOURCE_VERSION, "minimum": 0, "maximum": bounds::MAX_REVISION,
                "description": "The revision that this edit is based on; another one answers 409.",
            },
            "uid": added(json!({"type": "string"}), "Of this object, as long as it exists."),
            "generation": added(json!({"type": "integer"}), "Counts the changes of `spec`."),
            "creationTimestamp": added(json!({"type": "string", "format": "date-time"}), "When it was created."),
            "managedBy": added(json!({"type": "string", "enum": ["Rest", "File", "Kubernetes"]}), "The door that owns the object; only it may change it."),
            "managedFields": added(json!({"type": "array", "items": {}}), "Of Kubernetes; ignored."),
        },
    })
}
