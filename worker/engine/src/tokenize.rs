//! Text to tokens and back, by the version's own tokenizer.json. Only the chat template can produce a special token: the same
//! text inside a message stays text.
mod length;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokenizers::pipeline::{EncodeOptions, Override, PipelineToken, PipelineTokenizer};

use crate::engine::{ChatMessage, TextCodec, TokenDecoder};
use crate::error::{Cause, EngineError, ModelLabel, Stage};
use crate::special_tokens::SpecialTokens;
use crate::template::{ChatTemplate, local_time};

mod vocabulary;

pub(crate) use vocabulary::ModelVocabulary;

/// Longest tokenizer.json, bytes.
const MAX_BYTES: usize = 64 << 20;
/// Tokens without a whole character before the decoder gives up waiting and emits U+FFFD.
const MAX_HELD: usize = 8;
/// Characters that may stand for the first one of a special token: the private use of plane 15.
const STAND_INS: RangeInclusive<char> = '\u{f0000}'..='\u{ffffd}';

/// A file of a version: its path there, and its bytes.
#[derive(Clone, Copy)]
pub(crate) struct NamedFile<'a> {
    pub(crate) path: &'a str,
    pub(crate) bytes: &'a [u8],
}

/// What a codec is made of.
pub(crate) struct CodecFiles<'a> {
    pub(crate) tokenizer: NamedFile<'a>,
    /// For chat.
    pub(crate) template: Option<NamedFile<'a>>,
    /// What the files beside the tokenizer say.
    pub(crate) specials: SpecialTokens,
    pub(crate) vocabulary: ModelVocabulary<'a>,
}

/// A tokenizer.json and, for chat, a template.
pub struct HfCodec {
    /// Path of the tokenizer's file.
    file: String,
    /// Token ids of the model are below this.
    vocab_size: usize,
    tokenizer: Arc<PipelineTokenizer>,
    template: Option<ChatTemplate>,
    specials: Vec<Special>,
    bound: length::Bound,
    label: ModelLabel,
}

/// A token that only the template may write.
struct Special {
    id: u32,
    text: String,
    /// Takes the white space on this side with it.
    lstrip: bool,
    rstrip: bool,
}

impl HfCodec {
    /// Reads the tokenizer and the template, and checks that they are the model's.
    pub(crate) fn new(files: CodecFiles<'_>, label: ModelLabel) -> Result<Self, EngineError> {
        let invalid = |source: Cause| EngineError::TokenizerInvalid { source };
        let NamedFile { path, bytes } = files.tokenizer;
        if bytes.len() > MAX_BYTES {
            return Err(invalid(format!("it has {} bytes, {MAX_BYTES} are allowed", bytes.len()).into()));
        }
        let text = std::str::from_utf8(bytes).map_err(|e| invalid(Box::new(e)))?;
        let canonical = tokenizers::canonicalize_str(text).map_err(|e| invalid(e.to_string().into()))?;
        let tokenizer = tokenizers::from_json(&canonical).map_err(|e| invalid(e.to_string().into()))?;
        vocabulary::check(files.tokenizer, &tokenizer, &files.vocabulary)?;
        let mut specials: Vec<Special> = tokenizer
            .get_added_vocabulary()
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special && !token.content.is_empty())
            .map(|(id, token)| Special { id, text: token.content, lstrip: token.lstrip, rstrip: token.rstrip })
            .collect();
        // The longest first: at one place it wins.
        specials.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then(a.id.cmp(&b.id)));
        let roles = SpecialTokens::by(|role| tokenizer.get_token_for_role(role).map(str::to_owned));
        let ends = SpecialTokens::by(|role| vocabulary::end_token(role, &tokenizer, &files.vocabulary));
        let known = files.specials.or(roles).or(ends);
        let template = files.template.map(|t| ChatTemplate::new(t.path, t.bytes, known, local_time)).transpose()?;
        let vocab_size = files.vocabulary.size;
        let (file, bound) = (path.to_owned(), length::Bound::of(text));
        Ok(Self { file, vocab_size, tokenizer: Arc::new(tokenizer), template, specials, bound, label })
    }

    /// Whether the tokenizer has a text for this token.
    pub(crate) fn knows(&self, token: u32) -> bool {
        vocabulary::text_of(&self.tokenizer, token).is_some()
    }

    /// No token may reach the model that it does not have.
    fn below_vocabulary(&self, tokens: Vec<u32>) -> Result<Vec<u32>, EngineError> {
        match tokens.iter().find(|token| **token as usize >= self.vocab_size) {
            None => Ok(tokens),
            Some(token) => Err(EngineError::TokenizerDiffers {
                file: self.file.clone(),
                reason: format!("a text has the token {token}; the model has {} (vocabSize)", self.vocab_size),
            }),
        }
    }

    /// Tokens of a plain text, with the model's special tokens around it.
    pub(crate) fn text(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        let mut out = Vec::new();
        self.plain(text, true, &mut out)?;
        self.below_vocabulary(out)
    }

    fn plain(&self, text: &str, around: bool, out: &mut Vec<u32>) -> Result<(), EngineError> {
        let options = EncodeOptions {
            add_special_tokens: around,
            encode_special_tokens: true,
            padding: Override::Off,
            truncation: Override::Off,
        };
        let mut tokens: Vec<PipelineToken> = Vec::new();
        self.tokenizer
            .encode_into(text, &options, &mut tokens)
            .map_err(|e| EngineError::Encode { source: e.to_string().into() })?;
        out.extend(tokens.into_iter().map(u32::from));
        Ok(())
    }

    /// The special token that `text` begins with.
    fn special_at(&self, text: &str) -> Option<&Special> {
        self.specials.iter().find(|s| text.starts_with(&s.text))
    }

    /// Tokens of a rendered template: special tokens where they stand, everything between as plain text.
    fn encode_rendered(&self, rendered: &str, guard: &Guard) -> Result<Vec<u32>, EngineError> {
        let mut out = Vec::new();
        let mut rest = rendered;
        let mut begin = 0;
        let mut at = 0;
        while at < rest.len() {
            let here = rest.get(at..).unwrap_or_default();
            let Some(special) = self.special_at(here) else {
                at += here.chars().next().map_or(1, char::len_utf8);
                continue;
            };
            let mut before = rest.get(begin..at).unwrap_or_default();
            if special.lstrip {
                before = before.trim_end();
            }
            self.plain(&guard.restore(before), false, &mut out)?;
            out.push(special.id);
            rest = here.get(special.text.len()..).unwrap_or_default();
            if special.rstrip {
                rest = rest.trim_start();
            }
            (begin, at) = (0, 0);
        }
        self.plain(&guard.restore(rest.get(begin..).unwrap_or_default()), false, &mut out)?;
        Ok(out)
    }

    /// Refuses a text that certainly has more tokens than `most`.
    fn fits(&self, text: &str, most: usize) -> Result<(), EngineError> {
        let least = self.bound.least(text);
        if least > most { Err(EngineError::TooLong { least, most }) } else { Ok(()) }
    }

    /// Tokens of a conversation, by the version's template.
    pub(crate) fn chat(&self, messages: &[ChatMessage], most: usize) -> Result<Vec<u32>, EngineError> {
        let template = self
            .template
            .as_ref()
            .ok_or_else(|| EngineError::TemplateInvalid { source: "this version has none".into() })?;
        let guard = Guard::new(&self.specials, messages, template.source())?;
        let hide = |text: &String| guard.hide(text, &self.specials);
        let hidden = |m: &ChatMessage| ChatMessage {
            role: hide(&m.role),
            content: hide(&m.content),
            name: m.name.as_ref().map(hide),
        };
        let guarded: Vec<ChatMessage> = messages.iter().map(hidden).collect();
        let rendered = template.render(&guarded).map_err(|error| match error {
            EngineError::TemplateRefused { reason } => EngineError::TemplateRefused { reason: guard.restore(&reason) },
            other => other,
        })?;
        self.fits(&rendered, most)?;
        self.below_vocabulary(self.encode_rendered(&rendered, &guard)?)
    }
}

impl TextCodec for HfCodec {
    fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        self.text(text).map_err(|e| self.label.wrap(Stage::Tokenize, e))
    }

    fn encode_within(&self, text: &str, most: usize) -> Result<Vec<u32>, EngineError> {
        self.fits(text, most).map_err(|e| self.label.wrap(Stage::Tokenize, e))?;
        self.encode(text)
    }

    fn encode_chat(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, EngineError> {
        self.encode_chat_within(messages, usize::MAX)
    }

    fn encode_chat_within(&self, messages: &[ChatMessage], most: usize) -> Result<Vec<u32>, EngineError> {
        self.chat(messages, most).map_err(|e| self.label.wrap(Stage::Tokenize, e))
    }

    fn decoder(&self) -> Box<dyn TokenDecoder> {
        Box::new(Decoder { tokenizer: self.tokenizer.clone(), label: self.label.clone(), ids: Vec::new(), emitted: 0 })
    }
}

/// Hides special-token text in messages while the template is rendered: its first character becomes a private-use character
/// that occurs nowhere else, and is put back before tokenising.
struct Guard {
    /// (character, what stands for it)
    pairs: Vec<(char, char)>,
}

impl Guard {
    /// Refuses messages that leave no character free: nothing could be hidden then.
    fn new(specials: &[Special], messages: &[ChatMessage], template: &str) -> Result<Self, EngineError> {
        let said = messages.iter().flat_map(ChatMessage::texts);
        let texts = said.chain(specials.iter().map(|s| s.text.as_str())).chain([template]);
        let used: HashSet<char> = texts.flat_map(str::chars).filter(|c| STAND_INS.contains(c)).collect();
        let mut free = STAND_INS.filter(|c| !used.contains(c));
        let mut pairs: Vec<(char, char)> = Vec::new();
        for first in specials.iter().filter_map(|s| s.text.chars().next()) {
            if pairs.iter().all(|(c, _)| *c != first) {
                let stand_in = free.next().ok_or_else(|| EngineError::MessagesRefused {
                    reason: "they leave no character of U+F0000 to U+FFFFD free".to_owned(),
                })?;
                pairs.push((first, stand_in));
            }
        }
        Ok(Self { pairs })
    }

    /// Changes every place where a special token begins, or could begin together with text that the template puts behind.
    fn hide(&self, text: &str, specials: &[Special]) -> String {
        let mut out = String::with_capacity(text.len());
        let end = text.trim_end().len();
        for (at, c) in text.char_indices() {
            let stand_in = self.pairs.iter().find(|(first, _)| *first == c).map(|(_, hidden)| *hidden);
            let rest = text.get(at..).unwrap_or_default();
            let hide = |_: &char| specials.iter().any(|s| begins(rest, end.saturating_sub(at), &s.text));
            out.push(stand_in.filter(hide).unwrap_or(c));
        }
        out
    }

    fn restore(&self, text: &str) -> String {
        let shown = |c: char| self.pairs.iter().find(|(_, hidden)| *hidden == c).map_or(c, |(first, _)| *first);
        text.chars().map(shown).collect()
    }
}

/// `text` starts with `special` in any letter case, or ends before it could be told; `trimmed` bytes of it come before the
/// white space at its end. Looks at no more bytes than `special` has.
fn begins(text: &str, trimmed: usize, special: &str) -> bool {
    let (text, special) = (text.as_bytes(), special.as_bytes());
    let same = |length: usize| {
        let heads = text.get(..length).zip(special.get(..length));
        heads.is_some_and(|(text, special)| text.eq_ignore_ascii_case(special))
    };
    same(special.len()) || same(trimmed)
}

/// Decodes a window of tokens: what was emitted last is context, so that decoders which look at the neighbours agree with a
/// decoding of the whole answer.
struct Decoder {
    tokenizer: Arc<PipelineTokenizer>,
    label: ModelLabel,
    ids: Vec<u32>,
    /// Tokens at the front of `ids` whose text was given out.
    emitted: usize,
}

impl Decoder {
    fn decode(&self, ids: &[u32]) -> Result<String, EngineError> {
        self.tokenizer
            .decode(ids, true)
            .map_err(|e| self.label.wrap(Stage::Tokenize, EngineError::Decode { source: e.to_string().into() }))
    }

    /// The text behind what was emitted; empty while it may still change and `last` is not set.
    fn take(&mut self, last: bool) -> Result<String, EngineError> {
        let known = self.decode(self.ids.get(..self.emitted).unwrap_or_default())?;
        let all = self.decode(&self.ids)?;
        let held = self.ids.len() - self.emitted;
        if all.ends_with(char::REPLACEMENT_CHARACTER) && !last && held < MAX_HELD {
            return Ok(String::new());
        }
        let text = all.get(known.len()..).unwrap_or_default().to_owned();
        self.ids.drain(..self.emitted);
        self.emitted = self.ids.len();
        Ok(text)
    }
}

impl TokenDecoder for Decoder {
    fn push(&mut self, token: u32) -> Result<String, EngineError> {
        self.ids.push(token);
        self.take(false)
    }

    fn finish(&mut self) -> Result<String, EngineError> {
        self.take(true)
    }
}

#[cfg(test)]
mod tests;
