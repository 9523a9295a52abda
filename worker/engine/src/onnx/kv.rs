//! The keys and values of running sequences. Rows of one call stay together in one group of tensors, exactly as the graph
//! gave them back; they are copied only when rows join or leave, when most of a group has left, or when the width runs out.
use std::collections::HashMap;

use ort::value::{DynValue, Tensor};

use crate::config::ChatConfig;
use crate::engine::SequenceId;
use crate::error::EngineError;
use crate::onnx::run_failed;

/// Sequences that may be open, as a multiple of the batch: those of a call, and as many again that stand still meanwhile.
pub(crate) const OPEN_PER_BATCH: usize = 2;

/// Most bytes that the cache of an engine can hold, all sequences at full length. Groups have at most twice the rows of the
/// open sequences ([`KvCache::compact`]); beside them there are, during a step, its past and its present.
pub(crate) fn bytes(config: &ChatConfig, max_batch: usize) -> u64 {
    let key_and_value = 2 * size_of::<f32>();
    let rows = max_batch.saturating_mul(2 * OPEN_PER_BATCH + 2);
    [key_and_value, config.layers, config.kv_heads, config.head_dim, config.max_sequence, rows]
        .iter()
        .fold(1u64, |product, n| product.saturating_mul(*n as u64))
}

/// Width of the past for sequences of at most `tokens` tokens: the next power of two, so that shapes repeat.
pub(crate) fn bucket(tokens: usize, max_sequence: usize) -> usize {
    tokens.next_power_of_two().min(max_sequence)
}

/// Key and value per layer, `[rows, kv_heads, width, head_dim]`, in the order key 0, value 0, key 1, …
struct Group {
    tensors: Vec<DynValue>,
    width: usize,
    rows: usize,
    /// Rows that belong to a sequence still.
    live: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    group: u64,
    row: usize,
    /// Tokens in the cache.
    tokens: usize,
}

/// All sequences of an engine.
pub(crate) struct KvCache {
    groups: HashMap<u64, Group>,
    slots: HashMap<SequenceId, Slot>,
    next_group: u64,
    next_sequence: u64,
    tensors: usize,
    heads: usize,
    dim: usize,
    max_sequence: usize,
}

/// The past of a call.
pub(crate) enum Past<'a> {
    /// The rows are exactly a group: its tensors serve as they are.
    Group(&'a [DynValue]),
    /// Copied together.
    Gathered(Vec<DynValue>),
}

impl KvCache {
    pub(crate) fn new(config: &ChatConfig) -> Self {
        Self {
            groups: HashMap::new(),
            slots: HashMap::new(),
            next_group: 0,
            next_sequence: 0,
            tensors: 2 * config.layers,
            heads: config.kv_heads,
            dim: config.head_dim,
            max_sequence: config.max_sequence,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Tokens in the cache of a sequence.
    pub(crate) fn tokens(&self, id: SequenceId) -> Result<usize, EngineError> {
        self.slots.get(&id).map(|slot| slot.tokens).ok_or(EngineError::SequenceUnknown(id.0))
    }

    /// A past of width 0, for prompts.
    pub(crate) fn empty(&mut self, rows: usize) -> Result<Vec<DynValue>, EngineError> {
        self.compact()?;
        (0..self.tensors).map(|_| self.tensor(rows, 0, Vec::new())).collect()
    }

    fn tensor(&self, rows: usize, width: usize, data: Vec<f32>) -> Result<DynValue, EngineError> {
        let shape = [rows, self.heads, width, self.dim];
        Tensor::from_array((shape, data)).map(Tensor::into_dyn).map_err(run_failed)
    }

    /// The past of these rows with room for one more token each.
    pub(crate) fn past(&mut self, rows: &[SequenceId]) -> Result<Past<'_>, EngineError> {
        self.compact()?;
        let slots = rows
            .iter()
            .map(|id| self.slots.get(id).copied().ok_or(EngineError::SequenceUnknown(id.0)))
            .collect::<Result<Vec<Slot>, _>>()?;
        let longest = slots.iter().map(|slot| slot.tokens).max().unwrap_or(0);
        if let Some(group) = slots.first().and_then(|slot| self.groups.get(&slot.group))
            && group.rows == slots.len()
            && group.width > longest
            && slots
                .iter()
                .enumerate()
                .all(|(row, slot)| slot.row == row && Some(slot.group) == slots.first().map(|s| s.group))
        {
            return Ok(Past::Group(&group.tensors));
        }
        self.gather_all(&slots).map(Past::Gathered)
    }

    /// Copies these rows together, with room for one more token each.
    fn gather_all(&self, slots: &[Slot]) -> Result<Vec<DynValue>, EngineError> {
        let longest = slots.iter().map(|slot| slot.tokens).max().unwrap_or(0);
        let width = bucket(longest + 1, self.max_sequence);
        (0..self.tensors).map(|index| self.gather(slots, index, width)).collect()
    }

    /// Copies the rows that live out of every group in which they are fewer than half, so that a row that stands still does
    /// not keep the whole group it was left in. Every call begins with this; it changes no sequence, even when it fails.
    fn compact(&mut self) -> Result<(), EngineError> {
        let sparse = |(id, group): (&u64, &Group)| (2 * group.live < group.rows).then_some(*id);
        let sparse: Vec<u64> = self.groups.iter().filter_map(sparse).collect();
        sparse.into_iter().try_for_each(|group| self.move_out(group))
    }

    fn move_out(&mut self, group: u64) -> Result<(), EngineError> {
        let of_group = |(id, slot): (&SequenceId, &Slot)| (slot.group == group).then_some((*id, *slot));
        let mut left: Vec<(SequenceId, Slot)> = self.slots.iter().filter_map(of_group).collect();
        left.sort_by_key(|(_, slot)| slot.row);
        let slots: Vec<Slot> = left.iter().map(|(_, slot)| *slot).collect();
        let tensors = self.gather_all(&slots)?;
        let moved = self.add_group(slots.len(), tensors)?;
        for (row, (id, slot)) in left.into_iter().enumerate() {
            self.slots.insert(id, Slot { group: moved, row, ..slot });
        }
        self.groups.remove(&group);
        Ok(())
    }

    /// Copies one tensor of each row into a new one of `width`; what no row fills is zero.
    fn gather(&self, slots: &[Slot], index: usize, width: usize) -> Result<DynValue, EngineError> {
        let head = width * self.dim;
        let mut data = vec![0.0f32; slots.len() * self.heads * head];
        for (slot, out) in slots.iter().zip(data.chunks_exact_mut(self.heads * head)) {
            let group = self.groups.get(&slot.group).ok_or_else(lost)?;
            let (_, from) =
                group.tensors.get(index).ok_or_else(lost)?.try_extract_tensor::<f32>().map_err(run_failed)?;
            let row = group.width * self.dim * self.heads;
            let from = from.get(slot.row * row..(slot.row + 1) * row).ok_or_else(lost)?;
            let filled = slot.tokens * self.dim;
            for (to, from) in out.chunks_exact_mut(head).zip(from.chunks_exact(group.width * self.dim)) {
                to.get_mut(..filled).ok_or_else(lost)?.copy_from_slice(from.get(..filled).ok_or_else(lost)?);
            }
        }
        self.tensor(slots.len(), width, data)
    }

    /// Makes sequences of a prompt's present tensors.
    pub(crate) fn insert(&mut self, tokens: &[usize], present: Vec<DynValue>) -> Result<Vec<SequenceId>, EngineError> {
        let group = self.add_group(tokens.len(), present)?;
        let mut ids = Vec::with_capacity(tokens.len());
        for (row, tokens) in tokens.iter().enumerate() {
            let id = SequenceId(self.next_sequence);
            self.next_sequence += 1;
            self.slots.insert(id, Slot { group, row, tokens: *tokens });
            ids.push(id);
        }
        Ok(ids)
    }

    /// Takes the present tensors of a step: each row has one token more.
    pub(crate) fn advance(&mut self, rows: &[SequenceId], present: Vec<DynValue>) -> Result<(), EngineError> {
        let group = self.add_group(rows.len(), present)?;
        for (row, id) in rows.iter().enumerate() {
            let old = self.slots.get_mut(id).ok_or(EngineError::SequenceUnknown(id.0))?;
            let left = std::mem::replace(old, Slot { group, row, tokens: old.tokens + 1 });
            self.leave(left.group);
        }
        Ok(())
    }

    pub(crate) fn release(&mut self, id: SequenceId) {
        if let Some(slot) = self.slots.remove(&id) {
            self.leave(slot.group);
        }
    }

    fn leave(&mut self, group: u64) {
        if let Some(entry) = self.groups.get_mut(&group) {
            entry.live = entry.live.saturating_sub(1);
            if entry.live == 0 {
                self.groups.remove(&group);
            }
        }
    }

    fn add_group(&mut self, rows: usize, tensors: Vec<DynValue>) -> Result<u64, EngineError> {
        let mut widths = tensors.iter().map(|t| t.dtype().tensor_shape().and_then(|shape| self.width(rows, shape)));
        let width = widths.next().flatten();
        let width = if widths.all(|w| w == width) { width } else { None };
        let (Some(width), true) = (width, tensors.len() == self.tensors) else {
            return Err(EngineError::GraphDiffers { reason: "the present tensors have another shape".to_owned() });
        };
        let id = self.next_group;
        self.next_group += 1;
        self.groups.insert(id, Group { tensors, width, rows, live: rows });
        Ok(id)
    }

    fn width(&self, rows: usize, shape: &[i64]) -> Option<usize> {
        let [r, heads, width, dim] = *<&[i64; 4]>::try_from(shape).ok()?;
        let size = |n: i64| usize::try_from(n).ok();
        (size(r) == Some(rows) && size(heads) == Some(self.heads) && size(dim) == Some(self.dim))
            .then(|| size(width))?
    }
}

fn lost() -> EngineError {
    EngineError::GraphDiffers { reason: "the cached tensors have another shape".to_owned() }
}

#[cfg(test)]
mod tests;
