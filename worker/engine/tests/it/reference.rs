//! The committed models answer what their reference files say, token for token, alone and in a batch.
use std::path::Path;

use serde_json::Value;
use tidegate_engine::Task;
use tidegate_engine::engine::{ChatEngine, ChatMessage, TextCodec};

use crate::harness::{answers, chat_engine, embedding_engine, examples, load_under, spec, tool};

fn reference(name: &str) -> Value {
    let path = examples().join("reference").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn tokens(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(|t| u32::try_from(t.as_u64().expect("a number")).expect("small"))
        .collect()
}

fn decode(codec: &dyn TextCodec, tokens: &[u32]) -> String {
    let mut decoder = codec.decoder();
    let mut text: String = tokens.iter().map(|t| decoder.push(*t).expect("decodes")).collect();
    text.push_str(&decoder.finish().expect("decodes"));
    text
}

/// In batches of eight, rows joining as others leave is covered elsewhere; here every batch starts together.
fn batched(engine: &mut dyn ChatEngine, prompts: &[Vec<u32>], limit: usize) -> Vec<Vec<u32>> {
    prompts.chunks(8).flat_map(|chunk| answers(engine, chunk, limit)).collect()
}

fn chat_equals_reference(version: &str) {
    let reference = reference(&format!("tide-chat-{version}.json"));
    let folder = examples().join("tide-chat").join(version).canonicalize().expect("the model is there");
    let model = load_under(&folder, &spec(&folder, Task::Chat)).expect("loads");
    let codec = model.tokenizer.clone();
    let mut engine = chat_engine(model);
    let limit = usize::try_from(reference["maxNewTokens"].as_u64().expect("a number")).expect("small");
    let cases = reference["prompts"].as_array().expect("a list");
    assert!(cases.len() >= 10);
    let mut prompts = Vec::new();
    for case in cases {
        let messages: Vec<ChatMessage> = case["messages"].as_array().expect("a list").iter().map(message).collect();
        let prompt = codec.encode_chat(&messages).expect("encodes");
        assert_eq!(prompt, tokens(&case["promptTokenIds"]), "{}", case["messages"]);
        prompts.push(prompt);
    }
    let expected: Vec<Vec<u32>> = cases.iter().map(|case| tokens(&case["outputTokenIds"])).collect();
    let alone: Vec<Vec<u32>> =
        prompts.iter().map(|p| answers(&mut *engine, std::slice::from_ref(p), limit).remove(0)).collect();
    assert_eq!(alone, expected);
    assert_eq!(batched(&mut *engine, &prompts, limit), expected);
    for (case, answer) in cases.iter().zip(&alone) {
        assert_eq!(decode(&*codec, answer), case["text"].as_str().expect("text"));
    }
}

fn message(value: &Value) -> ChatMessage {
    let text = |key: &str| value[key].as_str().expect("text").to_owned();
    ChatMessage::new(text("role"), text("content"))
}

#[test]
fn tide_chat_v1_answers_as_its_reference() {
    chat_equals_reference("v1");
}

#[test]
fn tide_chat_v2_answers_as_its_reference() {
    chat_equals_reference("v2");
}

#[test]
fn minilm_vectors_equal_the_reference() {
    let reference = reference("all-minilm-l6-v2.json");
    let folder = tool("models/all-minilm-l6-v2/v1");
    let folder: &Path = &folder.canonicalize().expect("resolves");
    let model = load_under(folder, &spec(folder, Task::Embedding)).expect("loads");
    let codec = model.tokenizer.clone();
    let mut engine = embedding_engine(model);
    let sentences = reference["sentences"].as_array().expect("a list");
    assert!(sentences.len() >= 5);
    let mut rows = Vec::new();
    for sentence in sentences {
        let mut row = codec.encode(sentence["text"].as_str().expect("text")).expect("encodes");
        if row.len() > engine.max_sequence() {
            // As the reference was made: cut, with the closing token kept.
            let last = row[row.len() - 1];
            row.truncate(engine.max_sequence() - 1);
            row.push(last);
        }
        assert_eq!(row, tokens(&sentence["tokenIds"]), "{}", sentence["text"]);
        rows.push(row);
    }
    for chunk in (0..rows.len()).collect::<Vec<_>>().chunks(8) {
        let batch: Vec<Vec<u32>> = chunk.iter().map(|i| rows[*i].clone()).collect();
        for (index, vector) in chunk.iter().zip(engine.embed(&batch).expect("embeds")) {
            let expected = sentences[*index]["embedding"].as_array().expect("a list");
            assert_eq!(expected.len(), vector.len());
            #[allow(clippy::cast_possible_truncation)]
            let expected: Vec<f32> = expected.iter().map(|v| v.as_f64().expect("a number") as f32).collect();
            let dot: f32 = expected.iter().zip(&vector).map(|(a, b)| a * b).sum();
            let norm: f32 = expected.iter().map(|v| v * v).sum::<f32>().sqrt();
            assert!(dot / norm > 0.999, "cosine {} for {}", dot / norm, sentences[*index]["text"]);
        }
    }
}
