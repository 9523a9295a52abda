//! One real request before a version counts as loaded: rendered, turned into tokens, run, turned back into text. What would fail
//! for every client is the version's failure, with the file that is at fault. Judges no answer's quality.
use std::time::Instant;

use crate::engine::{ChatEngine, ChatMessage, EmbeddingEngine, Measured};
use crate::error::EngineError;
use crate::sampling::{Sampler, SamplingParams};
use crate::tokenize::HfCodec;

/// The file that holds the graph.
const GRAPH: &str = "model.onnx";
/// Tokens of a trial answer.
const TOKENS: usize = 4;
/// A row's numbers alone and beside another row point in the same direction: their cosine is at least this. Quantised weights give
/// 0.999 and more, a graph that reads its padding much less.
const SAME: f32 = 0.98;
/// How far a vector's length may be from 1.
const UNIT: f32 = 0.02;

/// Tokens of a row of the calls that are measured, and how many of these calls there are.
const MEASURED_COLUMNS: usize = 64;
const MEASURED_CALLS: usize = 2;

/// Texts to embed; short, and of different length.
const TEXTS: [&str; 2] = ["Hello world", "Hello, this is a second text."];

/// What a trial needs of a version.
pub(crate) struct Trial<'a> {
    pub(crate) codec: &'a HfCodec,
    /// Paths, for messages.
    pub(crate) tokenizer: &'a str,
    pub(crate) template: Option<&'a str>,
}

/// The roles of the conversations that are tried. The first must work; a template may refuse the others by `raise_exception`.
const CONVERSATIONS: [&[&str]; 3] = [&["user"], &["system", "user"], &["user", "assistant", "user"]];

fn conversation(roles: &[&str]) -> Vec<ChatMessage> {
    let said = |role: &&str| match *role {
        "system" => "Be brief.",
        "assistant" => "Yes.",
        _ => "Hi",
    };
    roles.iter().map(|role| ChatMessage::new(*role, said(role))).collect()
}

fn failed(request: &str, source: EngineError) -> EngineError {
    if source.terminated() {
        return source;
    }
    EngineError::ModelTrial { file: GRAPH, request: request.to_owned(), source: Box::new(source.bare()) }
}

fn answer_differs(request: &str, reason: String) -> EngineError {
    failed(request, EngineError::AnswerDiffers { reason })
}

impl Trial<'_> {
    /// A decoder: three conversations, and an answer to each.
    pub(crate) fn chat(&self, engine: &mut dyn ChatEngine) -> Result<(), EngineError> {
        self.text_survives()?;
        let mut prompts: Vec<(String, Vec<u32>)> = Vec::new();
        for (at, roles) in CONVERSATIONS.into_iter().enumerate() {
            let named = roles.join(", ");
            match self.codec.chat(&conversation(roles), usize::MAX) {
                Ok(prompt) => prompts.push((named, prompt)),
                Err(error) if error.request_fault() && at > 0 => {
                    let reason = error.report();
                    tracing::info!(roles = named, reason, "the chat template takes no such conversation");
                }
                Err(error) => return Err(self.template_failed(named, error)),
            }
        }
        let max = engine.info().max_sequence;
        for (at, (roles, prompt)) in prompts.iter().enumerate() {
            // A small model may have no room for the longer ones.
            if prompt.len() < max {
                self.answer(engine, roles, prompt)?;
            } else if at == 0 {
                let reason = format!("one short message has {} tokens; maxSequence is {max}", prompt.len());
                return Err(self.template_failed(roles.clone(), EngineError::MessagesRefused { reason }));
            }
        }
        prompts.retain(|(_, prompt)| prompt.len() < max);
        neighbours(engine, &prompts)
    }

    fn template_failed(&self, roles: String, error: EngineError) -> EngineError {
        let file = self.template.unwrap_or_default().to_owned();
        match error {
            EngineError::TemplateRender { source } => EngineError::TemplateTrial { file, roles, source },
            refused @ (EngineError::TemplateRefused { .. } | EngineError::MessagesRefused { .. }) => {
                EngineError::TemplateTrial { file, roles, source: Box::new(refused) }
            }
            other => other,
        }
    }

    /// The tokenizer gives back what it was given, but for case and white space.
    fn text_survives(&self) -> Result<(), EngineError> {
        let [sample, _] = TEXTS;
        let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase();
        let back = self.read(&self.codec.text(sample)?)?;
        if letters(&back).contains(&letters(sample)) {
            return Ok(());
        }
        let shown: String = back.chars().take(64).collect();
        let reason = format!("{sample:?} comes back as {shown:?}");
        Err(EngineError::TextLost { file: self.tokenizer.to_owned(), reason })
    }

    fn read(&self, tokens: &[u32]) -> Result<String, EngineError> {
        use crate::engine::TextCodec;
        let mut decoder = self.codec.decoder();
        let mut text = String::new();
        for token in tokens {
            text.push_str(&decoder.push(*token).map_err(EngineError::bare)?);
        }
        text.push_str(&decoder.finish().map_err(EngineError::bare)?);
        Ok(text)
    }

    fn answer(&self, engine: &mut dyn ChatEngine, roles: &str, prompt: &[u32]) -> Result<(), EngineError> {
        let mut started = engine.prefill(&[prompt.to_vec()]).map_err(|error| failed(roles, error))?;
        let Some((sequence, logits)) = started.pop() else {
            return Err(answer_differs(roles, "no row came back".to_owned()));
        };
        let mut tokens = Vec::new();
        let mut logits = logits;
        let mut sampler = Sampler::new(SamplingParams { temperature: 0.0, ..SamplingParams::default() });
        let result = loop {
            let token = match sampler.pick(&logits) {
                Ok(token) => token,
                Err(error) => break Err(failed(roles, error)),
            };
            if engine.info().eos_token_ids.contains(&token) {
                break Ok(());
            }
            tokens.push(token);
            if tokens.len() >= TOKENS || prompt.len() + tokens.len() >= engine.info().max_sequence {
                break Ok(());
            }
            match engine.step(&[(sequence, token)]).map(|mut rows| rows.pop()) {
                Ok(Some(next)) => logits = next,
                Ok(None) => break Err(answer_differs(roles, "no row came back".to_owned())),
                Err(error) => break Err(failed(roles, error)),
            }
        };
        engine.release(sequence);
        result?;
        if let Some(token) = tokens.iter().find(|token| !self.codec.knows(**token)) {
            let reason = format!("the model answered the token {token}, which it does not have");
            return Err(EngineError::TokenizerDiffers { file: self.tokenizer.to_owned(), reason });
        }
        self.read(&tokens).map(drop)
    }

    /// An encoder: two texts, alone and together.
    pub(crate) fn embedding(&self, engine: &mut dyn EmbeddingEngine) -> Result<(), EngineError> {
        let [first, second] = TEXTS;
        let rows = [self.codec.text(first)?, self.codec.text(second)?];
        let request = format!("the text {first:?}");
        let max = engine.max_sequence();
        if rows[0].is_empty() || rows[0].len() > max {
            let reason = format!("{first:?} has {} tokens; maxSequence is {max}", rows[0].len());
            return Err(EngineError::TokenizerDiffers { file: self.tokenizer.to_owned(), reason });
        }
        if rows[0] == rows[1] {
            let reason = "two different texts have the same tokens".to_owned();
            return Err(EngineError::TokenizerDiffers { file: self.tokenizer.to_owned(), reason });
        }
        let run = |engine: &mut dyn EmbeddingEngine, rows: &[Vec<u32>]| {
            engine.embed(rows).map_err(|error| failed(&request, error))
        };
        let alone = run(engine, &rows[..1])?.pop().unwrap_or_default();
        let length = alone.iter().map(|v| v * v).sum::<f32>().sqrt();
        if (length - 1.0).abs() > UNIT {
            return Err(answer_differs(&request, format!("the vector has the length {length}, not 1")));
        }
        if engine.max_batch() < 2 || rows[1].len() > max {
            return Ok(());
        }
        let both = run(engine, &rows)?;
        let (Some(beside), Some(other)) = (both.first(), both.get(1)) else {
            return Err(answer_differs(&request, "a row is missing".to_owned()));
        };
        if beside == other && engine.dimensions() > 1 {
            return Err(answer_differs(&request, "two different texts have the same vector".to_owned()));
        }
        same(&request, &alone, beside)
    }

    /// Full calls of ordinary texts, and what they took: the first idea of the engine's pace. A load has a lower priority than what
    /// serves and may be slowed by it, so a part of the time is left out.
    pub(crate) fn measure(&self, engine: &mut dyn EmbeddingEngine) -> Result<Vec<Measured>, EngineError> {
        let text = self.codec.text(TEXTS[0])?;
        let columns = MEASURED_COLUMNS.min(engine.max_sequence());
        let row: Vec<u32> = text.iter().copied().cycle().take(columns).collect();
        let rows = vec![row; engine.max_batch()];
        let mut measured = Vec::new();
        for _ in 0..MEASURED_CALLS {
            let begun = Instant::now();
            engine.embed(&rows).map_err(|error| failed("a full call", error))?;
            measured.push(Measured { rows: rows.len(), columns, took: begun.elapsed() * 7 / 10 });
        }
        Ok(measured)
    }
}

/// The answer to a prompt does not depend on what stands beside it.
fn neighbours(engine: &mut dyn ChatEngine, prompts: &[(String, Vec<u32>)]) -> Result<(), EngineError> {
    let (Some((roles, short)), Some((_, long))) = (prompts.first(), prompts.iter().max_by_key(|(_, p)| p.len())) else {
        return Ok(());
    };
    if engine.info().max_batch < 2 || short.len() == long.len() {
        return Ok(());
    }
    let mut run = |rows: &[Vec<u32>]| {
        let rows = engine.prefill(rows).map_err(|error| failed(roles, error))?;
        rows.iter().for_each(|(sequence, _)| engine.release(*sequence));
        Ok::<_, EngineError>(rows.into_iter().next().map(|(_, logits)| logits).unwrap_or_default())
    };
    let alone = run(std::slice::from_ref(short))?;
    let beside = run(&[short.clone(), long.clone()])?;
    same(roles, &alone, &beside)
}

fn same(request: &str, alone: &[f32], beside: &[f32]) -> Result<(), EngineError> {
    // Minus infinity means "never" and is the same in both.
    let finite = || alone.iter().zip(beside).filter(|(a, b)| a.is_finite() && b.is_finite());
    let dot: f32 = finite().map(|(a, b)| a * b).sum();
    let norms: f32 =
        finite().map(|(a, _)| a * a).sum::<f32>().sqrt() * finite().map(|(_, b)| b * b).sum::<f32>().sqrt();
    let cosine = dot / norms.max(f32::MIN_POSITIVE);
    if alone.len() == beside.len() && (cosine >= SAME || norms == 0.0) {
        return Ok(());
    }
    let reason = format!("a row's answer depends on the row beside it (cosine {cosine:.3})");
    Err(answer_differs(request, reason))
}

#[cfg(test)]
mod tests;
