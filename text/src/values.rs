//! Text of one or more documents to values. JSON is read as JSON; everything else, and JSON as people write it (with comments,
//! without quotes), as YAML.
use serde_json::Value;

use crate::{Mistake, json, yaml};

/// Every document of a text, empty ones left out. Documents of YAML are separated by `---`, those of JSON by nothing.
///
/// # Errors
/// What is wrong with the syntax, and where.
pub fn values(text: &str) -> Result<Vec<Value>, Mistake> {
    let documents = if text.trim_start().starts_with(['{', '[']) {
        json::read(text).or_else(|as_json| yaml::read(text).map_err(|as_yaml| later(as_json, as_yaml)))
    } else {
        yaml::read(text)
    };
    Ok(documents?.into_iter().filter(|value| !value.is_null()).collect())
}

/// The mistake of the reader that got further: it understood what was meant.
fn later(as_json: Mistake, as_yaml: Mistake) -> Mistake {
    if as_yaml.at > as_json.at { as_yaml } else { as_json }
}

/// The one document of a text, None when it is empty.
///
/// # Errors
/// As [`values`], and when there are several.
pub fn one(text: &str) -> Result<Option<Value>, Mistake> {
    let mut all = values(text)?;
    match all.len() {
        0 | 1 => Ok(all.pop()),
        n => Err(Mistake::new(format!("there are {n} documents, and one is wanted"))),
    }
}
