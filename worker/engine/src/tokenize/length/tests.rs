//! The bound never says more than the tokenizer does, whatever the tokenizer is; and where it can, it says enough.
use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use super::Bound;
use crate::{
    engine::TextCodec,
    error::ModelLabel,
    special_tokens::SpecialTokens,
    tokenize::{CodecFiles, HfCodec, ModelVocabulary, NamedFile},
};

/// BPE by bytes.
fn chat() -> Value {
    let path = format!("{}/../../examples/models/tide-chat/v1/tokenizer.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A vocabulary of characters, with all bytes to fall back on.
fn with_fallback() -> Value {
    let bytes = (0..=255).map(|b| format!("<0x{b:02X}>"));
    let all: Vec<String> =
        ["<unk>", "▁", "a", "b", "c", "ab", "▁a"].map(str::to_owned).into_iter().chain(bytes).collect();
    let vocab: BTreeMap<&str, usize> = all.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let merges = json!([["a", "b"], ["▁", "a"]]);
    let model = json!({
        "type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": merges,
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false},
        "post_processor": null, "decoder": null, "model": model,
    })
}

/// As BERT does it: cut at white space and punctuation, a word that is not known is one token however long it is.
fn words() -> Value {
    let vocab = ["[UNK]", "[MASK]", "a", "b", "##a", "##b", "ab", "c"];
    let vocab: BTreeMap<&str, usize> = vocab.into_iter().enumerate().map(|(id, token)| (token, id)).collect();
    let mask = json!({"id": 1, "content": "[MASK]", "single_word": false, "lstrip": true, "rstrip": false, "normalized": false, "special": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [mask], "post_processor": null, "decoder": null,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab,
        },
    })
}

fn changed(mut tokenizer: Value, at: &str, to: Value) -> Value {
    *tokenizer.pointer_mut(at).unwrap() = to;
    tokenizer
}

fn codec(tokenizer: &Value) -> HfCodec {
    let label = ModelLabel { model_id: "m".into(), version: "v".into() };
    let json = tokenizer.to_string();
    let files = CodecFiles {
        tokenizer: NamedFile { path: "tokenizer.json", bytes: json.as_bytes() },
        template: None,
        specials: SpecialTokens::default(),
        vocabulary: ModelVocabulary { size: 1 << 21, answers: None },
    };
    HfCodec::new(files, label).unwrap()
}

fn normalized(kind: Value) -> Value {
    changed(chat(), "/normalizer", kind)
}

fn stripping() -> Value {
    let mut tokenizer = chat();
    let tokens = tokenizer["added_tokens"].as_array_mut().unwrap();
    for token in tokens {
        (token["lstrip"], token["rstrip"]) = (true.into(), true.into());
    }
    tokenizer
}

/// (name, tokenizer, whether a mebibyte of spaces is seen to be too long for 256 tokens)
fn tokenizers() -> Vec<(&'static str, Value, bool)> {
    let kind = |name: &str| normalized(json!({ "type": name }));
    let replace = |from: Value, to: &str| normalized(json!({"type": "Replace", "pattern": from, "content": to}));
    let two = json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]});
    vec![
        ("chat", chat(), true),
        ("NFC", kind("NFC"), true),
        ("NFD", kind("NFD"), true),
        ("NFKC", kind("NFKC"), true),
        ("NFKD", kind("NFKD"), true),
        ("Lowercase", kind("Lowercase"), true),
        ("two", normalized(two), true),
        ("growing", replace(json!({"String": " "}), "▁"), true),
        ("shrinking", replace(json!({"String": "  "}), " "), false),
        ("dropping", replace(json!({"Regex": " +"}), ""), false),
        ("Strip", normalized(json!({"type": "Strip", "strip_left": true, "strip_right": true})), false),
        ("StripAccents", kind("StripAccents"), false),
        ("stripping", stripping(), true),
        ("fallback", with_fallback(), true),
        ("fused", changed(with_fallback(), "/model/byte_fallback", false.into()), false),
        ("cut away", changed(chat(), "/pre_tokenizer", json!({"type": "WhitespaceSplit"})), false),
        ("words", words(), false),
    ]
}

#[test]
fn the_bound_never_says_more_than_the_tokenizer_does() {
    let piece = prop_oneof![
        "[ -~]{0,40}",
        " {0,300}",
        "[a-c ]{0,200}",
        "\\PC{0,40}",
        "[\u{c0}-\u{17f}\u{300}-\u{36f}]{0,60}",
        "[\u{1d400}-\u{1d7ff}\u{212a}\u{212b}\u{390}\u{ac00}-\u{ac20}\u{1100}-\u{11ff}\u{fb2c}\u{ff21}]{0,60}",
        "(<\\|im_end\\|>| ){0,40}",
        "[\\x00-\\x20\u{a0}\u{2003}\u{200b}\u{ad}]{0,60}",
        "[漢字かな]{0,60}",
    ];
    let text = proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    for (name, tokenizer, _) in tokenizers() {
        let (codec, bound) = (codec(&tokenizer), Bound::of(&tokenizer.to_string()));
        let mut runner =
            TestRunner::new(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() });
        let held = runner.run(&text, |text| {
            if let Ok(tokens) = codec.encode(&text) {
                prop_assert!(bound.least(&text) <= tokens.len(), "{name}: {} > {}", bound.least(&text), tokens.len());
            }
            Ok(())
        });
        held.unwrap();
    }
}

#[test]
fn a_mebibyte_is_seen_to_be_too_long_without_tokenising_it() {
    let mebibyte = 1 << 20;
    for (name, tokenizer, spaces_are) in tokenizers() {
        let codec = codec(&tokenizer);
        let refused = |text: &str| codec.encode_within(text, 256).err().and_then(|error| error.too_long());
        if spaces_are {
            let least = refused(&" ".repeat(mebibyte)).unwrap_or_else(|| panic!("{name}: not seen"));
            assert!((257..=mebibyte).contains(&least), "{name}: {least}");
        } else {
            assert_eq!(Bound::of(&tokenizer.to_string()).least(&" ".repeat(mebibyte)), 0, "{name}");
        }
    }
    let words = codec(&words());
    assert_eq!(words.encode_within(&"a ".repeat(mebibyte / 2), 256).unwrap_err().too_long(), Some(mebibyte / 2));
    assert!(words.encode_within("a b", 4).is_ok() && words.encode_within("", 0).is_ok());
}
