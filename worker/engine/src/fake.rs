//! A model without weights, for tests and for measuring what surrounds the engine (the worker's `--engine fake`). Its answers
//! are a pure function of the version and the prompt.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::call::{CallFlag, check_rows};
use crate::engine::{ChatEngine, ChatInfo, EmbeddingEngine, LoadedModel, ModelEngine, SequenceId, Terminate};
use crate::error::EngineError;

mod codec;

use codec::FakeCodec;

/// Tokens 0..=255 are bytes; these follow.
const EOS: u32 = 256;
const ROLE: u32 = 257;
const END: u32 = 258;
const VOCAB: usize = 259;

/// How the fake behaves.
#[derive(Clone, Debug)]
pub struct FakeConfig {
    /// Part of every answer.
    pub version: String,
    pub max_batch: usize,
    /// Prompt and answer together, tokens.
    pub max_sequence: usize,
    /// Width of an embedding.
    pub dimensions: usize,
    /// How long each prefill, step or embedding takes.
    pub delay: Duration,
    /// Each answer is repeated or cut to this many tokens; `None`: as long as the echo.
    pub answer_tokens: Option<usize>,
    /// The n-th engine call (from 1) and every later one fail.
    pub fail_from_call: Option<u64>,
    /// A prompt that contains this text fails its prefill or embedding.
    pub fail_on: Option<String>,
}

impl FakeConfig {
    /// No delay, no failures, batches of 8, 2,048 tokens, 16 dimensions.
    pub fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            max_batch: 8,
            max_sequence: 2048,
            dimensions: 16,
            delay: Duration::ZERO,
            answer_tokens: None,
            fail_from_call: None,
            fail_on: None,
        }
    }
}

/// The text that a fake chat of `version` answers to `content`, when `answer_tokens` is `None`.
pub fn answer_to(version: &str, content: &str) -> String {
    format!("[{version}] {content}")
}

/// A loaded chat model.
pub fn chat(config: FakeConfig) -> LoadedModel {
    LoadedModel {
        version: config.version.clone(),
        digest: "0".repeat(64),
        tokenizer: Arc::new(FakeCodec),
        engine: ModelEngine::Chat(Box::new(FakeChat::new(config))),
        measured: Vec::new(),
    }
}

/// A loaded embedding model.
pub fn embedding(config: FakeConfig) -> LoadedModel {
    LoadedModel {
        version: config.version.clone(),
        digest: "0".repeat(64),
        tokenizer: Arc::new(FakeCodec),
        engine: ModelEngine::Embedding(Box::new(FakeEmbedding { calls: Calls::new(config) })),
        measured: Vec::new(),
    }
}

/// Delay, failure injection and termination, shared by both engines.
struct Calls {
    config: FakeConfig,
    made: u64,
    flag: Arc<CallFlag>,
}

impl Calls {
    fn new(config: FakeConfig) -> Self {
        Self { config, made: 0, flag: Arc::default() }
    }

    fn make(&mut self, prompts: &[Vec<u32>]) -> Result<(), EngineError> {
        self.made += 1;
        if self.config.fail_from_call.is_some_and(|n| self.made >= n) {
            return Err(EngineError::Injected);
        }
        if let Some(text) = &self.config.fail_on {
            let needle: Vec<u32> = text.bytes().map(u32::from).collect();
            if prompts.iter().any(|p| p.windows(needle.len().max(1)).any(|w| w == needle)) {
                return Err(EngineError::Injected);
            }
        }
        let _running = self.flag.begin();
        if self.flag.wait(self.config.delay) {
            return Err(EngineError::Terminated);
        }
        Ok(())
    }
}

/// A chat engine that echoes the last user message behind its version.
struct FakeChat {
    calls: Calls,
    info: ChatInfo,
    next: u64,
    sequences: HashMap<SequenceId, Sequence>,
}

struct Sequence {
    answer: Vec<u32>,
    /// Tokens of the answer that were fed back.
    fed: usize,
    prompt_len: usize,
}

impl FakeChat {
    fn new(config: FakeConfig) -> Self {
        let info = ChatInfo {
            vocab_size: VOCAB,
            max_sequence: config.max_sequence,
            eos_token_ids: vec![EOS],
            max_batch: config.max_batch,
        };
        Self { calls: Calls::new(config), info, next: 0, sequences: HashMap::new() }
    }

    fn answer(&self, prompt: &[u32]) -> Vec<u32> {
        let content = last_content(prompt);
        let mut answer: Vec<u32> = format!("[{}] ", self.calls.config.version).bytes().map(u32::from).collect();
        answer.extend(content);
        if let Some(tokens) = self.calls.config.answer_tokens {
            answer = answer.iter().copied().cycle().take(tokens).collect();
        }
        answer.push(EOS);
        answer
    }
}

/// The bytes of the last message that has an end; the whole prompt when none has.
fn last_content(prompt: &[u32]) -> Vec<u32> {
    let plain = |tokens: &[u32]| tokens.iter().copied().filter(|t| *t < 256).collect();
    let Some(end) = prompt.iter().rposition(|t| *t == END) else {
        return plain(prompt);
    };
    let start = prompt[..end].iter().rposition(|t| *t == ROLE).map_or(0, |at| at + 1);
    let message = &prompt[start..end];
    let body = message.iter().position(|t| *t == u32::from(b'\n')).map_or(0, |at| at + 1);
    plain(&message[body..])
}

fn one_hot(token: u32) -> Vec<f32> {
    let mut logits = vec![0.0; VOCAB];
    if let Some(value) = logits.get_mut(token as usize) {
        *value = 1000.0;
    }
    logits
}

impl ChatEngine for FakeChat {
    fn info(&self) -> &ChatInfo {
        &self.info
    }

    fn prefill(&mut self, prompts: &[Vec<u32>]) -> Result<Vec<(SequenceId, Vec<f32>)>, EngineError> {
        check_rows(prompts, self.info.max_batch, self.info.max_sequence)?;
        self.calls.make(prompts)?;
        let mut out = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let id = SequenceId(self.next);
            self.next += 1;
            let sequence = Sequence { answer: self.answer(prompt), fed: 0, prompt_len: prompt.len() };
            out.push((id, one_hot(sequence.answer.first().copied().unwrap_or(EOS))));
            self.sequences.insert(id, sequence);
        }
        Ok(out)
    }

    fn step(&mut self, rows: &[(SequenceId, u32)]) -> Result<Vec<Vec<f32>>, EngineError> {
        if rows.is_empty() || rows.len() > self.info.max_batch {
            return Err(EngineError::CallInvalid { reason: format!("{} rows", rows.len()) });
        }
        for (id, _) in rows {
            let sequence = self.sequences.get(id).ok_or(EngineError::SequenceUnknown(id.0))?;
            if sequence.prompt_len + sequence.fed >= self.info.max_sequence {
                return Err(EngineError::CallInvalid { reason: "the sequence is full".to_owned() });
            }
        }
        self.calls.make(&[])?;
        let mut out = Vec::with_capacity(rows.len());
        for (id, _) in rows {
            let sequence = self.sequences.get_mut(id).ok_or(EngineError::SequenceUnknown(id.0))?;
            sequence.fed += 1;
            out.push(one_hot(sequence.answer.get(sequence.fed).copied().unwrap_or(EOS)));
        }
        Ok(out)
    }

    fn release(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence);
    }

    fn terminator(&self) -> Arc<dyn Terminate> {
        self.calls.flag.clone()
    }
}

/// An encoder whose vectors depend on the version and the tokens only.
struct FakeEmbedding {
    calls: Calls,
}

impl EmbeddingEngine for FakeEmbedding {
    fn dimensions(&self) -> usize {
        self.calls.config.dimensions
    }

    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn max_sequence(&self) -> usize {
        self.calls.config.max_sequence
    }

    fn max_batch(&self) -> usize {
        self.calls.config.max_batch
    }

    fn embed(&mut self, rows: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EngineError> {
        check_rows(rows, self.max_batch(), self.max_sequence())?;
        self.calls.make(rows)?;
        let seed = self.calls.config.version.bytes().fold(17u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)));
        Ok(rows.iter().map(|row| unit_vector(seed, row, self.dimensions())).collect())
    }

    fn terminator(&self) -> Arc<dyn Terminate> {
        self.calls.flag.clone()
    }
}

#[allow(clippy::cast_precision_loss)]
fn unit_vector(seed: u64, row: &[u32], dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0f32; dimensions];
    let mut hash = seed;
    for token in row {
        hash = (hash ^ u64::from(*token)).wrapping_mul(0x0100_0000_01b3).rotate_left(7);
        if let Some(value) = vector.get_mut(usize::try_from(hash % dimensions.max(1) as u64).unwrap_or(0)) {
            *value += 1.0;
        }
    }
    let norm = vector.iter().map(|v| v * v).sum::<f32>().sqrt().max(1.0e-9);
    vector.iter().map(|v| v / norm).collect()
}
