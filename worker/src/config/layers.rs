//! Collects raw values from flags, environment and file, in that order of precedence, and remembers where each came from.
//! Never interprets a value.
use std::collections::BTreeMap;

use clap::ArgMatches;

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

/// Largest settings file, bytes.
const MAX_FILE: u64 = 1 << 20;

fn read_file(path: &str, problems: &mut Vec<Problem>) -> BTreeMap<String, Vec<String>> {
    let mut out = BTreeMap::new();
    let text = match std::fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_FILE => Err(format!("{path} is larger than 1 MiB")),
        Ok(_) => std::fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}")),
        Err(e) => Err(format!("cannot read {path}: {e}")),
    };
    let text = match text {
        Ok(text) if text.trim().is_empty() => return out,
        Ok(text) => text,
        Err(message) => {
            problems.push(Problem::new("config", message));
            return out;
        }
    };
    let map: BTreeMap<String, serde_json::Value> = match serde_saphyr::from_str(&text) {
        Ok(map) => map,
        Err(e) => {
            problems.push(Problem::new("config", format!("{path} is not a YAML mapping of settings: {e}")));
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
