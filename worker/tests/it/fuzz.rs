//! Mutated requests against the parsers: no panic, no unnamed error, nothing that is out of bounds gets through.
//! `TIDEGATE_TEST_FUZZ=1000000` sets how many inputs each parser gets.
use std::{collections::BTreeMap, time::Instant};

use tidegate_worker::{
    api::{
        chat_request::{self, parse_chat},
        parse_embedding,
    },
    error::RequestError,
};

const CHATS: &[&str] = &[
    r#"{"model":"chat","messages":[{"role":"user","content":"hello"}]}"#,
    r#"{"model":"a/b","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"x"},{"type":"text","text":"é"}]}],"temperature":0.5,"top_p":0.9,"seed":-7,"stop":["a","b"],"stream":true,"stream_options":{"include_usage":true},"max_tokens":5,"user":"u","n":1}"#,
    r#"{"messages":[{"role":"assistant","content":"x","tool_calls":[],"refusal":null},{"content":"y","role":"user"}],"model":"m","logprobs":false,"tools":[],"response_format":{"type":"text"},"presence_penalty":-1.5,"logit_bias":{},"metadata":{},"modalities":["text"],"stop":"\n\n","max_completion_tokens":2147483647}"#,
];
const CHATS_THAT_LACK: &[&str] = &[
    r#"{"model":"chat","messages":[{"role":"user"}]}"#,
    r#"{"model":"chat","messages":[{"content":"x"},{"role":"user","content":[{"type":"text"}]}]}"#,
    r#"{"messages":[{"role":"user","content":"hello"}],"n":1,"tools":[]}"#,
];
const EMBEDDINGS_THAT_LACK: &[&str] = &[r#"{"model":"embed","user":"u"}"#, r#"{"input":[[1,2,3],[4]]}"#];
const EMBEDDINGS: &[&str] = &[
    r#"{"model":"embed","input":"hello"}"#,
    r#"{"model":"embed","input":["a","b","c"],"encoding_format":"base64","dimensions":384,"user":"u"}"#,
    r#"{"model":"embed","input":[[1,2,3],[4]],"encoding_format":"float"}"#,
];
const PIECES: &[&str] = &[
    "null",
    "true",
    "-1",
    "0",
    "1e309",
    "18446744073709551616",
    "\"\"",
    "[]",
    "{}",
    "\"model\":",
    "\"messages\":",
    "\"n\":2,",
    "\"stop\":",
    "\"\\ud800\"",
    "\"role\":\"user\"",
    "\"content\":",
    ",",
    ":",
    "[[[[",
    "]]",
    "}}",
    "\"",
    "\\u0000",
    "\u{feff}",
    "\"temperature\":3",
    "\"stream_options\":{}",
    "\"tools\":[1]",
    "\"max_tokens\":1",
    "0.1",
    "\"input\":",
    "\"dimensions\":0",
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

fn mutate(random: &mut Random, corpus: &[&str]) -> Vec<u8> {
    let mut text = corpus[random.below(corpus.len())].as_bytes().to_vec();
    for _ in 0..random.below(4) {
        let at = random.below(text.len() + 1);
        match random.below(12) {
            0 if at < text.len() => text[at] ^= 1 << random.below(8),
            1 => text.truncate(at),
            2 => text.splice(at..at, PIECES[random.below(PIECES.len())].bytes()).for_each(drop),
            3 => {
                let end = (at + random.below(12)).min(text.len());
                text.drain(at..end);
            }
            4 => {
                let other = corpus[random.below(corpus.len())].as_bytes();
                let from = random.below(other.len());
                let to = (from + random.below(30)).min(other.len());
                text.splice(at..at, other[from..to].iter().copied()).for_each(drop);
            }
            _ => {
                // A whole value is exchanged: the structure stays, so this gets deep.
                if let Some(colon) = text.iter().skip(at).position(|b| *b == b':').map(|p| p + at + 1) {
                    let end =
                        text.iter().skip(colon).position(|b| b",}]".contains(b)).map_or(text.len(), |p| p + colon);
                    text.splice(colon..end, PIECES[random.below(PIECES.len())].bytes()).for_each(drop);
                }
            }
        }
    }
    text
}

fn fuzz(name: &str, corpus: &[&str], parse: impl Fn(&[u8]) -> Result<(), RequestError>) -> BTreeMap<&'static str, u64> {
    let inputs: u64 = std::env::var("TIDEGATE_TEST_FUZZ").map_or(20_000, |n| n.parse().expect("a number"));
    let mut random = Random(0x7de6_a7e5_eed0_0001);
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    let begun = Instant::now();
    for _ in 0..inputs {
        let text = mutate(&mut random, corpus);
        let outcome = match parse(&text) {
            Ok(()) => "ok",
            Err(error) => {
                assert!(!error.to_string().is_empty() && error.code().starts_with("TG-22"), "{error:?}");
                error.code()
            }
        };
        *seen.entry(outcome).or_default() += 1;
    }
    let rate = inputs as f64 / begun.elapsed().as_secs_f64();
    println!("{name}: {inputs} inputs, {rate:.0} per second, {seen:?}");
    seen
}

#[test]
fn the_chat_parser_takes_only_what_is_within_bounds() {
    let seen = fuzz("chat", &[CHATS, CHATS_THAT_LACK].concat(), |body| {
        let request = parse_chat(body)?;
        assert!((1..=chat_request::MAX_MESSAGES).contains(&request.messages.len()));
        assert!(request.messages.iter().all(|m| ["system", "user", "assistant"].contains(&m.role.as_str())));
        assert!((0.0..=2.0).contains(&request.temperature) && request.top_p > 0.0 && request.top_p <= 1.0);
        assert!((-2.0..=2.0).contains(&request.presence_penalty) && (-2.0..=2.0).contains(&request.frequency_penalty));
        assert!(request.stop.len() <= chat_request::MAX_STOP && request.stop.iter().all(|s| !s.is_empty()));
        assert!(request.max_tokens.is_none_or(|n| n > 0) && (request.stream || !request.include_usage));
        assert_eq!(parse_chat(body)?, request);
        Ok(())
    });
    for outcome in ["ok", "TG-2200", "TG-2201", "TG-2202", "TG-2203", "TG-2204"] {
        assert!(seen.get(outcome).is_some_and(|n| *n >= 20), "{outcome} was hardly reached: {seen:?}");
    }
}

#[test]
fn the_embedding_parser_takes_only_what_is_within_bounds() {
    let seen = fuzz("embeddings", &[EMBEDDINGS, EMBEDDINGS_THAT_LACK].concat(), |body| {
        let request = parse_embedding(body)?;
        assert!(!request.inputs.is_empty() && request.dimensions.is_none_or(|n| n > 0));
        Ok(())
    });
    for outcome in ["ok", "TG-2200", "TG-2201", "TG-2203", "TG-2204"] {
        assert!(seen.get(outcome).is_some_and(|n| *n >= 20), "{outcome} was hardly reached: {seen:?}");
    }
}
