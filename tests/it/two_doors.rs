//! One reading at both doors: the same bytes to the gateway and straight to a worker give the same status and the same code, and
//! whoever refuses says where or which field.
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use system_tests::{
    documents::{PATIENCE, with_examples},
    envoy_files::{RawClient, Response},
    tidegate::Tidegate,
    wait,
};

/// A gateway with a key, and a worker of the same model behind it.
struct Doors {
    gateway: RawClient,
    worker: RawClient,
    key: String,
}

/// What a door said.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    status: u16,
    code: String,
    param: String,
    message: String,
}

impl Said {
    fn of(answer: &Response) -> Self {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |name: &str| body["error"][name].as_str().unwrap_or_default().to_owned();
        Self { status: answer.status, code: text("tidegate_code"), param: text("param"), message: text("message") }
    }
}

impl Doors {
    fn new(gateway: SocketAddr, worker: SocketAddr, key: &str) -> Self {
        Self { gateway: RawClient::new(gateway), worker: RawClient::new(worker), key: key.to_owned() }
    }

    /// Sends the same to both; `head` are header lines.
    fn ask(&mut self, path: &str, head: &str, body: &[u8]) -> Result<(Said, Said)> {
        let request = |key: &str| {
            let head = format!("POST {path} HTTP/1.1\r\nhost: door\r\n{key}{head}\r\n");
            [head.as_bytes(), body].concat()
        };
        let key = format!("authorization: Bearer {}\r\n", self.key);
        let shown = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        let gateway = self.gateway.send(&request(&key)).with_context(|| format!("gateway: {}", shown()))?;
        let worker = self.worker.send(&request("")).with_context(|| format!("worker: {}", shown()))?;
        Ok((Said::of(&gateway), Said::of(&worker)))
    }

    fn json(&mut self, path: &str, body: &[u8]) -> Result<(Said, Said)> {
        self.ask(path, &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()), body)
    }
}

const CHAT: &str = "/v1/chat/completions";
const EMBEDDINGS: &str = "/v1/embeddings";

/// A good chat, with more members.
fn with(more: &str) -> Vec<u8> {
    let comma = if more.is_empty() { "" } else { "," };
    format!(r#"{{"model":"tide-chat","max_tokens":1,"messages":[{{"role":"user","content":"hi"}}]{comma}{more}}}"#)
        .into()
}

/// A good chat that says this (raw JSON text).
fn saying(content: &str) -> Vec<u8> {
    format!(r#"{{"model":"tide-chat","max_tokens":1,"messages":[{{"role":"user","content":"{content}"}}]}}"#).into()
}

/// A body, its status and code, and what the message or the field has.
type Case = (Vec<u8>, u16, &'static str, &'static str);

fn not_json() -> Vec<Case> {
    let deep = |n: usize| with(&format!(r#""x":{}{}"#, "[".repeat(n), "]".repeat(n)));
    let raw = |text: &str| text.as_bytes().to_vec();
    let bytes = |before: &str, odd: &[u8]| [before.as_bytes(), odd, br#"","model":"tide-chat"}"#].concat();
    let bodies = vec![
        raw(""),
        raw(" \n"),
        raw("hello"),
        raw("null"),
        raw("[]"),
        raw("\"model\""),
        raw("17"),
        raw("{"),
        raw("{\"model\""),
        raw(r#"{"model":"tide-chat","messages":["#),
        raw(r#"{"model":"tide-chat","messages":[]}}"#),
        raw(r#"{"model":"tide-chat",}"#),
        raw(r#"{"model":"tide-chat","messages":[1,]}"#),
        raw(r#"{"model":"tide-chat" "messages":[]}"#),
        raw(r#"{"model" "tide-chat"}"#),
        raw(r#"{model:"tide-chat"}"#),
        raw("{'model':'tide-chat'}"),
        raw("// a comment\n{\"model\":\"tide-chat\"}"),
        raw("{\"model\":\"tide-chat\"/* a comment */}"),
        raw("{\"model\":\"tide-chat\"}\n{\"model\":\"tide-chat\"}"),
        raw("\u{feff}{\"model\":\"tide-chat\"}"),
        raw("model=tide-chat&messages=hi"),
        raw("{\"model\":\"tide-chat\",\u{a0}\"x\":1}"),
        raw("{\"model\":\"tide-chat\",\u{0}\"x\":1}"),
        with(r#""x":NaN"#),
        with(r#""x":Infinity"#),
        with(r#""x":-"#),
        with(r#""x":01"#),
        with(r#""x":1."#),
        with(r#""x":.5"#),
        with(r#""x":+1"#),
        with(r#""x":1e"#),
        with(r#""x":0x10"#),
        with(r#""x":1e400"#),
        with(r#""x":0.5e018446744073709551616"#),
        with(&format!(r#""x":{}"#, "9".repeat(400))),
        with(r#""x":True"#),
        with(r#""x":undefined"#),
        with(r#""model":"tide-chat""#),
        with(r#""mod\u0065l":"other""#),
        deep(127),
        deep(500),
        deep(1_000),
        saying(r"\ud83d"),
        saying(r"\ud83dx"),
        saying(r"\ud83d\n"),
        saying(r"\udca9"),
        saying(r"\udca9\ud83d"),
        saying(r"\ud83d\ud83d"),
        saying(r"\u12"),
        saying(r"\u12g4"),
        saying(r"\x41"),
        saying(r"\'"),
        saying("a\nb"),
        saying("a\tb"),
        saying("a\u{0}b"),
        bytes(r#"{"x":""#, b"\xff"),
        bytes(r#"{"x":""#, b"\xc3"),
        bytes(r#"{"x":""#, b"\xc0\xaf"),
        bytes(r#"{"x":""#, b"\xed\xa0\x80"),
        bytes(r#"{"x":""#, b"\xf4\x90\x80\x80"),
        bytes(r#"{"x":""#, b"\xe2\x82"),
        b"\xff\xfe{\0\"\0m\0".to_vec(),
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xabV".to_vec(),
    ];
    bodies.into_iter().map(|body| (body, 400, "TG-2200", "")).collect()
}

fn fields() -> Vec<Case> {
    let raw = |text: &str| text.as_bytes().to_vec();
    let model =
        |value: &str| format!(r#"{{"messages":[{{"role":"user","content":"x"}}],"model":{value}}}"#).into_bytes();
    let mut cases: Vec<Case> = vec![
        (raw("{}"), 400, "TG-2204", "model"),
        (raw(r#"{"messages":[{"role":"user","content":"x"}]}"#), 400, "TG-2204", "model"),
        (model("7"), 400, "TG-2203", "model"),
        (model("-7.5e3"), 400, "TG-2203", "model"),
        (model("null"), 400, "TG-2203", "model"),
        (model("true"), 400, "TG-2203", "model"),
        (model(r#"["tide-chat"]"#), 400, "TG-2203", "model"),
        (model(r#"{"id":"tide-chat"}"#), 400, "TG-2203", "model"),
        (model(&format!("\"{}\"", "m".repeat(513))), 400, "TG-2203", "model"),
        (model(&format!("\"{}\"", "m".repeat(512))), 404, "TG-2208", "model"),
        (model(r#""""#), 404, "TG-2208", "model"),
        (model(r#""Tide-Chat""#), 404, "TG-2208", "model"),
        (model(r#"" tide-chat""#), 404, "TG-2208", "model"),
        (model(r#""tide-chat\r\nx-tidegate-tenant: other""#), 404, "TG-2208", "model"),
        (model(r#""tide-chat\u0000""#), 404, "TG-2208", "model"),
        (model(r#""\ud83d\ude00""#), 404, "TG-2208", "model"),
        (raw(r#"{"model":"tide-chat"}"#), 400, "TG-2204", "messages"),
        (with(r#""nonsense":1"#), 400, "TG-2201", "nonsense"),
        (with(r#""Model":"x""#), 400, "TG-2201", "Model"),
        (with(r#""logit_bias":{"1":2}"#), 400, "TG-2202", "logit_bias"),
        (with(r#""n":2"#), 400, "TG-2202", "n"),
        (with(r#""stop":"""#), 400, "TG-2203", "stop[0]"),
        (with(r#""metadata":{"k":1}"#), 400, "TG-2203", "metadata.k"),
        (with(r#""seed":1.0"#), 400, "TG-2203", "seed"),
        (saying(&"x ".repeat(100_000)), 400, "TG-2207", "messages"),
        (saying(&" ".repeat(1_000_000)), 400, "TG-2207", "messages"),
        (saying(&"x".repeat(1 << 20)), 413, "TG-2205", ""),
    ];
    for (field, number) in [
        ("seed", "9223372036854775808"),
        ("seed", "18446744073709551615"),
        ("seed", "18446744073709551616"),
        ("seed", "-9223372036854775809"),
        ("max_completion_tokens", "9223372036854775808"),
        ("max_completion_tokens", "0"),
        ("temperature", "2.0000001"),
        ("temperature", "18446744073709551616"),
        ("top_p", "-9223372036854775809"),
        ("presence_penalty", "1e308"),
        ("frequency_penalty", "-2.5"),
    ] {
        cases.push((with(&format!(r#""{field}":{number}"#)), 400, "TG-2203", field));
    }
    cases
}

fn good() -> Vec<Case> {
    let bodies = vec![
        with(""),
        with(r#""seed":9223372036854775807"#),
        with(r#""seed":-9223372036854775808"#),
        with(r#""temperature":0e018446744073709551616,"frequency_penalty":1e-18446744073709551616"#),
        with(r#""temperature":0e999999,"top_p":1.0E-0,"presence_penalty":-0"#),
        with(r#""store":true,"metadata":{"a":"\ud83d\ude00"},"safety_identifier":"s","parallel_tool_calls":false"#),
        [b" \r\n\t".to_vec(), with(""), b"\n\n ".to_vec()].concat(),
        saying(r#"\"\\\/\b\f\n\r\t\u0000\ud83d\ude00"#),
        saying("é漢😀\u{2028}\u{85}\u{7f}"),
        saying("}]{[,:\\\" model"),
        br#"{"m\u006fdel":"tide\u002dchat","max_tokens":1,"messages":[{"role":"developer","content":"x"}]}"#.to_vec(),
    ];
    bodies.into_iter().map(|body| (body, 200, "", "")).collect()
}

async fn open(tidegate: &Tidegate, pool: &str, key: Option<&str>) -> Result<Doors> {
    let (_, nodes) = tidegate.admin("GET", "/api/v1/nodes", None).await?;
    let of_pool = |n: &&Value| n["pool"] == pool && n["worker"]["address"].is_string();
    let node = nodes["items"].as_array().into_iter().flatten().find(of_pool);
    let address = node.and_then(|n| n["worker"]["address"].as_str()).with_context(|| format!("{pool} in {nodes}"))?;
    Ok(Doors::new(tidegate.place().gateway, address.parse()?, key.context("a key")?))
}

fn holds(what: &str, (gateway, worker): &(Said, Said), (status, code, has): (u16, &str, &str)) -> Result<()> {
    for (door, said) in [("gateway", gateway), ("worker", worker)] {
        ensure!((said.status, said.code.as_str()) == (status, code), "{what}: {door} said {said:?}");
        ensure!(said.param == has, "{what}: {door} names another field: {said:?}");
        let place = said.message.contains("line") || said.message.contains("it is ");
        ensure!(code != "TG-2200" || place, "{what}: {door} names no place: {said:?}");
    }
    Ok(())
}

fn everything_by_hand(doors: &mut Doors) -> Result<()> {
    let cases: Vec<Case> = [not_json(), fields(), good()].concat();
    ensure!(cases.len() >= 100, "only {} cases", cases.len());
    for (body, status, code, has) in cases {
        let what = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
        holds(&what, &doors.json(CHAT, &body)?, (status, code, has))?;
    }
    let body = with("");
    let length = format!("content-length: {}\r\n", body.len());
    for (head, expected) in [
        ("content-type: application/json; charset=utf-8\r\n", (200, "", "")),
        ("Content-Type: APPLICATION/JSON\r\nContent-Encoding: identity\r\n", (200, "", "")),
        ("", (415, "TG-2213", "")),
        ("content-type: text/plain\r\n", (415, "TG-2213", "")),
        ("content-type: application/x-www-form-urlencoded\r\n", (415, "TG-2213", "")),
        ("content-type: application/json; charset=\"utf-16\"\r\n", (415, "TG-2213", "")),
        ("content-type: application/problem+json\r\n", (415, "TG-2213", "")),
        ("content-type: application/jsonx\r\n", (415, "TG-2213", "")),
        ("content-type: application/json\r\ncontent-type: text/plain\r\n", (415, "TG-2213", "")),
        ("content-type: application/json\r\ncontent-encoding: gzip\r\n", (415, "TG-2213", "")),
        ("content-type: application/json\r\ncontent-encoding: br\r\n", (415, "TG-2213", "")),
    ] {
        holds(head, &doors.ask(CHAT, &format!("{head}{length}"), &body)?, expected)?;
    }
    let chunked = "content-type: application/json\r\ntransfer-encoding: chunked\r\n";
    let chunks: Vec<u8> =
        body.chunks(7).flat_map(|c| [format!("{:x}\r\n", c.len()).as_bytes(), c, b"\r\n"].concat()).collect();
    holds("chunked", &doors.ask(CHAT, chunked, &[&chunks[..], b"0\r\n\r\n"].concat())?, (200, "", ""))?;
    let (gateway, worker) = doors.ask(CHAT, chunked, b"zz\r\n{}\r\n0\r\n\r\n")?;
    ensure!((gateway.status, worker.status) == (400, 400), "a malformed chunk: {gateway:?} {worker:?}");
    Ok(())
}

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
    "\"n\":2,",
    "\\ud800",
    "\\u00e9",
    ",",
    ":",
    "[[",
    "]]",
    "}}",
    "\"",
    "\\",
    "\u{feff}",
    "é",
    " \n",
    "0.1",
    "\"x\":",
    "//",
    "\t",
    "\u{1}",
    "'",
];

/// A pseudo-random mutation of a good body: bytes flipped, cut, moved, and pieces put in.
fn mutated(seed: &mut u64) -> Vec<u8> {
    let mut below = |n: usize| {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        usize::try_from(*seed % u64::try_from(n.max(1)).unwrap_or(1)).unwrap_or(0)
    };
    let mut body =
        with(r#""seed":-7,"user":"\ud83d\ude00é","stop":["a","b"],"metadata":{"k":"v"},"temperature":0.5e0"#);
    for _ in 0..=below(3) {
        let at = below(body.len() + 1);
        match below(5) {
            0 if at < body.len() => body[at] ^= 1 << below(8),
            1 => body.truncate(at.max(1)),
            2 => drop(body.drain(at..(at + below(12)).min(body.len()))),
            _ => drop(body.splice(at..at, PIECES[below(PIECES.len())].bytes())),
        }
    }
    body
}

fn mutations(doors: &mut Doors) -> Result<()> {
    let count: u32 = std::env::var("TIDEGATE_TEST_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(1_500);
    let mut seed = 0x7de6_a7e5_eed0_0002;
    let mut refused = 0;
    for _ in 0..count {
        let body = mutated(&mut seed);
        let (gateway, worker) = doors.json(CHAT, &body)?;
        refused += u32::from(gateway.code == "TG-2200");
        // The gateway looks at the model before any other field, so of two faults the doors may name different ones.
        let by_model = gateway.status == 404 || (gateway.param == "model" && gateway.status == 400);
        let same = (gateway.status, &gateway.code) == (worker.status, &worker.code);
        let both = by_model && (worker.status == 400 || worker.status == 404) && worker.code != "TG-2200";
        ensure!(same || both, "{:?}: gateway {gateway:?}, worker {worker:?}", String::from_utf8_lossy(&body));
    }
    ensure!(refused > count / 5 && refused < count, "{refused} of {count} were no JSON");
    Ok(())
}

fn embeddings(doors: &mut Doors) -> Result<()> {
    let with = |input: &str| format!(r#"{{"model":"all-minilm-l6-v2","input":{input}}}"#).into_bytes();
    for (input, status, code, has) in [
        (r#""hi""#, 200, "", ""),
        ("[101,102]", 200, "", ""),
        (r#""\ud83d""#, 400, "TG-2200", ""),
        ("[1,2,]", 400, "TG-2200", ""),
        ("[1e400]", 400, "TG-2200", ""),
        ("[18446744073709551615]", 400, "TG-2203", "input[0]"),
        ("[[1],[9223372036854775808]]", 400, "TG-2203", "input[1][0]"),
        ("[]", 400, "TG-2203", "input"),
    ] {
        holds(input, &doors.json(EMBEDDINGS, &with(input))?, (status, code, has))?;
    }
    let many = with(&format!("\"{}\"", "a ".repeat(400_000)));
    holds("400,000 words", &doors.json(EMBEDDINGS, &many)?, (400, "TG-2203", "input[0]"))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_doors_say_the_same_about_every_body() -> Result<()> {
    let (tidegate, client) = with_examples(&[]).await?;
    wait::until("embeddings to be served", PATIENCE, async || {
        let body = json!({"model": "all-minilm-l6-v2", "input": "hi"});
        client.send(EMBEDDINGS, &body, &[]).await?.expect(200)?;
        Ok(())
    })
    .await?;
    let mut chat = open(&tidegate, "default/chat-stable", client.key()).await?;
    let mut embed = open(&tidegate, "default/embed", client.key()).await?;
    tokio::task::spawn_blocking(move || {
        everything_by_hand(&mut chat)?;
        embeddings(&mut embed)?;
        mutations(&mut chat)
    })
    .await?
}
