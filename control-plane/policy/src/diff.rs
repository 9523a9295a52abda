//! What a write would change, as a unified diff of YAML. For people; nothing reads it back.
use serde_json::Value;
use similar::TextDiff;

use crate::ports::ObjectKey;

/// A unified diff of two specs (`None`: there is none), empty when they are equal. The header names the object.
pub fn unified(key: &ObjectKey, old: Option<&Value>, new: Option<&Value>) -> String {
    if old == new {
        return String::new();
    }
    let (before, after) = (yaml(old), yaml(new));
    let header = |side: &str, value: Option<&Value>| match value {
        Some(_) => format!("{side}/{}/{}/{}", key.object.namespace, key.kind.plural(), key.object.name),
        None => "/dev/null".to_owned(),
    };
    TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(3)
        .header(&header("a", old), &header("b", new))
        .to_string()
}

/// A spec as YAML, as `tidegate get -o yaml` shows it.
pub fn yaml(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(value) => tidegate_text::write(value),
    }
}
