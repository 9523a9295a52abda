//! A chat request that is valid. [`ValidChatRequest`] exists only when every field was understood; nothing else reaches the
//! engine. Pure: bytes in, request or error out. What depends on the model (prompt length) is checked where the model is known.
use tidegate_engine::engine::ChatMessage;

use super::{
    json::{Json, invalid, parse},
    noop,
};
use crate::error::{RequestError, shortened};

/// Most messages of one request.
pub const MAX_MESSAGES: usize = 1_024;
/// Most text parts of one message.
pub const MAX_PARTS: usize = 256;
/// Most stop strings, and most bytes of each.
pub const MAX_STOP: usize = 4;
const MAX_STOP_BYTES: usize = 256;
const MAX_ID_BYTES: usize = 512;
/// Bytes of the name of a participant.
const MAX_NAME: usize = 64;
/// Bytes of a body; a text cannot be longer.
const MAX_TEXT: usize = super::MAX_BODY;

/// Everything that a chat completion needs to know.
#[derive(Clone, PartialEq, Debug)]
pub struct ValidChatRequest {
    pub model: String,
    pub messages: Vec<ChatMessage>,
    /// Tokens of the answer; None: as many as fit.
    pub max_tokens: Option<usize>,
    /// 0 means the most likely token always.
    pub temperature: f32,
    pub top_p: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    pub seed: Option<u64>,
    /// Texts that end the answer; not part of it.
    pub stop: Vec<String>,
    pub stream: bool,
    pub include_usage: bool,
}

/// Reads a body.
pub fn parse_chat(body: &[u8]) -> Result<ValidChatRequest, RequestError> {
    let mut draft = Draft::default();
    for (name, value) in parse(body)? {
        draft.field(&name, value)?;
    }
    draft.finish()
}

#[derive(Default)]
struct Draft {
    model: Option<String>,
    messages: Option<Vec<ChatMessage>>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    presence_penalty: f32,
    frequency_penalty: f32,
    seed: Option<u64>,
    stop: Vec<String>,
    stream: bool,
    stream_options: bool,
    include_usage: bool,
}

impl Draft {
    fn field(&mut self, name: &str, value: Json) -> Result<(), RequestError> {
        match (name, value) {
            ("model", value) => self.model = Some(value.text(name, MAX_ID_BYTES)?),
            ("messages", value) => self.messages = Some(messages(value)?),
            (_, Json::Null) if SUPPORTED.contains(&name) => {}
            ("max_tokens", value) => self.max_tokens = Some(count(value, name)?),
            ("max_completion_tokens", value) => self.max_completion_tokens = Some(count(value, name)?),
            ("temperature", value) => self.temperature = Some(single(value.number(name, 0.0, 2.0)?)),
            ("top_p", value) => self.top_p = Some(top_p(value)?),
            ("presence_penalty", value) => self.presence_penalty = single(value.number(name, -2.0, 2.0)?),
            ("frequency_penalty", value) => self.frequency_penalty = single(value.number(name, -2.0, 2.0)?),
            ("seed", value) => self.seed = Some(value.integer(name, i64::MIN, i64::MAX)?.cast_unsigned()),
            ("stop", value) => self.stop = stop(value)?,
            ("stream", value) => self.stream = value.bool(name)?,
            ("stream_options", value) => {
                self.stream_options = true;
                self.include_usage = stream_options(value)?;
            }
            // Only an end user's id: accepted because it changes no answer, and kept nowhere.
            ("user", value) => drop(value.text(name, MAX_ID_BYTES)?),
            ("n", Json::Integer(1)) => {}
            ("n", Json::Integer(_)) => {
                return Err(RequestError::Unsupported { param: "n".into(), reason: "send 1 or leave it out".into() });
            }
            ("n", value) => drop(value.integer(name, 1, 1)?),
            (other, value) => noop::check(noop::CHAT, other, other, value)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<ValidChatRequest, RequestError> {
        let missing = |param: &str| RequestError::Missing { param: param.to_owned() };
        if self.max_tokens.is_some()
            && self.max_completion_tokens.is_some()
            && self.max_tokens != self.max_completion_tokens
        {
            return Err(invalid("max_tokens", "differs from max_completion_tokens; send one of them"));
        }
        if self.stream_options && !self.stream {
            return Err(invalid("stream_options", "is only for stream=true"));
        }
        Ok(ValidChatRequest {
            model: self.model.ok_or_else(|| missing("model"))?,
            messages: self.messages.ok_or_else(|| missing("messages"))?,
            max_tokens: self.max_completion_tokens.or(self.max_tokens),
            temperature: self.temperature.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(1.0),
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            seed: self.seed,
            stop: self.stop,
            stream: self.stream,
            include_usage: self.include_usage,
        })
    }
}

/// Supported fields that may be `null`.
const SUPPORTED: &[&str] = &[
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "user",
    "n",
];

fn count(value: Json, param: &str) -> Result<usize, RequestError> {
    let value = value.integer(param, 1, i64::from(i32::MAX))?;
    usize::try_from(value).map_err(|_| invalid(param, "is too large"))
}

#[allow(clippy::cast_possible_truncation)]
fn single(value: f64) -> f32 {
    value as f32
}

fn top_p(value: Json) -> Result<f32, RequestError> {
    let value = single(value.number("top_p", 0.0, 1.0)?);
    if value > 0.0 { Ok(value) } else { Err(invalid("top_p", "must be above 0")) }
}

fn stop(value: Json) -> Result<Vec<String>, RequestError> {
    let items = match value {
        Json::Text(_) => vec![value],
        other => other.array("stop", MAX_STOP)?,
    };
    let mut out = Vec::with_capacity(items.len());
    for (i, item) in items.into_iter().enumerate() {
        let param = format!("stop[{i}]");
        let text = item.text(&param, MAX_STOP_BYTES)?;
        if text.is_empty() {
            return Err(invalid(&param, "must not be empty"));
        }
        out.push(text);
    }
    Ok(out)
}

fn stream_options(value: Json) -> Result<bool, RequestError> {
    let mut include_usage = false;
    for (name, value) in value.object("stream_options")? {
        let param = format!("stream_options.{name}");
        match (name.as_str(), value) {
            ("include_usage", Json::Null) => {}
            ("include_usage", value) => include_usage = value.bool(&param)?,
            (other, value) => noop::check(&[("include_obfuscation", noop::Harmless::False)], other, &param, value)?,
        }
    }
    Ok(include_usage)
}

fn messages(value: Json) -> Result<Vec<ChatMessage>, RequestError> {
    let items = value.array("messages", MAX_MESSAGES)?;
    if items.is_empty() {
        return Err(invalid("messages", "must have at least one message"));
    }
    items.into_iter().enumerate().map(|(i, item)| message(item, &format!("messages[{i}]"))).collect()
}

fn message(value: Json, at: &str) -> Result<ChatMessage, RequestError> {
    let (mut role, mut content, mut speaker) = (None, None, None);
    for (name, value) in value.object(at)? {
        let param = format!("{at}.{name}");
        match name.as_str() {
            "role" => role = Some(self::role(value, &param)?),
            "content" => content = Some(self::content(value, &param)?),
            "name" if value == Json::Null => {}
            "name" => speaker = Some(participant(value, &param)?),
            other => noop::check(noop::MESSAGE, other, &param, value)?,
        }
    }
    let missing = |name: &str| RequestError::Missing { param: format!("{at}.{name}") };
    let (role, content) = (role.ok_or_else(|| missing("role"))?, content.ok_or_else(|| missing("content"))?);
    Ok(ChatMessage { role, content, name: speaker })
}

/// The name of a participant, in the form that OpenAI's API takes.
fn participant(value: Json, param: &str) -> Result<String, RequestError> {
    let name = value.text(param, MAX_NAME)?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || "<|\\/>".contains(c);
    if name.is_empty() || name.contains(odd) {
        return Err(invalid(param, "must be 1 to 64 bytes without white space and without < | \\ / >"));
    }
    Ok(name)
}

fn role(value: Json, param: &str) -> Result<String, RequestError> {
    let role = value.text(param, MAX_ID_BYTES)?;
    match role.as_str() {
        "system" | "user" | "assistant" => Ok(role),
        // The newer name of the same; templates know the older one.
        "developer" => Ok("system".to_owned()),
        "tool" | "function" => Err(RequestError::Unsupported {
            param: param.to_owned(),
            reason: format!("the role {role} is not known here; use system, developer, user or assistant"),
        }),
        _ => Err(invalid(param, "must be system, developer, user or assistant")),
    }
}

fn content(value: Json, param: &str) -> Result<String, RequestError> {
    let parts = match value {
        Json::Array(_) => value.array(param, MAX_PARTS)?,
        other => return other.text(param, MAX_TEXT),
    };
    if parts.is_empty() {
        return Err(invalid(param, "must have at least one part"));
    }
    let mut out = String::new();
    for (i, part) in parts.into_iter().enumerate() {
        let at = format!("{param}[{i}]");
        let (mut kind, mut text) = (None, None);
        for (name, value) in part.object(&at)? {
            let param = format!("{at}.{name}");
            match name.as_str() {
                "type" => kind = Some(value.text(&param, MAX_ID_BYTES)?),
                "text" => text = Some(value.text(&param, MAX_TEXT)?),
                "image_url" | "input_audio" | "file" | "refusal" => {
                    return Err(RequestError::Unsupported { param, reason: "only text parts are".into() });
                }
                _ => return Err(RequestError::UnknownField { param: shortened(&param) }),
            }
        }
        match kind.as_deref() {
            Some("text") => {}
            Some(_) => {
                return Err(RequestError::Unsupported {
                    param: format!("{at}.type"),
                    reason: "only text parts are".into(),
                });
            }
            None => return Err(RequestError::Missing { param: format!("{at}.type") }),
        }
        out.push_str(&text.ok_or_else(|| RequestError::Missing { param: format!("{at}.text") })?);
    }
    Ok(out)
}
