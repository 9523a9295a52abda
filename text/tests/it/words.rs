//! Malformed input is said in plain words: no name of a library, of its options or of a Rust type reaches a person.
use tidegate_text::{Mistake, decode, typed, values};

const YAML: &[&str] = &[
    "a: 1\na: 2\n",
    "a: [1, 2\n",
    "a: {b: 1\n",
    "a: \"x\n",
    "a: 'x\n",
    "a: b: c\n",
    "a:\n\tb: 1\n",
    "- a\nb: 1\n",
    "a: 1\n b: 2\n",
    "a: *x\n",
    "a: &x [*x]\n",
    "a: &x {b: *x}\n",
    "a: @b\n",
    "a: `b`\n",
    "a: %b\n",
    "%YAML 9.9\n---\na: 1\n",
    "%TAG ! a\n%TAG ! b\n---\na: 1\n",
    "%\n---\na: 1\n",
    "a: !x y\n",
    "a: !!set {b: null}\n",
    "a: !!int x\n",
    "a: !!binary /w==\n",
    "a: !<x\n",
    "a: .inf\n",
    "a: .nan\n",
    "a: \"\\q\"\n",
    "a: \"\\ud800\"\n",
    "a: \"\\xZZ\"\n",
    "a: |9x\n  b\n",
    "a: |\n\tb\n",
    "? [a]\n: 1\n",
    "{a: 1}: 2\n",
    "~: 1\n",
    ": 1\n",
    "a: ]\n",
    "a: [1}\n",
    "a\nb: 1\n",
    "a: 'b' c\n",
    "a: \"b\" c\n",
    "a: -\n  - b\n c\n",
    "a: 1\n--- x: 1\n  y\n",
    "a: {b: 1, <<: {c: 2}}\n",
    "<<: 1\n",
    "a: \u{1}\n",
    "a: 1\n\u{feff}b: 2\n",
    "a: # x\n - [\n",
    "a: & b\n",
    "a: {x: -}\n",
];

const JSON: &[&str] = &[
    "{\"a\": 1,}",
    "{\"a\" 1}",
    "{\"a\": 1 \"b\": 2}",
    "[1 2]",
    "[1,",
    "{\"a\":",
    "{\"a\": \"x",
    "{\"a\": 01}",
    "{\"a\": 1e999}",
    "{\"a\": \"\\q\"}",
    "{\"a\": \"\\ud83d\"}",
    "{\"a\": \"\\u12\"}",
    "{\"a\": tru}",
    "{\"a\": 1} x",
    "{1: 2, [",
    "{\"a\": \"line\nbreak\", [",
    "{\"a\": -}",
];

/// Words of the machine room.
const FORBIDDEN: &[&str] = &[
    "EOF",
    "eof",
    "Option",
    "String",
    "struct",
    "i64",
    "u64",
    "u32",
    "f64",
    "usize",
    "enum",
    "variant",
    "serde",
    "saphyr",
    "granit",
    "ident",
    "Policy",
    "budget",
    "breach",
    "recursion",
    "weak",
    "deserialize",
    "Deserialize",
    "token",
    "scalar",
    "unwrap",
    "panic",
    "Err(",
    "Some(",
    "None",
    "()",
    "::",
    "scanning",
    "parsing",
    "node",
    "flow",
    "block",
    "sequence",
    "unit",
    "expected <",
];

fn check(text: &str, mistake: &Mistake) {
    let shown = mistake.to_string();
    for word in FORBIDDEN {
        assert!(!shown.contains(word), "{text:?} is answered {shown:?}, which speaks of {word:?}");
    }
    assert!(shown.len() < 300 && !shown.contains('\n'), "{text:?}: {shown:?}");
}

#[test]
fn a_mistake_of_syntax_is_said_in_plain_words_with_its_place() {
    for text in YAML {
        let mistake = values(text).expect_err(text);
        check(text, &mistake);
        assert!(mistake.at.is_some(), "{text:?}: {mistake}");
    }
    for text in JSON {
        let mistake = typed::<serde_json::Value>(text.as_bytes()).expect_err(text);
        check(text, &mistake);
        assert!(mistake.at.is_some(), "{text:?}: {mistake}");
        // What is no JSON may be YAML that looks like it; if not, that is said as plainly.
        if let Err(mistake) = values(text) {
            check(text, &mistake);
        }
    }
    assert!(YAML.len() + JSON.len() >= 60, "{}", YAML.len() + JSON.len());
}

#[test]
fn bombs_and_towers_are_refused_in_plain_words() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..10 {
        let list = vec![format!("*a{}", i - 1); 10].join(", ");
        bomb.push_str(&format!("a{i}: &a{i} [{list}]\n"));
    }
    let tower = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    let blocks: String = (0..70).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    for text in [bomb, tower("[", "]", 65), tower("{\"a\":", "}", 100_000), tower("{a: ", "}", 70), blocks] {
        let mistake = values(&text).unwrap_err();
        check(&text[..20], &mistake);
        assert!(mistake.message.contains("deeper than 64") || mistake.message.contains("too many values"), "{mistake}");
    }
    let flat = format!("[{}1]", "1,".repeat(600_000));
    check("flat", &values(&flat).unwrap_err());
}

#[test]
fn a_body_of_another_shape_is_said_in_plain_words() {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[allow(dead_code, reason = "only its shape matters")]
    struct Body {
        revision: i64,
        #[serde(default)]
        dry_run: bool,
        #[serde(default)]
        names: Vec<String>,
    }
    for (text, words) in [
        ("{}", "the field `revision` is missing"),
        ("{\"revision\": \"1\"}", "line 1, column 16: expected a whole number, found \"1\""),
        ("{\"revision\": 1.5}", "expected a whole number, found the number 1.5"),
        ("{\"revision\": null}", "expected a whole number, found nothing"),
        ("{\"revision\": 1, \"dryRun\": 1}", "expected true or false, found the number 1"),
        ("{\"revision\": 1, \"x\": 1}", "there is no field `x`; known: revision, dryRun, names"),
        ("{\"revision\": 1, \"revision\": 2}", "the field `revision` stands twice"),
        ("{\"revision\": 1, \"names\": {}}", "expected a list, found an object"),
        ("{\"revision\": 1, \"names\": [true]}", "expected a text in quotes, found true"),
        ("[]", "expected an object, found a list"),
        ("{\"revision\": 1", "the object that began with `{` has no `}`"),
        ("", "the text ends where a value is expected"),
    ] {
        let mistake = typed::<Body>(text.as_bytes()).err().unwrap();
        check(text, &mistake);
        assert!(mistake.to_string().contains(words), "{text:?}: {mistake}");
    }
}

#[test]
fn encodings_are_named() {
    let utf16: Vec<u8> = "\u{feff}a: 1".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cyrillic: Vec<u8> = "имя: модель, и ещё текст".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [utf16, cyrillic] {
        let mistake = decode(&bytes).unwrap_err();
        check("utf-16", &mistake);
        assert!(mistake.message.contains("UTF-16 (little-endian)"), "{mistake}");
    }
    assert_eq!(decode("\u{feff}a: ü".as_bytes()).unwrap(), "a: ü");
    assert!(decode(b"a\0b").unwrap_err().message.contains("NUL"));
}

/// A long text behind an alias costs what it is long.
#[test]
fn aliases_of_a_long_text_are_refused_before_they_fill_the_memory() {
    let few = format!("- &a \"{}\"\n{}", "x".repeat(10_000), "- *a\n".repeat(10));
    assert_eq!(tidegate_text::values(&few).unwrap()[0].as_array().unwrap().len(), 11);
    let bomb = format!("- &a \"{}\"\n{}", "x".repeat(1_000_000), "- *a\n".repeat(200_000));
    assert!(tidegate_text::values(&bomb).is_err());
}
