//! JSON schemas of the kinds, made from the types: for the OpenAPI document, and for the check of every incoming document.
use std::sync::LazyLock;

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{API_VERSION, Kind, ModelSpec, RateLimitPolicySpec, ReleasePolicySpec, WorkerPoolSpec};
use crate::status::ObjectStatus;

/// Where the schemas stand in the OpenAPI document, with a slash at the end: `#/components/schemas/`.
pub const SCHEMA_PATH: &str = "#/components/schemas/";

static SCHEMAS: LazyLock<Map<String, Value>> = LazyLock::new(generate);

/// Every schema by name: one per kind (`Model`), its spec (`ModelSpec`) and all that they refer to, `ObjectMeta` and
/// `ObjectStatus`. References are below [`SCHEMA_PATH`].
pub fn schemas() -> &'static Map<String, Value> {
    &SCHEMAS
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

fn document(kind: Kind) -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind.name()},
            "metadata": {"$ref": format!("{SCHEMA_PATH}ObjectMeta")},
            "spec": {"$ref": format!("{SCHEMA_PATH}{}", kind.spec_schema())},
            "status": {"$ref": format!("{SCHEMA_PATH}ObjectStatus")},
        },
    })
}

fn object_meta() -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", "description": "RFC 1123 label."},
            "namespace": {"type": "string", "default": "default"},
            "labels": texts,
            "annotations": texts,
            "resourceVersion": {"type": "string", "description": "The revision that this edit is based on; another one answers 409."},
            "uid": {"type": "string", "readOnly": true},
            "generation": {"type": "integer", "readOnly": true},
            "creationTimestamp": {"type": "string", "format": "date-time", "readOnly": true},
            "managedBy": {"enum": ["Rest", "File", "Kubernetes"], "readOnly": true, "description": "The door that owns the object; only it may change it."},
        },
    })
}
