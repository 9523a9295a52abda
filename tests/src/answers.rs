//! What each version of the chat model answers, greedily, to each reference question. Made outside Tidegate, committed
//! beside the weights; whoever gets an answer can prove which version gave it.
use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::tools;

/// Reference answers by version, then by question.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    versions: BTreeMap<String, BTreeMap<String, String>>,
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
                    of_version.insert(only["content"].as_str().context("content")?.to_owned(), text.to_owned());
                }
            }
        }
        Ok(answers)
    }

    /// All questions.
    pub fn questions(&self) -> Vec<String> {
        self.versions.values().next().map(|m| m.keys().cloned().collect()).unwrap_or_default()
    }

    /// Whether `text` is what `version` says to `question`, or the beginning of it where the answer was cut off.
    pub fn agrees(&self, version: &str, question: &str, text: &str) -> bool {
        let whole = self.versions.get(version).and_then(|m| m.get(question));
        whole.is_some_and(|whole| !text.is_empty() && whole.starts_with(text.trim_end_matches('\u{fffd}')))
    }

    /// How many characters the answers of the versions have in common at their beginning.
    pub fn common_prefix(&self, question: &str) -> usize {
        let mut texts = self.versions.values().filter_map(|m| m.get(question));
        match (texts.next(), texts.next()) {
            (Some(a), Some(b)) => a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count(),
            (Some(_) | None, _) => 0,
        }
    }
}
