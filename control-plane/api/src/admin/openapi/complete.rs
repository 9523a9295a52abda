//! What the handlers' attributes leave open, filled in by rule for every operation alike: which refusals an operation has, what
//! each answer is called, what a parameter may be, and examples. Nothing here knows a single operation by name.
use serde_json::{Map, Value, json};
use tidegate_policy::kinds::{Kind, bounds, examples};

use super::super::{
    MAX_BODY,
    input::{DEFAULT_PAGE, MAX_PAGE},
    node_tokens::NODE_ID,
};

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];
const PROBLEM: &str = "#/components/schemas/Problem";
const DOCUMENT: &str = "#/components/schemas/Document";
const PLURAL: &str = "#/components/schemas/Plural";
const DOCUMENTS: &str = "#/components/schemas/Documents";

/// Completes every operation of `paths`.
pub(super) fn operations(paths: &mut Value) {
    for (path, item) in paths.as_object_mut().into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if METHODS.contains(&method.as_str()) {
                refusals(method, path, operation);
                descriptions(operation);
                parameters(operation);
                body(operation);
            }
        }
    }
}

/// The refusals that a request can meet, with what each means. `default` would hide those that nobody wrote down.
fn refusals(method: &str, path: &str, operation: &mut Value) {
    let open = operation["security"] == json!([{}]);
    let writes_documents = takes(operation, DOCUMENT) || takes(operation, DOCUMENTS);
    let writes = method != "get" && (writes_documents || path.contains("/namespaces/") || path.ends_with("/rollback"));
    let table = [
        (400, true, "The path, a parameter, a header or the body is wrong"),
        (401, !open, "No valid admin token"),
        (403, true, "A page of another origin asks"),
        (404, path.contains('{') || path.ends_with("/rollback"), "There is nothing of this name"),
        (408, operation.get("requestBody").is_some(), "The body came too slowly"),
        (409, method != "get" && !open, "It is not in the state that the request expects; nothing was changed"),
        (413, operation.get("requestBody").is_some(), "The body is too large"),
        (415, operation.get("requestBody").is_some(), "The body's Content-Type or Content-Encoding is not taken here"),
        (421, true, "The request is for another host"),
        (422, writes, "The documents can be read, but say something that is not allowed; `errors` has every mistake"),
        (500, !open, "A defect, or a broken machine"),
        (503, !open, "The store cannot be used, or the control plane has just started or is too busy"),
    ];
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    responses.remove("default");
    for (status, _, description) in table.into_iter().filter(|(_, applies, _)| *applies) {
        let content = json!({"application/problem+json": {"schema": {"$ref": PROBLEM}}});
        let mut response = json!({"description": description, "content": content});
        if status == 503 {
            response["headers"] = json!({"retry-after": {
                "description": "Seconds to wait", "schema": {"type": "string", "pattern": "^[0-9]{1,6}$"},
            }});
        }
        responses.entry(status.to_string()).or_insert(response);
    }
}

fn takes(operation: &Value, schema: &str) -> bool {
    let content = operation.pointer("/requestBody/content").and_then(Value::as_object);
    content.is_some_and(|c| c.values().any(|media| media["schema"]["$ref"] == schema))
}

/// An answer that has no description of its own is described by the first line of its operation.
fn descriptions(operation: &mut Value) {
    let text = |field: &str| operation.get(field).and_then(Value::as_str).map(str::to_owned);
    let about = text("summary").or_else(|| text("description")).unwrap_or_default();
    if operation.get("description").is_none() {
        operation["description"] = about.as_str().into();
    }
    for response in operation["responses"].as_object_mut().into_iter().flat_map(|m| m.values_mut()) {
        if response.get("description").and_then(Value::as_str).is_none_or(str::is_empty) {
            response["description"] = about.as_str().into();
        }
    }
}

/// What a parameter of this name may be, wherever it stands.
fn parameters(operation: &mut Value) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        let name_of = |what: &str| (json!({"type": "string", "pattern": bounds::NAME}), what.to_owned());
        let (schema, description) = match name {
            "plural" => (json!({"$ref": PLURAL}), "Kind of the object, in the plural".to_owned()),
            "kind" => {
                let names = Kind::ALL.into_iter().flat_map(|k| [k.name(), k.plural(), k.short()]);
                (json!({"type": "string", "enum": names.collect::<Vec<_>>()}), "Kind of the object".to_owned())
            }
            "namespace" => name_of("Namespace of the object"),
            "name" => name_of("Name of the object"),
            "limit" => (
                json!({"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}),
                "Items of the page".to_owned(),
            ),
            "node_id" => (json!({"type": "string", "pattern": NODE_ID}), "The node's id".to_owned()),
            "id" => (json!({"type": "string", "minLength": 1, "maxLength": 128}), "As the list names it".to_owned()),
            "code" => (json!({"type": "string", "pattern": "^TG-[0-9]{4}$"}), "The error code".to_owned()),
            "if-match" => (
                json!({"type": "string", "pattern": "^([*]|\"[1-9][0-9]{0,17}\")$"}),
                "Only if the object is at this ETag, or exists (`*`)".to_owned(),
            ),
            "if-none-match" => {
                (json!({"type": "string", "pattern": "^[*]$"}), "`*`: only if the object does not exist".to_owned())
            }
            _ => continue,
        };
        parameter["schema"] = schema;
        if parameter.get("description").and_then(Value::as_str).is_none_or(str::is_empty) {
            parameter["description"] = description.into();
        }
    }
}

/// A body is wanted, is bounded, and has examples that are accepted.
fn body(operation: &mut Value) {
    let Some(body) = operation.get_mut("requestBody") else { return };
    body["required"] = true.into();
    if body.get("description").and_then(Value::as_str).is_none_or(str::is_empty) {
        body["description"] = format!("At most {MAX_BODY} bytes").into();
    }
    for media in body["content"].as_object_mut().into_iter().flat_map(|m| m.values_mut()) {
        let each = || examples::documents().into_iter().map(|(kind, document)| (kind.name().to_owned(), document));
        if media["schema"]["$ref"] == DOCUMENT {
            let one = |(name, document): (String, Value)| (name, json!({"value": document}));
            media["examples"] = each().map(one).collect::<Map<_, _>>().into();
        } else if media["schema"]["$ref"] == DOCUMENTS {
            let all: Vec<Value> = each().map(|(_, document)| document).collect();
            media["examples"] = json!({"all": {"summary": "One of each kind", "value": all}});
        }
    }
}
