//! Lists of documents, as `get` prints them and as the API answers them: `kind: List`, `kind: ModelList` and its like, and bare
//! arrays. All readers of documents open them here, so that whatever is written can be read.
use serde_json::{Map, Value};

use crate::{
    kinds::Kind,
    reject::{Code, Rejection},
};

const FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "items"];

/// Documents that stood in lists or alone, in their order.
#[derive(Clone, Debug, Default)]
pub struct Opened {
    pub documents: Vec<Value>,
    /// How many lists there were; an empty list is no mistake.
    pub lists: usize,
}

/// Opens every list. A list shows how objects were at one moment, as a backup does: the `resourceVersion` of what stands in a
/// `List` is no condition for writing it.
///
/// # Errors
/// A list without `items`, or with a field that a list does not have.
pub fn open_lists(values: Vec<Value>) -> Result<Opened, Rejection> {
    let mut opened = Opened::default();
    for value in values {
        open(value, &mut opened)?;
    }
    Ok(opened)
}

fn open(value: Value, opened: &mut Opened) -> Result<(), Rejection> {
    match value {
        Value::Array(items) => {
            opened.lists += 1;
            items.into_iter().try_for_each(|item| open(item, opened))
        }
        Value::Object(map) => match of_kind(&map) {
            Some(kind) => {
                opened.lists += 1;
                items(map, kind, opened)
            }
            None => {
                opened.documents.push(Value::Object(map));
                Ok(())
            }
        },
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            opened.documents.push(other);
            Ok(())
        }
    }
}

/// `Some` for a list; inside, the kind that its items have.
#[allow(clippy::option_option, reason = "a list of any kind is a list too")]
fn of_kind(map: &Map<String, Value>) -> Option<Option<Kind>> {
    let name = map.get("kind")?.as_str()?.strip_suffix("List")?;
    match Kind::ALL.into_iter().find(|kind| kind.name() == name) {
        Some(kind) => Some(Some(kind)),
        None if name.is_empty() => Some(None),
        None => None,
    }
}

fn items(mut map: Map<String, Value>, kind: Option<Kind>, opened: &mut Opened) -> Result<(), Rejection> {
    let place = opened.documents.len();
    let wrong = |field: &str, code, message: &str| {
        Err(Rejection { path: format!("$.{field}"), message: message.to_owned(), code, document: Some(place) })
    };
    if let Some(field) = map.keys().find(|field| !FIELDS.contains(&field.as_str())) {
        return wrong(field, Code::UnknownField, "unknown field; a list has apiVersion, kind, metadata and items");
    }
    let version = map.remove("apiVersion");
    let items = match map.remove("items") {
        Some(Value::Array(items)) => items,
        Some(_) => return wrong("items", Code::WrongType, "expected a list of documents"),
        None => return wrong("items", Code::MissingField, "missing; it holds the documents of the list"),
    };
    for mut item in items {
        if let Some(document) = item.as_object_mut() {
            if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("resourceVersion");
            }
            // What the list says of all its items, an item need not say.
            if let (Some(kind), Some(version)) = (kind, &version) {
                document.entry("kind").or_insert_with(|| kind.name().into());
                document.entry("apiVersion").or_insert_with(|| version.clone());
            }
        }
        open(item, opened)?;
    }
    Ok(())
}
