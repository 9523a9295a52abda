//! Collects raw values from flags, environment and file, in that order of precedence, and remembers where each came from.
//! Never interprets a value.
use std::{collections::BTreeMap, path::Path};

use clap::ArgMatches;
use tidegate_program::text_file;

use super::{
    Problem,
    keys::{KEYS, Key, env_name, file_name},
};

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    Flag,
    Env,
    File(String),
    Default,
    /// Nobody set it and it has no default.
    Unset,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Env => f.write_str("environment"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Default => f.write_str("default"),
            Self::Unset => f.write_str("not set"),
        }
    }
}

/// One setting as written.
#[derive(Clone, Debug)]
pub struct Raw {
    pub values: Vec<String>,
    pub origin: Origin,
}

/// Every setting by name.
pub type Layers = BTreeMap<&'static str, Raw>;

/// Reads all layers. `env` is given, so that tests need no process environment.
pub fn collect(matches: &ArgMatches, env: &BTreeMap<String, String>, problems: &mut Vec<Problem>) -> Layers {
    let path = matches.get_one::<String>("config").cloned().or_else(|| env.get("TIDEGATE_WORKER_CONFIG").cloned());
    let file = path.as_deref().map(|path| (path, read_file(path, problems)));
    KEYS.iter().map(|key| (key.name, pick(key, matches, env, file.as_ref()))).collect()
}

type File<'a> = (&'a str, BTreeMap<String, Vec<String>>);

fn pick(key: &Key, matches: &ArgMatches, env: &BTreeMap<String, String>, file: Option<&File<'_>>) -> Raw {
    if let Some(values) = matches.get_many::<String>(key.name) {
        return Raw { values: values.cloned().collect(), origin: Origin::Flag };
    }
    if let Some(value) = env.get(&env_name(key.name)).cloned() {
        let values = if key.repeated { value.split(':').map(str::to_owned).collect() } else { vec![value] };
        return Raw { values, origin: Origin::Env };
    }
    if let Some((path, values)) = file.and_then(|(path, map)| map.get(&file_name(key.name)).map(|v| (path, v.clone())))
    {
        return Raw { values, origin: Origin::File((*path).to_owned()) };
    }
    match key.default {
        Some(default) => Raw { values: vec![default.to_owned()], origin: Origin::Default },
        None => Raw { values: Vec::new(), origin: Origin::Unset },
    }
}

fn read_file(path: &str, problems: &mut Vec<Problem>) -> BTreeMap<String, Vec<String>> {
    let mut out = BTreeMap::new();
    let mut refuse = |why: String| problems.push(Problem::new("config", format!("{path}: {why}")));
    let text = match text_file::read(Path::new(path), text_file::MAX_SMALL) {
        Ok(text) => text,
        Err(problem) => {
            refuse(problem.to_string());
            return out;
        }
    };
    let map = match tidegate_text::one(&text) {
        Ok(Some(serde_json::Value::Object(map))) => map,
        Ok(None) => return out,
        Ok(Some(_)) => {
            refuse("it is not a mapping of settings".to_owned());
            return out;
        }
        Err(mistake) => {
            refuse(mistake.to_string());
            return out;
        }
    };
    for (name, value) in map {
        let known = KEYS.iter().find(|key| file_name(key.name) == name);
        match known {
            None => problems.push(Problem::new(&name, format!("{path} has no setting of this name"))),
            Some(key) => match scalars(&value, key.repeated) {
                Some(values) => {
                    out.insert(name, values);
                }
                None => problems.push(Problem::new(key.name, format!("{path}: must be a plain value"))),
            },
        }
    }
    out
}

fn scalars(value: &serde_json::Value, repeated: bool) -> Option<Vec<String>> {
    use serde_json::Value;
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Bool(flag) => Some(vec![flag.to_string()]),
        Value::Number(number) => Some(vec![number.to_string()]),
        Value::Array(items) if repeated => {
            items.iter().map(|item| scalars(item, false).and_then(|mut v| v.pop())).collect()
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
