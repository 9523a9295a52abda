//! Fields of the OpenAI API that this worker does not support. Official clients send some with values that change nothing;
//! exactly those values are accepted. Everything else is refused by name, never ignored.
use super::json::{Json, invalid};
use crate::error::{RequestError, shortened};

/// Bounds of `metadata`, those of the original API: pairs, characters of a key, characters of a value.
const METADATA: (usize, usize, usize) = (16, 64, 512);
/// Most bytes of an identifier that is kept nowhere.
const MAX_LABEL: usize = 512;

/// When a field that is not supported may stand in a request all the same (`null` always may).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Harmless {
    OnlyNull,
    False,
    /// Either answer means the same here.
    Bool,
    /// A text that labels the request for its sender.
    Label,
    /// Texts by name, within the bounds of [`METADATA`].
    Metadata,
    Zero,
    EmptyArray,
    EmptyObject,
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// `{"type": "text"}`.
    TextFormat,
    /// `["text"]`.
    TextModality,
}

/// Fields of chat completions that are known, not supported, and when they are harmless. There are never tools, so what is said
/// about their calls changes nothing; nothing is ever stored, as with the original API where no data is retained; of a
/// setting whose default is meant, the default is taken.
pub const CHAT: &[(&str, Harmless)] = &[
    ("audio", Harmless::OnlyNull),
    ("function_call", Harmless::OneOf(&["none"])),
    ("functions", Harmless::EmptyArray),
    ("logit_bias", Harmless::EmptyObject),
    ("logprobs", Harmless::False),
    ("metadata", Harmless::Metadata),
    ("modalities", Harmless::TextModality),
    ("moderation", Harmless::OnlyNull),
    ("parallel_tool_calls", Harmless::Bool),
    ("prediction", Harmless::OnlyNull),
    ("prompt_cache_key", Harmless::Label),
    ("prompt_cache_options", Harmless::OnlyNull),
    ("prompt_cache_retention", Harmless::OneOf(&["in-memory", "in_memory"])),
    ("reasoning_effort", Harmless::OneOf(&["none", "medium"])),
    ("response_format", Harmless::TextFormat),
    ("safety_identifier", Harmless::Label),
    ("service_tier", Harmless::OneOf(&["auto", "default"])),
    ("store", Harmless::Bool),
    ("tool_choice", Harmless::OneOf(&["none"])),
    ("tools", Harmless::EmptyArray),
    ("top_logprobs", Harmless::Zero),
    ("verbosity", Harmless::OneOf(&["medium"])),
    ("web_search_options", Harmless::OnlyNull),
];

/// The same for a message; official clients send answers back with these set to nothing.
pub const MESSAGE: &[(&str, Harmless)] = &[
    ("annotations", Harmless::EmptyArray),
    ("audio", Harmless::OnlyNull),
    ("function_call", Harmless::OnlyNull),
    ("refusal", Harmless::OnlyNull),
    ("tool_call_id", Harmless::OnlyNull),
    ("tool_calls", Harmless::EmptyArray),
];

/// Accepts a field that changes nothing; refuses it by name when it would, or when nobody knows it.
pub fn check(table: &[(&str, Harmless)], name: &str, param: &str, value: Json) -> Result<(), RequestError> {
    let Some((_, harmless)) = table.iter().find(|(known, _)| *known == name) else {
        return Err(RequestError::UnknownField { param: shortened(param) });
    };
    match harmless {
        _ if value == Json::Null => Ok(()),
        Harmless::Bool => value.bool(param).map(drop),
        Harmless::Label => value.text(param, MAX_LABEL).map(drop),
        Harmless::Metadata => metadata(value, param),
        harmless if harmless.allows(&value) => Ok(()),
        harmless => Err(RequestError::Unsupported { param: param.to_owned(), reason: harmless.reason() }),
    }
}

fn metadata(value: Json, param: &str) -> Result<(), RequestError> {
    let (pairs, key_chars, value_chars) = METADATA;
    let members = value.object(param)?;
    if members.len() > pairs {
        return Err(invalid(param, format!("has {} pairs, {pairs} are allowed", members.len())));
    }
    for (key, value) in members {
        let longer = |text: &str, max: usize| text.chars().nth(max).is_some();
        if longer(&key, key_chars) {
            return Err(invalid(param, format!("the key {:?} is longer than {key_chars} characters", shortened(&key))));
        }
        let at = format!("{param}.{key}");
        if longer(&value.text(&at, usize::MAX)?, value_chars) {
            return Err(invalid(&at, format!("is longer than {value_chars} characters")));
        }
    }
    Ok(())
}

impl Harmless {
    fn allows(self, value: &Json) -> bool {
        match (self, value) {
            (_, Json::Null) | (Self::False, Json::Bool(false)) | (Self::Zero, Json::Integer(0)) => true,
            (Self::Zero, Json::Float(number)) => *number == 0.0,
            (Self::EmptyArray, Json::Array(items)) => items.is_empty(),
            (Self::EmptyObject, Json::Object(members)) => members.is_empty(),
            (Self::OneOf(texts), Json::Text(text)) => texts.contains(&text.as_str()),
            (Self::TextFormat, Json::Object(members)) => {
                matches!(members.as_slice(), [(name, Json::Text(kind))] if name == "type" && kind == "text")
            }
            (Self::TextModality, Json::Array(items)) => {
                matches!(items.as_slice(), [Json::Text(kind)] if kind == "text")
            }
            (
                Self::OnlyNull
                | Self::False
                | Self::Bool
                | Self::Label
                | Self::Metadata
                | Self::Zero
                | Self::EmptyArray
                | Self::EmptyObject
                | Self::OneOf(_)
                | Self::TextFormat
                | Self::TextModality,
                _,
            ) => false,
        }
    }

    fn reason(self) -> String {
        match self {
            Self::OnlyNull => "leave it out".to_owned(),
            Self::Bool | Self::Label | Self::Metadata => "send another value".to_owned(),
            Self::False => "leave it out or send false".to_owned(),
            Self::Zero => "leave it out or send 0".to_owned(),
            Self::EmptyArray => "leave it out or send []".to_owned(),
            Self::EmptyObject => "leave it out or send {}".to_owned(),
            Self::OneOf(texts) => format!("leave it out or send {}", texts.join(" or ")),
            Self::TextFormat => "leave it out or send {\"type\":\"text\"}".to_owned(),
            Self::TextModality => "leave it out or send [\"text\"]".to_owned(),
        }
    }
}
