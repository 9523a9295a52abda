//! The fake engine keeps the traits' promises: a pure function of version and prompt, stoppable, failing when told to.
use std::time::{Duration, Instant};

use tidegate_engine::engine::ChatMessage;
use tidegate_engine::fake::{self, FakeConfig};

use crate::harness::{answers, chat_engine, embedding_engine};

fn say(config: FakeConfig, content: &str) -> String {
    let model = fake::chat(config);
    let codec = model.tokenizer.clone();
    let prompt = codec.encode_chat(&[ChatMessage::new("user", content)]).expect("encodes");
    let answer = answers(&mut *chat_engine(model), &[prompt], 4096).remove(0);
    let mut decoder = codec.decoder();
    let mut text: String = answer.iter().map(|t| decoder.push(*t).expect("decodes")).collect();
    text.push_str(&decoder.finish().expect("decodes"));
    text
}

#[test]
fn it_answers_its_version_and_the_prompt() {
    assert_eq!(say(FakeConfig::new("v1"), "Grüße 🦀"), fake::answer_to("v1", "Grüße 🦀"));
    assert_eq!(say(FakeConfig { answer_tokens: Some(10), ..FakeConfig::new("v2") }, "ab"), "[v2] ab[v2");
}

#[test]
fn it_fails_when_told_to() {
    let config = FakeConfig { fail_from_call: Some(2), ..FakeConfig::new("v1") };
    let mut engine = chat_engine(fake::chat(config));
    let (id, _) = engine.prefill(&[vec![65]]).expect("the first call").remove(0);
    assert_eq!(engine.step(&[(id, 65)]).expect_err("the second").code(), "TG-2048");
    let config = FakeConfig { fail_on: Some("bad".to_owned()), ..FakeConfig::new("v1") };
    let mut engine = embedding_engine(fake::embedding(config));
    engine.embed(&[b"good".map(u32::from).to_vec()]).expect("fine");
    assert!(engine.embed(&[b"so bad".map(u32::from).to_vec()]).is_err());
}

#[test]
fn it_can_be_stopped_in_its_delay() {
    let config = FakeConfig { delay: Duration::from_secs(60), ..FakeConfig::new("v1") };
    let mut engine = embedding_engine(fake::embedding(config));
    let terminator = engine.terminator();
    terminator.terminate();
    let started = Instant::now();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        terminator.terminate();
    });
    assert!(engine.embed(&[vec![1]]).expect_err("stopped").terminated());
    assert!((Duration::from_millis(40)..Duration::from_secs(30)).contains(&started.elapsed()));
}
