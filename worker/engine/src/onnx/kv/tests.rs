//! Rows that stand still hold little, keep their contents, and the estimate counts them.
use ort::value::{DynValue, Tensor};

use super::{KvCache, OPEN_PER_BATCH, Past, bytes};
use crate::config::{ChatConfig, ModelConfig};
use crate::engine::SequenceId;
use crate::load::Task;
use crate::onnx::tests::runtime;

const BATCH: usize = 8;
const WIDTH: usize = 32;

fn config() -> ChatConfig {
    let text = r#"{"format":"tidegate.model/v1","task":"Chat","vocabSize":4,"layers":1,"kvHeads":1,"headDim":1,
        "maxSequence":32,"eosTokenIds":[0]}"#;
    match ModelConfig::parse(text.as_bytes(), Task::Chat).unwrap() {
        ModelConfig::Chat(config) => config,
        ModelConfig::Embedding(_) => panic!("a decoder was expected"),
    }
}

/// A key and a value, each row full of its own number.
fn present(rows: &[f32], width: usize) -> Vec<DynValue> {
    let data: Vec<f32> = rows.iter().flat_map(|row| vec![*row; width]).collect();
    let tensor = || Tensor::from_array(([rows.len(), 1, width, 1], data.clone())).unwrap().into_dyn();
    vec![tensor(), tensor()]
}

fn rows_held(cache: &KvCache) -> usize {
    cache.groups.values().map(|group| group.rows).sum()
}

/// The first number of each row.
fn contents(cache: &mut KvCache, ids: &[SequenceId]) -> Vec<f32> {
    match cache.past(ids).unwrap() {
        Past::Group(_) => panic!("these rows come from several groups"),
        Past::Gathered(tensors) => {
            let (shape, data) = tensors[1].try_extract_tensor::<f32>().unwrap();
            data.chunks_exact(usize::try_from(shape[2]).unwrap()).map(|row| row[0]).collect()
        }
    }
}

/// One row fewer in each step: without moving them out, every row would keep a group of all that were there with it.
#[test]
fn rows_left_behind_one_by_one_hold_at_most_twice_themselves() {
    let _runtime = runtime();
    let mut cache = KvCache::new(&config());
    let numbers: Vec<f32> = (1u8..=8).map(f32::from).collect();
    let ids = cache.insert(&[1; BATCH], present(&numbers, 4)).unwrap();
    for left in 1..BATCH {
        cache.past(&ids[left..]).unwrap();
        assert!(rows_held(&cache) <= 2 * BATCH, "{} rows before step {left}", rows_held(&cache));
        cache.advance(&ids[left..], present(&numbers[left..], 16)).unwrap();
    }
    cache.empty(1).unwrap();
    assert!(cache.groups.values().all(|group| group.rows <= 2 * group.live));
    assert_eq!(contents(&mut cache, &ids), numbers);
    let tokens: Vec<usize> = ids.iter().map(|id| cache.tokens(*id).unwrap()).collect();
    assert_eq!(tokens, [1, 2, 3, 4, 5, 6, 7, 8]);
    ids.into_iter().for_each(|id| cache.release(id));
    assert_eq!(rows_held(&cache), 0);
}

/// The most there can be: every sequence open, groups half empty, a step with its past gathered and its present.
#[test]
fn the_estimate_covers_all_open_sequences_and_a_step() {
    let rows = 2 * OPEN_PER_BATCH * BATCH + 2 * BATCH;
    let row = 2 * size_of::<f32>() * WIDTH;
    assert_eq!(bytes(&config(), BATCH), (rows * row) as u64);
    let huge = ChatConfig { max_sequence: usize::MAX, ..config() };
    assert_eq!(bytes(&huge, 1024), u64::MAX, "no overflow");
}
