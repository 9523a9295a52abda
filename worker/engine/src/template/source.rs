//! A template's text out of its file: plain Jinja, or the `chat_template` member of a JSON file (tokenizer_config.json,
//! chat_template.json). Renders nothing.
use serde::Deserialize;

use crate::error::EngineError;

/// Longest JSON file that may hold a template, bytes: a tokenizer_config.json lists its added tokens, too.
const MAX_JSON: usize = 16 << 20;
/// The template that is used when a file has several.
const DEFAULT: &str = "default";

#[derive(Deserialize)]
struct Holder {
    #[serde(default)]
    chat_template: Option<Templates>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

/// The template's text; at most `max` bytes.
pub(super) fn read(file: &str, bytes: &[u8], max: usize) -> Result<String, EngineError> {
    let invalid = |text: String| EngineError::TemplateInvalid { source: format!("{file}: {text}").into() };
    let too_long = |has: usize, max: usize| invalid(format!("it has {has} bytes, {max} are allowed"));
    let source = if file.ends_with(".json") {
        if bytes.len() > MAX_JSON {
            return Err(too_long(bytes.len(), MAX_JSON));
        }
        let holder: Holder = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;
        match holder.chat_template {
            Some(Templates::One(text)) => text,
            Some(Templates::Named(list)) => list
                .into_iter()
                .find(|named| named.name == DEFAULT)
                .map(|named| named.template)
                .ok_or_else(|| invalid(format!("chat_template has none that is named {DEFAULT:?}")))?,
            None => return Err(invalid("it has no chat_template".to_owned())),
        }
    } else {
        if bytes.len() > max {
            return Err(too_long(bytes.len(), max));
        }
        let text = std::str::from_utf8(bytes).map_err(|e| invalid(e.to_string()))?;
        text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()
    };
    if source.len() > max { Err(too_long(source.len(), max)) } else { Ok(source) }
}

/// `{% generation %}` marks the assistant's text for training and changes nothing when serving: a block that is always
/// rendered stands for it, with the same white space control and on the same lines.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        rest = tag;
        let head = tag.trim_start_matches(['-', '+']).trim_start();
        let words = [("endgeneration", "endif"), ("generation", "if true")];
        let found = words.iter().find_map(|(word, stand_in)| {
            let behind = head.strip_prefix(word)?;
            let end = behind.trim_start().trim_start_matches(['-', '+']);
            end.starts_with("%}").then_some((*stand_in, tag.len() - head.len(), behind))
        });
        if let Some((stand_in, opening, behind)) = found {
            out.push_str(tag.get(..opening).unwrap_or_default());
            out.push_str(stand_in);
            rest = behind;
        }
    }
    out.push_str(rest);
    out
}
