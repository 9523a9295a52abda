//! The JSON shapes of chat answers, as the original API writes them. Only data.
use serde::Serialize;

use super::sse;
use crate::lane::job::Finish;

/// What every chunk and every answer of one request have in common.
pub struct Identity {
    pub id: String,
    pub created: u64,
    pub model: std::sync::Arc<str>,
    pub fingerprint: String,
}

/// Tokens used.
#[derive(Clone, Copy, Serialize)]
pub struct Usage {
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
    pub total_tokens: usize,
}

impl Usage {
    pub fn new(prompt_tokens: usize, completion_tokens: usize) -> Self {
        Self { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
    }
}

#[derive(Serialize)]
pub struct Completion<'a> {
    pub id: &'a str,
    pub object: &'static str,
    pub created: u64,
    pub model: &'a str,
    pub choices: [Choice<'a>; 1],
    pub usage: Usage,
    pub system_fingerprint: &'a str,
}

#[derive(Serialize)]
pub struct Choice<'a> {
    pub index: u32,
    pub message: Message<'a>,
    pub logprobs: Option<()>,
    pub finish_reason: &'static str,
}

#[derive(Serialize)]
pub struct Message<'a> {
    pub role: &'static str,
    pub content: &'a str,
    pub refusal: Option<()>,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: &'a [ChunkChoice<'a>],
    /// `null` on every chunk but the last, when usage was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

/// One piece of a stream.
pub enum Piece<'a> {
    Role,
    Text(&'a str),
    Finish(Finish),
    Usage(Usage),
}

impl Identity {
    /// Writes one SSE event.
    pub fn event(&self, out: &mut Vec<u8>, piece: &Piece<'_>, include_usage: bool) -> Result<(), serde_json::Error> {
        let (delta, finish) = match piece {
            Piece::Role => (Delta { role: Some("assistant"), content: Some("") }, None),
            Piece::Text(text) => (Delta { role: None, content: Some(text) }, None),
            Piece::Finish(finish) => (Delta::default(), Some(finish.as_str())),
            Piece::Usage(_) => (Delta::default(), None),
        };
        let one = [ChunkChoice { index: 0, delta, logprobs: None, finish_reason: finish }];
        let (choices, usage): (&[_], _) = match piece {
            Piece::Usage(usage) => (&[], Some(*usage)),
            Piece::Role | Piece::Text(_) | Piece::Finish(_) => (&one, None),
        };
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            choices,
            usage: include_usage.then_some(usage),
        };
        sse::data(out, &chunk)
    }
}
