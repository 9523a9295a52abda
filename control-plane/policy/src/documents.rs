//! Bytes to documents: YAML (several documents) or JSON. Refuses every mistake of form at once: syntax, unknown kinds and
//! fields, wrong types, missing fields, bad names. What a well-formed document may *say* is checked in `validate`.
mod envelope;
mod lists;
mod read;
mod shape;
pub(crate) mod suggest;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    ports::ObjectKey,
    reject::{Code, Found, Rejection, Rejections},
};

pub(crate) use envelope::is_label_part;
pub use envelope::name_problem;
pub use lists::{Opened, open_lists};
pub(crate) use suggest::did_you_mean;

/// Largest body, in bytes: a page of a listing, sent back, fits.
pub const MAX_BYTES: usize = 4 << 20;

/// Largest document, in bytes of JSON.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// Most documents in one body: as many as a page of a listing has.
pub const MAX_DOCUMENTS: usize = 500;

/// A document whose form is right.
#[derive(Clone, PartialEq, Debug)]
pub struct Document {
    /// Its place in the body, from 0; empty documents are not counted.
    pub index: usize,
    pub key: ObjectKey,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// What the edit is based on.
    pub resource_version: Option<i64>,
    pub spec: Value,
}

/// A document and what is wrong with its form. `document` is there as soon as its kind is known; wrong places in it hold
/// stand-ins, and `stand_ins` names them, so that the rest can still be checked.
#[derive(Debug)]
pub(crate) struct Draft {
    pub document: Option<Document>,
    pub found: Found,
    pub stand_ins: Vec<String>,
}

/// Reads a body and keeps documents with mistakes. An error means that nothing could be read at all.
/// A document that names no namespace is of `namespace`.
pub(crate) fn drafts(bytes: &[u8], namespace: &str) -> Result<Vec<Draft>, Rejections> {
    let values = read::values(bytes).map_err(|r| Rejections(vec![r]))?;
    let open = |(index, value)| envelope::open(index, value, namespace);
    let mut drafts: Vec<_> = values.iter().enumerate().map(open).collect();
    refuse_repeats(&mut drafts);
    Ok(drafts)
}

/// The same object twice in one body is a mistake: which one would be meant?
fn refuse_repeats(drafts: &mut [Draft]) {
    let mut seen: BTreeMap<ObjectKey, usize> = BTreeMap::new();
    for draft in drafts {
        let Some(document) = &draft.document else { continue };
        if document.key.object.name.is_empty() {
            continue;
        }
        if let Some(first) = seen.get(&document.key) {
            draft.found.listed.push(Rejection {
                path: "$.metadata.name".to_owned(),
                message: format!("{} stands in document {first} already", document.key),
                code: Code::Duplicate,
                document: Some(document.index),
            });
        } else {
            seen.insert(document.key.clone(), document.index);
        }
    }
}
