//! How many tokens a text has at least, from its length alone: a text that cannot fit is refused before it is tokenised, which
//! takes a second for a mebibyte. Only what is sure counts; where a tokenizer may drop or join without bound, the answer is 0.
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// What is sure about a tokenizer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Bound {
    sure: Sure,
    /// Texts of added tokens that take white space with them.
    strippers: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Sure {
    #[default]
    Nothing,
    /// No byte is lost, and a token stands for at most this many.
    Bytes {
        longest: usize,
        /// Bytes of a text that is not ASCII which may become one.
        shrinks: usize,
    },
    /// Text is cut at white space, and what holds a letter or digit of ASCII is at least one token.
    Words,
}

impl Bound {
    /// Reads a tokenizer.json; what it does not know counts as unsure.
    pub(super) fn of(tokenizer: &str) -> Self {
        let Ok(file) = serde_json::from_str::<File>(tokenizer) else { return Self::default() };
        let strips = |t: &Added| t.lstrip || t.rstrip;
        let changed = !file.normalizer.is_null();
        if file.added_tokens.iter().any(|t| strips(t) && t.normalized && changed) {
            return Self::default();
        }
        let strippers = file.added_tokens.iter().filter(|t| strips(t)).map(|t| t.content.clone()).collect();
        Self { sure: file.sure(), strippers }
    }

    /// The text has at least this many tokens.
    pub(super) fn least(&self, text: &str) -> usize {
        let swallows = self.strippers.iter().any(|stripper| text.contains(stripper));
        match self.sure {
            Sure::Nothing => 0,
            Sure::Bytes { longest, shrinks } => {
                let bytes = if swallows { text.split_whitespace().map(str::len).sum() } else { text.len() };
                let left = if text.is_ascii() { bytes } else { bytes.div_ceil(shrinks) };
                left.div_ceil(longest)
            }
            Sure::Words => {
                let words = text.split([' ', '\t', '\n', '\r']);
                words.filter(|word| word.bytes().any(|b| b.is_ascii_alphanumeric())).count()
            }
        }
    }
}

#[derive(serde::Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    model: Model,
}

#[derive(serde::Deserialize)]
struct Added {
    content: String,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
}

#[derive(serde::Deserialize)]
struct Model {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    vocab: Vocabulary,
}

impl File {
    fn sure(&self) -> Sure {
        let added = self.added_tokens.iter().map(|t| t.content.len()).max().unwrap_or(0);
        match self.model.kind.as_str() {
            "BPE" => self.bytes(added),
            "WordPiece" if self.cuts_at_white_space() => Sure::Words,
            _ => Sure::Nothing,
        }
    }

    fn bytes(&self, added: usize) -> Sure {
        let (model, vocabulary) = (&self.model, &self.model.vocab);
        let byte_level = mentions(&self.pre_tokenizer, "ByteLevel") || mentions(&self.normalizer, "ByteLevel");
        let complete =
            if byte_level { vocabulary.bytes == 256 } else { model.byte_fallback && vocabulary.fallbacks == 256 };
        // What no token covers: a token each, or lost, or joined to one token of any length.
        let each = model.unk_token.is_some() && !model.fuse_unk;
        let marked = [&model.continuing_subword_prefix, &model.end_of_word_suffix];
        let plain = marked.into_iter().flatten().all(String::is_empty);
        let kept = (complete || each) && plain && keeps(&self.pre_tokenizer);
        let Some(shrinks) = shrinks(&self.normalizer).filter(|_| kept) else { return Sure::Nothing };
        let longest = if byte_level { vocabulary.longest_chars } else { vocabulary.longest_bytes };
        // A character without a token of its own has four bytes at most.
        Sure::Bytes { longest: longest.max(added).max(4), shrinks }
    }

    fn cuts_at_white_space(&self) -> bool {
        let cuts = |kind: &str| matches!(kind, "BertPreTokenizer" | "Whitespace" | "WhitespaceSplit");
        let kept = self.normalizer.is_null() || kind(&self.normalizer) == "BertNormalizer";
        let whole = self.added_tokens.iter().all(|t| !t.content.contains(char::is_whitespace));
        cuts(kind(&self.pre_tokenizer)) && kept && whole
    }
}

fn kind(step: &Value) -> &str {
    step.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// The steps of a sequence, or the one step.
fn steps<'a>(step: &'a Value, list: &str) -> Vec<&'a Value> {
    match step.get(list).and_then(Value::as_array) {
        Some(steps) if kind(step) == "Sequence" => steps.iter().collect(),
        Some(_) | None => vec![step],
    }
}

fn mentions(step: &Value, wanted: &str) -> bool {
    let all = steps(step, "pretokenizers").into_iter().chain(steps(step, "normalizers"));
    all.into_iter().any(|step| kind(step) == wanted)
}

/// How many bytes (of a text that is not ASCII) a normalizer may turn into one; None: it may drop any number, or change ASCII.
fn shrinks(normalizer: &Value) -> Option<usize> {
    if normalizer.is_null() {
        return Some(1);
    }
    steps(normalizer, "normalizers").into_iter().try_fold(1_usize, |sofar, step| {
        let factor = match kind(step) {
            "ByteLevel" | "Prepend" => 1,
            // A character of four bytes becomes one byte at least.
            "Lowercase" | "NFD" | "NFKD" => 4,
            // And composing takes at most three (Unicode's FAQ on normalization).
            "NFC" | "NFKC" => 12,
            "Replace" => {
                let from = step.get("pattern")?.get("String")?.as_str()?;
                let to = step.get("content")?.as_str()?;
                (to.len() >= from.len()).then_some(1)?
            }
            _ => return None,
        };
        Some(sofar * factor)
    })
}

/// Whether a pre-tokenizer drops nothing.
fn keeps(pre_tokenizer: &Value) -> bool {
    pre_tokenizer.is_null()
        || steps(pre_tokenizer, "pretokenizers").into_iter().all(|step| match kind(step) {
            "ByteLevel" | "Metaspace" | "Digits" | "UnicodeScripts" => true,
            "Split" | "Punctuation" => step.get("behavior").and_then(Value::as_str).is_some_and(|b| b != "Removed"),
            _ => false,
        })
}

/// What matters of a vocabulary, without keeping it.
#[derive(Default)]
struct Vocabulary {
    longest_bytes: usize,
    longest_chars: usize,
    /// Tokens `<0x00>` to `<0xFF>`.
    fallbacks: usize,
    /// Tokens of one character by which ByteLevel writes a byte.
    bytes: usize,
}

impl Vocabulary {
    fn add(&mut self, token: &str) {
        let chars = token.chars().count();
        self.longest_bytes = self.longest_bytes.max(token.len());
        self.longest_chars = self.longest_chars.max(chars);
        let fallback = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        self.fallbacks +=
            usize::from(fallback.is_some_and(|hex| hex.len() == 2 && u8::from_str_radix(hex, 16).is_ok()));
        self.bytes += usize::from(chars == 1 && token.chars().all(writes_a_byte));
    }
}

/// The alphabet of ByteLevel: printable Latin-1 as it is, the 68 other bytes from U+0100 on.
fn writes_a_byte(c: char) -> bool {
    matches!(c, '!'..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{ff}' | '\u{100}'..='\u{143}')
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tokens)
    }
}

struct Tokens;

impl<'de> Visitor<'de> for Tokens {
    type Value = Vocabulary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vocabulary")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
        let mut all = Vocabulary::default();
        while let Some((token, _)) = map.next_entry::<String, IgnoredAny>()? {
            all.add(&token);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests;
