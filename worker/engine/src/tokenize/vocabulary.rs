//! Whether a tokenizer is the model's: its tokens must be tokens of the model, and the model's answers must have a text. Decides
//! by numbers only; two vocabularies of the same size cannot be told apart here.
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use tokenizers::pipeline::PipelineTokenizer;

use super::NamedFile;
use crate::error::EngineError;

/// Published models pad their vocabulary to a round number: at least so many of a hundred ids must have a text.
const KNOWN_PERCENT: usize = 90;

/// The model's side.
pub(crate) struct ModelVocabulary<'a> {
    /// Token ids are below this.
    pub(crate) size: usize,
    /// The tokens that end an answer; None when the model answers no tokens.
    pub(crate) answers: Option<&'a [u32]>,
}

#[derive(Deserialize)]
struct File {
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    vocab: Ids,
}

/// The ids of a vocabulary, which is an object (text: id) or a list.
#[derive(Default)]
struct Ids(Vec<u64>);

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Ids;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a vocabulary")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ids, A::Error> {
                let mut ids = Vec::new();
                while let Some((_, id)) = map.next_entry::<IgnoredAny, u64>()? {
                    ids.push(id);
                }
                Ok(Ids(ids))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ids, A::Error> {
                let mut count = 0u64;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Ids((0..count).collect()))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}

/// Every token that a text can have must be the model's. Special tokens beyond it are left alone: no text reaches them, and a
/// template that writes one fails the trial.
pub(super) fn check(
    file: NamedFile<'_>,
    tokenizer: &PipelineTokenizer,
    model: &ModelVocabulary<'_>,
) -> Result<(), EngineError> {
    let differs = |reason: String| Err(EngineError::TokenizerDiffers { file: file.path.to_owned(), reason });
    let read: File = serde_json::from_slice(file.bytes)
        .map_err(|error| EngineError::TokenizerInvalid { source: Box::new(error) })?;
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    let special = |id: u64| u32::try_from(id).ok().and_then(|id| added.get(&id)).is_some_and(|token| token.special);
    let ids = read.model.vocab.0.into_iter().chain(added.keys().map(|id| u64::from(*id)));
    let size = model.size;
    if let Some(id) = ids.filter(|id| *id >= size as u64 && !special(*id)).max() {
        return differs(format!("it has the token {id}, the model has {size} tokens (vocabSize)"));
    }
    let Some(ends) = model.answers else { return Ok(()) };
    let knows = |id: u32| added.contains_key(&id) || tokenizer.get_model().id_to_token(id).is_some();
    if let Some(id) = ends.iter().find(|id| !knows(**id)) {
        return differs(format!("it does not have the token {id} that ends an answer (eosTokenIds)"));
    }
    let known = (0..u32::try_from(size).unwrap_or(u32::MAX)).filter(|id| knows(*id)).count();
    if known * 100 < size * KNOWN_PERCENT {
        return differs(format!("it has a text for {known} of the model's {size} tokens (vocabSize)"));
    }
    Ok(())
}

/// The token that ends an answer, where no file names an `eos_token`.
pub(super) fn end_token(role: &str, tokenizer: &PipelineTokenizer, model: &ModelVocabulary<'_>) -> Option<String> {
    let first = model.answers.filter(|_| role == "eos_token")?.first()?;
    text_of(tokenizer, *first)
}

/// The text of a token, as the tokenizer's file has it.
pub(super) fn text_of(tokenizer: &PipelineTokenizer, id: u32) -> Option<String> {
    let added =
        || tokenizer.get_added_vocabulary().get_added_tokens_decoder().get(&id).map(|token| token.content.clone());
    tokenizer.get_model().id_to_token(id).or_else(added)
}
