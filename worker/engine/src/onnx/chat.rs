//! A decoder with grouped-query attention: ragged prompts in one padded run, then steps in which rows join and leave. A call
//! that fails or is stopped leaves every sequence as it was.
use std::sync::Arc;

use ort::session::{RunOptions, SessionInputValue};
use ort::value::{DynValue, Tensor};

use crate::call::check_rows;
use crate::config::ChatConfig;
use crate::engine::{ChatEngine, ChatInfo, SequenceId, Terminate};
use crate::error::{EngineError, ModelLabel, Stage};
use crate::onnx::gate::RunGate;
use crate::onnx::inspect::layered;
use crate::onnx::kv::{KvCache, OPEN_PER_BATCH, Past};
use crate::onnx::session::MappedSession;
use crate::onnx::{check_shape, check_tokens, missing, run_failed};

/// Most bytes of logits that one prompt run may answer; more prompts go into several runs.
const LOGITS_BYTES: usize = 64 << 20;

/// Names of the graph's inputs and outputs for the cache, in the order of [`KvCache`].
struct CacheNames {
    past: Vec<String>,
    present: Vec<String>,
}

/// A chat engine on one session.
pub(crate) struct OnnxChat {
    /// Declared before the session: its tensors hold on to the session's allocator.
    cache: KvCache,
    session: MappedSession,
    gate: Arc<RunGate>,
    config: ChatConfig,
    names: CacheNames,
    info: ChatInfo,
    label: ModelLabel,
}

/// One run's tokens.
struct Batch {
    /// Row-major, padded on the right.
    ids: Vec<i64>,
    /// Tokens of each row with those of this run.
    totals: Vec<usize>,
    /// Columns of `ids`.
    columns: usize,
}

impl OnnxChat {
    pub(crate) fn new(
        session: MappedSession,
        config: ChatConfig,
        max_batch: usize,
        label: ModelLabel,
    ) -> Result<Self, EngineError> {
        let names = |key: &str, value: &str| {
            (0..config.layers).flat_map(|layer| [layered(key, layer), layered(value, layer)]).collect()
        };
        let names = CacheNames {
            past: names(&config.inputs.past_key, &config.inputs.past_value),
            present: names(&config.outputs.present_key, &config.outputs.present_value),
        };
        let info = ChatInfo {
            vocab_size: config.vocab_size,
            max_sequence: config.max_sequence,
            eos_token_ids: config.eos_token_ids.clone(),
            max_batch,
        };
        Ok(Self { cache: KvCache::new(&config), session, gate: Arc::new(RunGate::new()?), config, names, info, label })
    }

    /// First runs: one row and a full batch, prompts and steps.
    pub(crate) fn warm_up(&mut self) -> Result<(), EngineError> {
        let token = self.config.pad_token_id;
        let length = 8.min(self.config.max_sequence.saturating_sub(1)).max(1);
        for rows in [1, self.info.max_batch] {
            let started = self.run_prompts(&vec![vec![token; length]; rows])?;
            let step: Vec<(SequenceId, u32)> = started.iter().map(|(id, _)| (*id, token)).collect();
            if length < self.config.max_sequence {
                self.run_step(&step)?;
            }
            for (id, _) in started {
                self.cache.release(id);
            }
        }
        Ok(())
    }

    fn run_prompts(&mut self, prompts: &[Vec<u32>]) -> Result<Vec<(SequenceId, Vec<f32>)>, EngineError> {
        check_rows(prompts, self.info.max_batch, self.info.max_sequence)?;
        for prompt in prompts {
            check_tokens(prompt, self.config.vocab_size)?;
        }
        let room = (self.info.max_batch * OPEN_PER_BATCH).saturating_sub(self.cache.len());
        if prompts.len() > room {
            let reason = format!("{} sequences are open; release some", self.cache.len());
            return Err(EngineError::CallInvalid { reason });
        }
        let gate = self.gate.clone();
        let mut started: Vec<(SequenceId, Vec<f32>)> = Vec::with_capacity(prompts.len());
        let result = gate.call(|options| {
            for chunk in chunks(prompts, self.config.vocab_size) {
                let rows = self.prompt_chunk(chunk, options)?;
                started.extend(rows);
            }
            Ok(())
        });
        if let Err(error) = result {
            for (id, _) in started {
                self.cache.release(id);
            }
            return Err(error);
        }
        Ok(started)
    }

    fn prompt_chunk(
        &mut self,
        prompts: &[Vec<u32>],
        options: &RunOptions,
    ) -> Result<Vec<(SequenceId, Vec<f32>)>, EngineError> {
        let totals: Vec<usize> = prompts.iter().map(Vec::len).collect();
        let columns = totals.iter().copied().max().unwrap_or(0);
        let mut ids = vec![i64::from(self.config.pad_token_id); prompts.len() * columns];
        for (row, prompt) in ids.chunks_exact_mut(columns).zip(prompts) {
            for (cell, token) in row.iter_mut().zip(prompt) {
                *cell = i64::from(*token);
            }
        }
        let past = self.cache.empty(prompts.len())?;
        let batch = Batch { ids, totals: totals.clone(), columns };
        let graph = Graph { session: &mut self.session, config: &self.config, names: &self.names };
        let (logits, present) = graph.run(&batch, &past, options)?;
        let ids = self.cache.insert(&totals, present)?;
        Ok(ids.into_iter().zip(logits).collect())
    }

    fn run_step(&mut self, rows: &[(SequenceId, u32)]) -> Result<Vec<Vec<f32>>, EngineError> {
        let invalid = |reason: String| Err(EngineError::CallInvalid { reason });
        if rows.is_empty() || rows.len() > self.info.max_batch {
            return invalid(format!("{} rows, 1 to {} are allowed", rows.len(), self.info.max_batch));
        }
        let (sequences, tokens): (Vec<SequenceId>, Vec<u32>) = rows.iter().copied().unzip();
        check_tokens(&tokens, self.config.vocab_size)?;
        let mut totals = Vec::with_capacity(rows.len());
        for id in &sequences {
            let tokens = self.cache.tokens(*id)?;
            if tokens >= self.config.max_sequence {
                return invalid(format!("sequence {} has {tokens} tokens already", id.0));
            }
            totals.push(tokens + 1);
        }
        let distinct: std::collections::HashSet<SequenceId> = sequences.iter().copied().collect();
        if distinct.len() != sequences.len() {
            return invalid("a sequence is in the call twice".to_owned());
        }
        let batch = Batch { ids: tokens.iter().copied().map(i64::from).collect(), totals, columns: 1 };
        let gate = self.gate.clone();
        let (logits, present) = gate.call(|options| {
            let past = self.cache.past(&sequences)?;
            let past = match &past {
                Past::Group(tensors) => *tensors,
                Past::Gathered(tensors) => tensors,
            };
            let graph = Graph { session: &mut self.session, config: &self.config, names: &self.names };
            graph.run(&batch, past, options)
        })?;
        self.cache.advance(&sequences, present)?;
        Ok(logits)
    }
}

/// Prompts in order, cut where the logits of a run would be too large.
fn chunks(prompts: &[Vec<u32>], vocab: usize) -> Vec<&[Vec<u32>]> {
    let mut out = Vec::new();
    let mut rest = prompts;
    while !rest.is_empty() {
        let mut longest = 0;
        let fits = rest.iter().enumerate().take_while(|(index, prompt)| {
            longest = longest.max(prompt.len());
            *index == 0 || (index + 1) * longest * vocab * size_of::<f32>() <= LOGITS_BYTES
        });
        let (head, tail) = rest.split_at(fits.count());
        out.push(head);
        rest = tail;
    }
    out
}

/// What a run borrows of the engine.
struct Graph<'a> {
    session: &'a mut MappedSession,
    config: &'a ChatConfig,
    names: &'a CacheNames,
}

/// Logits after the last token of each row, and the present tensors.
type Answer = (Vec<Vec<f32>>, Vec<DynValue>);

impl Graph<'_> {
    fn run(self, batch: &Batch, past: &[DynValue], options: &RunOptions) -> Result<Answer, EngineError> {
        let rows = batch.totals.len();
        let too_long = || EngineError::CallInvalid { reason: "a sequence is too long".to_owned() };
        let totals: Vec<i32> =
            batch.totals.iter().map(|t| i32::try_from(*t)).collect::<Result<_, _>>().map_err(|_| too_long())?;
        let total = totals.iter().copied().max().unwrap_or(0);
        let ids = Tensor::from_array(([rows, batch.columns], batch.ids.clone())).map_err(run_failed)?;
        let lengths = totals.iter().map(|t| t - 1).collect::<Vec<i32>>();
        let lengths = Tensor::from_array(([rows], lengths)).map_err(run_failed)?;
        let total = Tensor::from_array(((), vec![total])).map_err(run_failed)?;
        let names = &self.config.inputs;
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = vec![
            (&names.input_ids, ids.into()),
            (&names.seqlens_k, lengths.into()),
            (&names.total_sequence_length, total.into()),
        ];
        inputs.extend(self.names.past.iter().map(String::as_str).zip(past.iter().map(SessionInputValue::from)));
        let mut outputs = self.session.run(inputs, options).map_err(run_failed)?;
        let name = &self.config.outputs.logits;
        let logits = last_logits(outputs.get(name).ok_or_else(|| missing(name))?, batch, self.config)?;
        let present = self
            .names
            .present
            .iter()
            .map(|name| outputs.remove(name).ok_or_else(|| missing(name)))
            .collect::<Result<_, _>>()?;
        Ok((logits, present))
    }
}

/// The logits of each row's last real token.
fn last_logits(value: &DynValue, batch: &Batch, config: &ChatConfig) -> Result<Vec<Vec<f32>>, EngineError> {
    let (shape, data) = value.try_extract_tensor::<f32>().map_err(run_failed)?;
    let vocab = config.vocab_size;
    check_shape(&config.outputs.logits, shape, &[batch.totals.len(), batch.columns, vocab])?;
    let row_of = |(row, total): (usize, &usize)| {
        let last = if batch.columns == 1 { 0 } else { total - 1 };
        let begin = (row * batch.columns + last) * vocab;
        data.get(begin..begin + vocab).map(<[f32]>::to_vec)
    };
    let rows: Option<Vec<Vec<f32>>> = batch.totals.iter().enumerate().map(row_of).collect();
    rows.ok_or_else(|| missing(&config.outputs.logits))
}

impl ChatEngine for OnnxChat {
    fn info(&self) -> &ChatInfo {
        &self.info
    }

    fn prefill(&mut self, prompts: &[Vec<u32>]) -> Result<Vec<(SequenceId, Vec<f32>)>, EngineError> {
        self.run_prompts(prompts).map_err(|error| self.label.wrap(Stage::Infer, error))
    }

    fn step(&mut self, rows: &[(SequenceId, u32)]) -> Result<Vec<Vec<f32>>, EngineError> {
        self.run_step(rows).map_err(|error| self.label.wrap(Stage::Infer, error))
    }

    fn release(&mut self, sequence: SequenceId) {
        self.cache.release(sequence);
    }

    fn terminator(&self) -> Arc<dyn Terminate> {
        self.gate.clone()
    }
}
