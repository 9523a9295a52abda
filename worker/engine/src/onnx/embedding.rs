//! An encoder: a padded batch with its attention mask in, one L2-normalised vector per text out.
use std::sync::Arc;

use ort::session::SessionInputValue;
use ort::value::Tensor;

use crate::call::check_rows;
use crate::config::EmbeddingConfig;
use crate::engine::{EmbeddingEngine, Terminate};
use crate::error::{EngineError, ModelLabel, Stage};
use crate::onnx::gate::RunGate;
use crate::onnx::session::MappedSession;
use crate::onnx::{check_shape, check_tokens, missing, run_failed};

/// An embedding engine on one session.
pub(crate) struct OnnxEmbedding {
    session: MappedSession,
    gate: Arc<RunGate>,
    config: EmbeddingConfig,
    max_batch: usize,
    label: ModelLabel,
}

impl OnnxEmbedding {
    pub(crate) fn new(
        session: MappedSession,
        config: EmbeddingConfig,
        max_batch: usize,
        label: ModelLabel,
    ) -> Result<Self, EngineError> {
        Ok(Self { session, gate: Arc::new(RunGate::new()?), config, max_batch, label })
    }

    /// First runs: one short row and a full batch.
    pub(crate) fn warm_up(&mut self) -> Result<(), EngineError> {
        let length = 16.min(self.config.max_sequence);
        for rows in [1, self.max_batch] {
            self.run(&vec![vec![self.config.pad_token_id; length]; rows])?;
        }
        Ok(())
    }

    fn run(&mut self, rows: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EngineError> {
        check_rows(rows, self.max_batch, self.config.max_sequence)?;
        for row in rows {
            check_tokens(row, self.config.vocab_size)?;
        }
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut ids = vec![i64::from(self.config.pad_token_id); rows.len() * columns];
        let mut mask = vec![0i64; rows.len() * columns];
        for ((ids, mask), row) in ids.chunks_exact_mut(columns).zip(mask.chunks_exact_mut(columns)).zip(rows) {
            for ((id, mask), token) in ids.iter_mut().zip(mask).zip(row) {
                (*id, *mask) = (i64::from(*token), 1);
            }
        }
        let shape = [rows.len(), columns];
        let ids = Tensor::from_array((shape, ids)).map_err(run_failed)?;
        let mask = Tensor::from_array((shape, mask)).map_err(run_failed)?;
        let names = &self.config.inputs;
        let inputs: Vec<(&str, SessionInputValue<'_>)> =
            vec![(&names.input_ids, ids.into()), (&names.attention_mask, mask.into())];
        let (session, config) = (&mut self.session, &self.config);
        self.gate.call(|options| {
            let outputs = session.run(inputs, options).map_err(run_failed)?;
            let name = &config.outputs.embedding;
            let value = outputs.get(name).ok_or_else(|| missing(name))?;
            let (shape, data) = value.try_extract_tensor::<f32>().map_err(run_failed)?;
            check_shape(name, shape, &[rows.len(), config.dimensions])?;
            data.chunks_exact(config.dimensions).map(|row| vector(row, config.normalized)).collect()
        })
    }
}

/// Copies a row, normalised when the graph did not.
fn vector(row: &[f32], normalized: bool) -> Result<Vec<f32>, EngineError> {
    if row.iter().any(|v| !v.is_finite()) {
        return Err(EngineError::NotFinite);
    }
    if normalized {
        return Ok(row.to_vec());
    }
    let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1.0e-12);
    Ok(row.iter().map(|v| v / norm).collect())
}

impl EmbeddingEngine for OnnxEmbedding {
    fn dimensions(&self) -> usize {
        self.config.dimensions
    }

    fn vocab_size(&self) -> usize {
        self.config.vocab_size
    }

    fn max_sequence(&self) -> usize {
        self.config.max_sequence
    }

    fn max_batch(&self) -> usize {
        self.max_batch
    }

    fn embed(&mut self, rows: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EngineError> {
        self.run(rows).map_err(|error| self.label.wrap(Stage::Infer, error))
    }

    fn terminator(&self) -> Arc<dyn Terminate> {
        self.gate.clone()
    }
}
