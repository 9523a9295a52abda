//! Bytes to documents as values: size, text, syntax, lists opened, and how many there are. What they say is read elsewhere.
use serde_json::Value;

use super::{
    MAX_BYTES, MAX_DOCUMENT_BYTES, MAX_DOCUMENTS,
    lists::{Opened, open_lists},
};
use crate::reject::{Code, Rejection};

/// All documents of a body. Empty documents are left out; a list may be empty, a body not.
pub(super) fn values(bytes: &[u8]) -> Result<Vec<Value>, Rejection> {
    if bytes.len() > MAX_BYTES {
        return Err(whole(Code::TooLarge, format!("the body has {} bytes; the limit is {MAX_BYTES}", bytes.len())));
    }
    let read = tidegate_text::decode(bytes).and_then(tidegate_text::values);
    let Opened { documents, lists } = open_lists(read.map_err(|e| whole(Code::Malformed, e.to_string()))?)?;
    let large = |value: &Value| bytes.len() > MAX_DOCUMENT_BYTES && value.to_string().len() > MAX_DOCUMENT_BYTES;
    match documents.len() {
        0 if lists == 0 => Err(whole(Code::DocumentCount, "the body holds no document".to_owned())),
        n if n > MAX_DOCUMENTS => Err(whole(
            Code::DocumentCount,
            format!(
                "the body holds {n} documents; the limit is {MAX_DOCUMENTS}: send several bodies, as `tidegate apply` does"
            ),
        )),
        _ => match documents.iter().position(large) {
            Some(n) => Err(Rejection {
                document: Some(n),
                ..whole(Code::TooLarge, format!("the document has more than {MAX_DOCUMENT_BYTES} bytes"))
            }),
            None => Ok(documents),
        },
    }
}

fn whole(code: Code, message: String) -> Rejection {
    Rejection { path: "$".to_owned(), message, code, document: None }
}
