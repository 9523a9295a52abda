//! What each version of the chat model answers, greedily, to each reference question. Made outside Tidegate, committed
//! beside the weights; whoever gets an answer can prove which version gave it.
use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{client::Words, tools};

/// Reference answers by version, then by question.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    versions: BTreeMap<String, BTreeMap<String, Reference>>,
}

/// What one version says to one question when nothing cuts it short.
#[derive(Debug, Clone)]
struct Reference {
    text: String,
    tokens: usize,
    /// It was cut when it was made: there may be more of it.
    cut: bool,
}

impl Answers {
    /// Reads `examples/models/reference/tide-chat-*.json`; single-turn questions only.
    ///
    /// # Errors
    /// When a file is missing or has another shape.
    pub fn read() -> Result<Self> {
        let mut answers = Self::default();
        for version in ["v1", "v2"] {
            let path = tools::example_models().join(format!("reference/tide-chat-{version}.json"));
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let file: Value = serde_json::from_str(&text)?;
            let prompts = file["prompts"].as_array().context("prompts")?;
            let of_version = answers.versions.entry(version.to_owned()).or_default();
            for prompt in prompts {
                let messages = prompt["messages"].as_array().context("messages")?;
                if let ([only], Some(text)) = (messages.as_slice(), prompt["text"].as_str()) {
                    let tokens = prompt["outputTokenIds"].as_array().context("outputTokenIds")?.len();
                    let cut = prompt["finishReason"] == "length";
                    let question = only["content"].as_str().context("content")?.to_owned();
                    of_version.insert(question, Reference { text: text.to_owned(), tokens, cut });
                }
            }
        }
        Ok(answers)
    }

    /// All questions.
    pub fn questions(&self) -> Vec<String> {
        self.versions.values().next().map(|m| m.keys().cloned().collect()).unwrap_or_default()
    }

    /// The question that `version` answers at greatest length.
    pub fn longest(&self, version: &str) -> Option<&str> {
        let answers = self.versions.get(version)?.iter();
        answers
            .filter(|(_, reference)| !reference.cut)
            .max_by_key(|(_, reference)| reference.tokens)
            .map(|(question, _)| question.as_str())
    }

    /// Whether these are, to the last character, the words of the version that they name: the whole reference where it fits into
    /// `max_tokens`, else its beginning, each with its reason for the end.
    ///
    /// # Errors
    /// What differs.
    pub fn check(&self, question: &str, max_tokens: usize, words: &Words) -> Result<()> {
        let reference = self.versions.get(&words.version).and_then(|m| m.get(question));
        let reference =
            reference.with_context(|| format!("no version {:?} or question {question:?}", words.version))?;
        // A cut may fall into a character; a token is at least one byte.
        let text = words.text.trim_end_matches('\u{fffd}');
        let agrees = match words.finish_reason.as_deref() {
            Some("stop") if reference.tokens > max_tokens => false,
            Some("stop") if reference.cut => text.starts_with(&reference.text),
            Some("stop") => text == reference.text,
            Some("length") if reference.tokens > max_tokens => {
                text.len() + 4 >= max_tokens && reference.text.starts_with(text)
            }
            Some("length") => reference.cut && text.starts_with(&reference.text),
            Some(_) | None => false,
        };
        ensure!(agrees, "to {question:?} within {max_tokens} tokens: {words:?} and not {reference:?}");
        Ok(())
    }
}
