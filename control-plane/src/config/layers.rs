//! Puts flag, environment, file and default on top of each other, and keeps for each value where it came from.
//! Works on text that was read elsewhere: no file, environment or clock here.
use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde_json::Value;

use super::{
    ConfigError, Inputs,
    fields::{FIELDS, Field, Shape},
    variables,
};

/// Where a value came from; the first of these that has one wins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    Flag(String),
    Env(String),
    File(PathBuf),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting's text and where it came from. No values: unset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layered {
    pub values: Vec<String>,
    pub origin: Origin,
}

/// One value per setting, with the winner's origin.
pub fn layer(inputs: &Inputs, errors: &mut Vec<ConfigError>) -> BTreeMap<&'static str, Layered> {
    let file = read_file(inputs, errors);
    errors.extend(variables::judge(&inputs.env).0);
    let mut layers: BTreeMap<_, _> = FIELDS.iter().map(|field| (field.key, pick(field, inputs, &file))).collect();
    let models = layers.get("data_dir").and_then(|l| l.values.first()).map(|dir| format!("{dir}/models"));
    if let (Some(roots), Some(models)) = (layers.get_mut("model_roots").filter(|l| l.values.is_empty()), models) {
        roots.values.push(models);
    }
    layers
}

/// The highest layer that says something. An empty text says nothing: that is how compose files and charts write a
/// setting that is not set.
fn pick(field: &'static Field, inputs: &Inputs, file: &BTreeMap<&'static str, Vec<String>>) -> Layered {
    if let Some(values) = inputs.flags.get(field.key).and_then(|v| filled(v.iter().map(String::as_str))) {
        return Layered { values, origin: Origin::Flag(field.flag.to_owned()) };
    }
    let values = inputs.env.get(&field.env()).and_then(|text| match field.shape {
        Shape::Many => filled(text.split(',').map(str::trim)),
        Shape::One | Shape::Switch => filled(std::iter::once(text.as_str())),
    });
    if let Some(values) = values {
        return Layered { values, origin: Origin::Env(field.env()) };
    }
    let values = file.get(field.key).and_then(|v| filled(v.iter().map(String::as_str)));
    if let (Some(values), Some(given)) = (values, &inputs.file) {
        return Layered { values, origin: Origin::File(given.path.clone()) };
    }
    let values = match field.key {
        "data_dir" => vec![inputs.default_data_dir().to_owned()],
        _ if field.default.is_empty() => Vec::new(),
        _ => vec![field.default.to_owned()],
    };
    Layered { values, origin: Origin::Default }
}

/// The texts that are not blank; None when all are.
fn filled<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Vec<String>> {
    let values: Vec<String> = texts.filter(|t| !t.trim().is_empty()).map(str::to_owned).collect();
    if values.is_empty() { None } else { Some(values) }
}

fn read_file(inputs: &Inputs, errors: &mut Vec<ConfigError>) -> BTreeMap<&'static str, Vec<String>> {
    let mut out = BTreeMap::new();
    let Some(file) = &inputs.file else { return out };
    let what = format!("file {}", file.path.display());
    let text = match &file.text {
        Ok(text) => text,
        Err(reason) => {
            errors.push(ConfigError::file(&what, reason));
            return out;
        }
    };
    let map = match tidegate_text::one(text) {
        Ok(Some(Value::Object(map))) => map,
        Ok(None) => return out,
        Ok(Some(_)) => {
            errors.push(ConfigError::file(&what, "must be a mapping of settings"));
            return out;
        }
        Err(error) => {
            errors.push(ConfigError::file(&what, &error.to_string()));
            return out;
        }
    };
    for (key, value) in map {
        let Some(field) = FIELDS.iter().find(|f| f.file_key() == key) else {
            errors.push(ConfigError::unknown(
                &format!("{what}: {key}"),
                nearest(&key, FIELDS.iter().map(Field::file_key)),
            ));
            continue;
        };
        match texts(field, &value) {
            Ok(values) => {
                out.insert(field.key, values);
            }
            Err(expected) => errors.push(ConfigError::value(&format!("{what}: {key}"), "this value", expected)),
        }
    }
    out
}

fn texts(field: &Field, value: &Value) -> Result<Vec<String>, &'static str> {
    let scalar = |v: &Value| match v {
        Value::String(s) => Some(s.clone()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Number(n) => Some(n.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match (field.shape, value) {
        (_, Value::Null) => Ok(Vec::new()),
        (Shape::Many, Value::Array(items)) => items.iter().map(|v| scalar(v).ok_or("a list of texts")).collect(),
        (Shape::Many, _) => Err("a list of texts"),
        (Shape::One | Shape::Switch, v) => scalar(v).map(|s| vec![s]).ok_or("one text, number or bool"),
    }
}

/// The candidate that differs least, if it is close enough to be what was meant.
pub(super) fn nearest(given: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    candidates
        .map(|c| (distance(&given.to_ascii_lowercase(), &c.to_ascii_lowercase()), c))
        .min()
        .filter(|(d, c)| *d <= 1 + c.len() / 5)
        .map(|(_, c)| c)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
