//! Engines that answer something else than promised, which only a run shows.
use std::path::Path;
use std::sync::Arc;

use super::Trial;
use crate::call::CallFlag;
use crate::engine::{ChatEngine, ChatInfo, EmbeddingEngine, SequenceId, Terminate};
use crate::error::{EngineError, ModelLabel};
use crate::special_tokens::SpecialTokens;
use crate::tokenize::{CodecFiles, HfCodec, ModelVocabulary, NamedFile};

const VOCAB: usize = 260;
const END: u32 = 258;

fn codec() -> HfCodec {
    codec_for(VOCAB, &[END]).unwrap()
}

/// The tiny tokenizer for a model of so many tokens.
fn codec_for(size: usize, ends: &[u32]) -> Result<HfCodec, EngineError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/chat");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let (tokenizer, template) = (read("tokenizer.json"), read("chat_template.jinja"));
    let files = CodecFiles {
        tokenizer: NamedFile { path: "tokenizer.json", bytes: &tokenizer },
        template: Some(NamedFile { path: "chat_template.jinja", bytes: &template }),
        specials: SpecialTokens::default(),
        vocabulary: ModelVocabulary { size, answers: Some(ends) },
    };
    HfCodec::new(files, ModelLabel { model_id: "m".to_owned(), version: "v".to_owned() })
}

#[test]
fn a_model_may_have_a_few_tokens_without_a_text_and_no_text_may_have_tokens_without_a_model() {
    assert!(codec_for(VOCAB + 20, &[END]).is_ok(), "padded to a round number");
    // The last four are special: no text reaches them.
    assert!(codec_for(VOCAB - 1, &[END]).is_ok());
    for (size, ends, reason) in [
        (400, [END], "for 260 of the model's 400 tokens"),
        (250, [20], "it has the token 255, the model has 250"),
        (VOCAB + 20, [270], "does not have the token 270 that ends an answer"),
    ] {
        let error = codec_for(size, &ends).err().expect(reason);
        assert!(error.code() == "TG-2030" && error.report().contains(reason), "{}", error.report());
    }
}

/// Answers by the rows that it is given.
struct Encoder(fn(&[Vec<u32>]) -> Vec<Vec<f32>>);

impl EmbeddingEngine for Encoder {
    fn dimensions(&self) -> usize {
        2
    }
    fn vocab_size(&self) -> usize {
        VOCAB
    }
    fn max_sequence(&self) -> usize {
        64
    }
    fn max_batch(&self) -> usize {
        8
    }
    fn embed(&mut self, rows: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EngineError> {
        Ok((self.0)(rows))
    }
    fn terminator(&self) -> Arc<dyn Terminate> {
        Arc::<CallFlag>::default()
    }
}

fn unit(angle: f32) -> Vec<f32> {
    vec![angle.cos(), angle.sin()]
}

#[test]
fn vectors_that_cannot_be_right_are_refused() {
    let codec = codec();
    let trial = Trial { codec: &codec, tokenizer: "tokenizer.json", template: None };
    let tried = |answer| trial.embedding(&mut Encoder(answer)).map_err(|error| error.report());
    tried(|rows| rows.iter().map(|row| unit(row.len() as f32)).collect()).expect("fine");
    for (answer, reason) in [
        ((|rows| vec![unit(1.0); rows.len()]) as fn(&[Vec<u32>]) -> Vec<Vec<f32>>, "the same vector"),
        (|rows| vec![vec![0.5, 0.5]; rows.len()], "has the length 0.7"),
        (|rows| rows.iter().map(|row| unit(row.len() as f32 + rows.len() as f32)).collect(), "the row beside it"),
        (|_| vec![unit(1.0)], "a row is missing"),
    ] {
        let report = tried(answer).expect_err(reason);
        assert!(report.starts_with("model.onnx failed on a trial request") && report.contains(reason), "{report}");
    }
}

/// Answers `token` first, then the end; `leaks` into its neighbours.
struct Decoder {
    info: ChatInfo,
    token: u32,
    leaks: bool,
}

impl Decoder {
    fn new(token: u32, leaks: bool) -> Self {
        let info = ChatInfo { vocab_size: VOCAB, max_sequence: 64, eos_token_ids: vec![END], max_batch: 8 };
        Self { info, token, leaks }
    }

    fn logits(&self, token: u32, rows: usize) -> Vec<f32> {
        let mut logits = vec![0.0; VOCAB];
        let at = if self.leaks && rows > 1 { 0 } else { token as usize };
        logits[at] = 9.0;
        logits
    }
}

impl ChatEngine for Decoder {
    fn info(&self) -> &ChatInfo {
        &self.info
    }
    fn prefill(&mut self, prompts: &[Vec<u32>]) -> Result<Vec<(SequenceId, Vec<f32>)>, EngineError> {
        let rows = prompts.len();
        Ok((0..rows).map(|row| (SequenceId(row as u64), self.logits(self.token, rows))).collect())
    }
    fn step(&mut self, rows: &[(SequenceId, u32)]) -> Result<Vec<Vec<f32>>, EngineError> {
        Ok(rows.iter().map(|_| self.logits(END, 1)).collect())
    }
    fn release(&mut self, _: SequenceId) {}
    fn terminator(&self) -> Arc<dyn Terminate> {
        Arc::<CallFlag>::default()
    }
}

#[test]
fn answers_that_cannot_be_right_are_refused() {
    let codec = codec();
    let trial = Trial { codec: &codec, tokenizer: "tokenizer.json", template: Some("chat_template.jinja") };
    trial.chat(&mut Decoder::new(u32::from(b'a'), false)).expect("fine");
    let leaks = trial.chat(&mut Decoder::new(u32::from(b'a'), true)).expect_err("it reads its neighbours");
    assert!(leaks.code() == "TG-2032" && leaks.report().contains("the row beside it"), "{}", leaks.report());
}
