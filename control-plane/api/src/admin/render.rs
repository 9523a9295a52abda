//! Stored objects as documents: the same shape that was written, with what the store and the system know added.
use http::HeaderValue;
use serde_json::{Map, Value, json};
use tidegate_policy::{
    kinds::{API_VERSION, Kind, in_schema_order},
    ports::{Outcome, Revision, Source, StoredObject},
};

/// The whole document of an object. It may be sent back as it is: what the system adds is ignored on the way in, except
/// `resourceVersion`, which makes the write conditional.
#[must_use]
pub fn document(object: &StoredObject) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), object.key.object.name.as_str().into());
    metadata.insert("namespace".to_owned(), object.key.object.namespace.as_str().into());
    for (name, value) in [("labels", &object.labels), ("annotations", &object.annotations)] {
        if value.as_object().is_some_and(|m| !m.is_empty()) {
            metadata.insert(name.to_owned(), in_schema_order("", value));
        }
    }
    metadata.insert("uid".to_owned(), object.uid.to_string().into());
    metadata.insert("generation".to_owned(), object.generation.into());
    if let Some(version) = version(object) {
        metadata.insert("resourceVersion".to_owned(), version.into());
    }
    metadata.insert("creationTimestamp".to_owned(), time(object.created_at).into());
    metadata.insert("managedBy".to_owned(), source(object.source).into());
    json!({
        "apiVersion": API_VERSION,
        "kind": object.key.kind.name(),
        "metadata": metadata,
        "spec": spec(object.key.kind, &object.spec),
        "status": in_schema_order("ObjectStatus", &object.status),
    })
}

/// A stored spec in the order in which its kind declares the fields.
fn spec(kind: Kind, stored: &Value) -> Value {
    in_schema_order(kind.spec_schema(), stored)
}

/// What a person wrote of an object: without status and without what the store adds. For diffs.
pub fn intent(object: &StoredObject) -> Value {
    let mut document = document(object);
    if let Some(top) = document.as_object_mut() {
        top.remove("status");
        if let Some(metadata) = top.get_mut("metadata").and_then(Value::as_object_mut) {
            for added in ["uid", "generation", "resourceVersion", "creationTimestamp", "managedBy"] {
                metadata.remove(added);
            }
        }
    }
    document
}

/// One line of the history.
pub fn revision(line: &Revision) -> Value {
    json!({
        "revision": line.revision,
        "at": time(line.at),
        "author": line.author,
        "source": source(line.source),
        "kind": line.key.kind.name(),
        "namespace": line.key.object.namespace,
        "name": line.key.object.name,
        "outcome": outcome(line.outcome),
        "spec": line.spec.as_ref().map(|stored| spec(line.key.kind, stored)),
    })
}

/// RFC 3339, in seconds, UTC.
pub fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Who owns an object, as `metadata.managedBy` says it.
pub fn source(source: Source) -> &'static str {
    match source {
        Source::Rest => "Rest",
        Source::File => "File",
        Source::Kubernetes => "Kubernetes",
    }
}

/// What a write did.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "Created",
        Outcome::Configured => "Configured",
        Outcome::Unchanged => "Unchanged",
        Outcome::Deleted => "Deleted",
    }
}

/// The resourceVersion of an object; none when a dry run says what would be made.
pub fn version(object: &StoredObject) -> Option<String> {
    (object.revision > 0).then(|| object.revision.to_string())
}

/// The ETag of an object: its resourceVersion. It does not change with `status`.
pub fn etag(object: &StoredObject) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("\"{}\"", object.revision)).ok()
}
