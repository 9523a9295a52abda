//! Templates of published families give what they give in Python, mistakes are told from refusals, and nothing runs away. The
//! expected texts were written by jinja2 as transformers sets it up (tests/it/fixtures/templates/make_goldens.py).
use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset, TimeZone};

use super::ChatTemplate;
use crate::engine::ChatMessage;
use crate::error::EngineError;
use crate::special_tokens::SpecialTokens;

fn summer() -> DateTime<FixedOffset> {
    FixedOffset::east_opt(0).unwrap().with_ymd_and_hms(2026, 7, 26, 10, 30, 0).unwrap()
}

fn specials() -> SpecialTokens {
    let json = br#"{"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "unk_token": "<unk>", "pad_token": null}"#;
    SpecialTokens::read("tokenizer_config.json", json).unwrap()
}

fn template(text: &str) -> Result<ChatTemplate, EngineError> {
    ChatTemplate::new("chat_template.jinja", text.as_bytes(), specials(), summer)
}

fn said(turns: &[(&str, &str)]) -> Vec<ChatMessage> {
    turns.iter().map(|(role, content)| ChatMessage::new(*role, *content)).collect()
}

/// The conversations of make_goldens.py.
fn conversations() -> Vec<(&'static str, Vec<ChatMessage>)> {
    let thought = "<think>\nhm\n</think>\n\nHello – you.";
    vec![
        ("user", said(&[("user", " Why is the sky blue? ")])),
        ("system, user", said(&[("system", "Answer in\n\none line."), ("user", "Hi <b>")])),
        ("user, assistant, user", said(&[("user", "Hi"), ("assistant", thought), ("user", "And now?")])),
        ("user, user", said(&[("user", "one"), ("user", "two")])),
    ]
}

/// The tool of make_goldens.py, given to a template by a line in front of it.
const TOOLS: &str = r#"{%- set tools = [{"type": "function", "function": {"name": "get_weather",
"description": "The weather of a \"city\" – now.", "parameters": {"type": "object", "properties": {
"city": {"type": "string", "description": "Its name"}, "days": {"type": "integer"}, "units": {"type": ["string", "boolean"]},
"hours": {"type": "array", "items": {"type": "number"}}}, "required": ["city"]}}}] -%}"#;

fn families() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/templates");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "jinja"));
    paths.sort();
    paths
}

fn shown(text: &str, messages: &[ChatMessage]) -> String {
    match template(text).and_then(|template| template.render(messages)) {
        Ok(text) => text,
        Err(EngineError::TemplateRefused { reason }) => format!("refused: {reason}"),
        Err(error) => format!("failed: {}", error.report()),
    }
}

#[test]
fn families_of_templates_render_as_in_python() {
    let paths = families();
    assert!(paths.len() >= 16, "{} families", paths.len());
    let mut wrong = String::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = std::fs::read_to_string(path.with_extension("txt")).unwrap();
        let mut got = String::new();
        for (name, messages) in conversations() {
            got.push_str(&format!("=== {name}\n{}\n", shown(&text, &messages)));
        }
        if expected.contains("=== user, with tools\n") {
            let with_tools = format!("{TOOLS}{text}");
            got.push_str(&format!("=== user, with tools\n{}\n", shown(&with_tools, &conversations()[0].1)));
        }
        if got != expected {
            wrong.push_str(&format!("##### {}\n{got}\n##### expected\n{expected}\n", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_refusal_is_told_from_a_mistake() {
    let user = said(&[("user", "hi")]);
    let of = |text: &str| template(text).unwrap().render(&user).expect_err("it fails");
    let nested = "{% macro m() %}{{ raise_exception('not ' + messages[0].role) }}{% endmacro %}{{ m() }}";
    for (text, reason) in
        [("{{ raise_exception('no') }}", "no"), (nested, "not user"), ("{{ raise_exception(7) }}", "7")]
    {
        let refused = of(text);
        assert!(refused.request_fault() && !refused.file_fault(), "{text}");
        assert_eq!(refused.to_string(), format!("the model's chat template refuses these messages: {reason}"));
    }
    for text in [
        "{{ messages[0].content.shout() }}",
        "{{ unknown() }}",
        "{{ nothing + '' }}",
        "{{ nothing.at_all.here }}",
        "{{ messages[0].content | int_of }}",
        "{{ strftime_now('%Q!') }}",
        "{{ none.strip() }}",
        "{% for a in range(10000) %}{% for b in range(10000) %}{{ a }}{% endfor %}{% endfor %}",
    ] {
        let Ok(parsed) = template(text) else { continue };
        let failed = parsed.render(&user).expect_err(text);
        assert!(failed.file_fault() && !failed.request_fault(), "{text}: {}", failed.report());
        assert_eq!(failed.code(), "TG-2045");
    }
}

#[test]
fn templates_are_found_in_the_files_in_which_they_are_published() {
    let of = |file: &str, text: &str| ChatTemplate::new(file, text.as_bytes(), specials(), summer);
    let user = said(&[("user", "hi")]);
    let one = of(
        "tokenizer_config.json",
        r#"{"bos_token": "<s>", "chat_template": "{{ bos_token }}{{ messages[0].content }}"}"#,
    );
    assert_eq!(one.unwrap().render(&user).unwrap(), "<s>hi");
    let named = r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
    assert_eq!(of("x/chat_template.json", named).unwrap().render(&user).unwrap(), "d");
    assert_eq!(of("chat_template.jinja", "\u{feff}bom").unwrap().render(&user).unwrap(), "bom");
    for (file, text) in [
        ("tokenizer_config.json", "{}"),
        ("tokenizer_config.json", "not json"),
        ("tokenizer_config.json", r#"{"chat_template": [{"name": "rag", "template": "x"}]}"#),
        ("chat_template.jinja", "{% for %}"),
    ] {
        assert_eq!(of(file, text).err().expect("refused").code(), "TG-2027", "{text}");
    }
}

/// Each of these would take gigabytes or minutes.
#[test]
fn what_python_offers_is_paid_for_with_fuel() {
    let user = said(&[("user", "hi")]);
    for text in [
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=['a']) %}{% for i in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        "{% set s = 'a' * 100000 %}{% for i in range(100000) %}{% set t = s.rsplit('b', 1) %}{% endfor %}",
        "{% set s = 'a' * 100000 %}{% for i in range(100000) %}{% set t = s.partition('b') %}{% endfor %}",
        "{% set ns = namespace(x=['a']) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson(indent=64) }}",
    ] {
        let begun = std::time::Instant::now();
        let error = template(text).unwrap().render(&user).expect_err(text);
        assert_eq!(error.code(), "TG-2045", "{text}");
        assert!(begun.elapsed().as_secs() < 30, "{text}: {:?}", begun.elapsed());
    }
}
