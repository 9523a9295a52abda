//! The OpenAPI 3.1 document: addresses and answers from the handlers, documents from the kinds. Made once; nothing in it is
//! written a second time by hand, except the few answers that are rendered without a type.
mod complete;

use std::sync::LazyLock;

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use tidegate_policy::{
    documents::MAX_DOCUMENTS,
    explain::{ExplainRequest, Explanation},
    kinds::{API_VERSION, Kind, SCHEMA_PATH, published},
};

use super::{history::RollbackRequest, keys::NewApiKey, node_tokens::NewNodeToken, routes};

static DOCUMENT: LazyLock<Value> = LazyLock::new(build);

/// The document that `/openapi.json` answers.
#[must_use]
pub fn document() -> &'static Value {
    &DOCUMENT
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("{SCHEMA_PATH}{name}")})
}

fn build() -> Value {
    let mut api = routes::protected().into_openapi();
    for open in [routes::open(), routes::probes(), routes::alive()] {
        api.merge(open.into_openapi());
    }
    let mut document = serde_json::to_value(api).unwrap_or_default();
    document["openapi"] = "3.1.0".into();
    document["info"] = json!({
        "title": "Tidegate admin API",
        "version": env!("CARGO_PKG_VERSION"),
        "contact": {"name": "Tidegate"},
        "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        "description": "Policies of tidegate.dev/v1alpha1, their history, explain, tokens and keys.",
    });
    document["security"] = json!([{"bearer": []}]);
    document["tags"] = TAGS.iter().map(|(name, about)| json!({"name": name, "description": about})).collect();
    document["servers"] = json!([{"url": "/", "description": "This server"}]);
    complete::operations(&mut document["paths"]);
    let components = &mut document["components"];
    components["securitySchemes"] =
        json!({"bearer": {"type": "http", "scheme": "bearer", "description": "An admin token, tga_..."}});
    if let Some(all) = components["schemas"].as_object_mut() {
        all.extend(published().clone());
        all.extend(explanations());
        all.extend(requests());
        all.extend(answers());
    }
    document
}

const TAGS: &[(&str, &str)] = &[
    ("objects", "The documents: read, write, compare"),
    ("history", "What was written, and the way back"),
    ("explain", "What a request gets, and why"),
    ("keys", "API keys of tenants, tokens of nodes"),
    ("health", "How the server is, and this description"),
];

fn generator() -> SchemaGenerator {
    let path = SCHEMA_PATH.trim_start_matches('#').trim_end_matches('/').to_owned();
    SchemaSettings::draft2020_12().with(|s| s.definitions_path = path.into()).into_generator()
}

/// Question and answer of explain, which `policy` describes.
fn explanations() -> Map<String, Value> {
    let mut generator = generator();
    generator.subschema_for::<ExplainRequest>();
    generator.subschema_for::<Explanation>();
    generator.take_definitions(true)
}

/// Small bodies, with their bounds.
fn requests() -> Map<String, Value> {
    let mut generator = generator();
    generator.subschema_for::<NewApiKey>();
    generator.subschema_for::<NewNodeToken>();
    generator.subschema_for::<RollbackRequest>();
    generator.take_definitions(true)
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "additionalProperties": false, "required": required, "properties": properties})
}

fn list(of: &str) -> Value {
    json!({"type": "array", "items": reference(of)})
}

/// Schemas of what handlers render by hand.
fn answers() -> Map<String, Value> {
    let kinds: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
    let plurals: Vec<&str> = Kind::ALL.into_iter().map(Kind::plural).collect();
    let any: Vec<Value> = kinds.iter().map(|kind| reference(kind)).collect();
    let mapping: Map<String, Value> =
        kinds.iter().map(|kind| ((*kind).to_owned(), format!("{SCHEMA_PATH}{kind}").into())).collect();
    let documents = json!({
        "type": "array", "items": reference("Document"), "maxItems": MAX_DOCUMENTS,
        "description": "As YAML: one document after the other, separated by `---`.",
    });
    let lists: Vec<String> = kinds.iter().map(|kind| format!("{kind}List")).collect();
    let next = json!({"type": ["string", "null"], "description": "Pass it as `continue` for the next page."});
    let page =
        object(&["resourceVersion", "continue"], json!({"resourceVersion": {"type": "string"}, "continue": next}));
    let time = json!({"type": "string", "format": "date-time"});
    let maybe_time = json!({"type": ["string", "null"], "format": "date-time"});
    let text = json!({"type": "string"});
    let mut key = json!({
        "id": text, "tenant": text, "description": text, "createdAt": time, "expiresAt": maybe_time, "revokedAt": maybe_time,
    });
    let key_fields = ["id", "tenant", "description", "createdAt", "expiresAt", "revokedAt"];
    let api_key = object(&key_fields, key.clone());
    let nodes = json!({"type": "array", "items": text});
    let force_fields = ["inForce", "confirmed", "pending", "disconnected"];
    for (name, schema) in [
        ("inForce", json!({"type": "boolean", "description": "Every gateway that is known has confirmed the change."})),
        ("confirmed", nodes.clone()),
        ("pending", nodes.clone()),
        ("disconnected", nodes),
    ] {
        key[name] = schema;
    }
    let changed_key = object(&[&key_fields[..], &force_fields].concat(), key.clone());
    key["key"] = json!({"type": "string", "description": "The key itself; shown this once."});
    let created_key = object(&[&key_fields[..], &force_fields, &["key"]].concat(), key);
    let revision = object(
        &["revision", "at", "author", "source", "kind", "namespace", "name", "outcome", "spec"],
        json!({
            "revision": {"type": "integer"}, "at": time, "author": text, "source": {"type": "string", "enum": ["Rest", "File", "Kubernetes"]},
            "kind": {"type": "string", "enum": kinds}, "namespace": text, "name": text,
            "outcome": {"type": "string", "enum": ["Created", "Configured", "Deleted"]}, "spec": {"type": ["object", "null"]},
        }),
    );
    let document_list = object(
        &["apiVersion", "kind", "metadata", "items"],
        json!({"apiVersion": {"type": "string", "const": API_VERSION}, "kind": {"type": "string", "enum": lists}, "metadata": page, "items": list("Document")}),
    );
    [
        ("Document", json!({"oneOf": any, "discriminator": {"propertyName": "kind", "mapping": mapping}})),
        ("Documents", documents),
        ("Plural", json!({"type": "string", "enum": plurals, "description": "A kind, as it stands in an address."})),
        ("DocumentList", document_list),
        ("Revision", revision),
        ("RevisionList", object(&["metadata", "items"], json!({"metadata": page, "items": list("Revision")}))),
        ("ApiKey", api_key),
        ("ChangedApiKey", changed_key),
        ("CreatedApiKey", created_key),
        (
            "ApiKeyList",
            object(
                &["metadata", "items"],
                json!({"metadata": object(&["continue"], json!({"continue": next})), "items": list("ApiKey")}),
            ),
        ),
    ]
    .into_iter()
    .chain(tokens(&next))
    .map(|(name, schema)| (name.to_owned(), schema))
    .collect()
}

/// Answers about tokens of administrators and nodes.
fn tokens(next: &Value) -> [(&'static str, Value); 6] {
    let (text, time) = (json!({"type": "string"}), json!({"type": "string", "format": "date-time"}));
    let maybe_time = json!({"type": ["string", "null"], "format": "date-time"});
    let once = |what: &str| json!({"type": "string", "description": format!("The token, {what}...; shown this once.")});
    let listed = |of: &str| {
        object(
            &["metadata", "items"],
            json!({"metadata": object(&["continue"], json!({"continue": next})), "items": list(of)}),
        )
    };
    let mut admin = json!({
        "id": text, "name": text, "createdAt": time, "expiresAt": maybe_time, "revokedAt": maybe_time, "lastUsedAt": maybe_time,
    });
    let admin_fields = ["id", "name", "createdAt", "expiresAt", "revokedAt", "lastUsedAt"];
    let admin_token = object(&admin_fields, admin.clone());
    admin["token"] = once("tga_");
    let created_admin = object(&[&admin_fields[..], &["token"]].concat(), admin);
    let role = reference("RoleName");
    let node = json!({
        "nodeId": text, "role": role, "pool": {"type": ["string", "null"]}, "createdAt": time, "endsAt": maybe_time,
        "lastUsedAt": maybe_time,
    });
    let created_node = json!({
        "nodeId": text, "role": role, "pool": text, "token": once("tgn_"), "earlierTokensUntil": maybe_time,
        "warnings": {"type": "array", "items": text},
    });
    [
        ("AdminToken", admin_token),
        ("CreatedAdminToken", created_admin),
        ("AdminTokenList", listed("AdminToken")),
        ("NodeToken", object(&["nodeId", "role", "pool", "createdAt", "endsAt", "lastUsedAt"], node)),
        ("NodeTokenList", listed("NodeToken")),
        ("CreatedNodeToken", object(&["nodeId", "role", "token", "earlierTokensUntil", "warnings"], created_node)),
    ]
}
