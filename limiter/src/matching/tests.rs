//! Tests of conditions, patterns and hashes.
use proptest::prelude::*;
use regex_syntax::hir::{Class, ClassUnicode, HirKind};
use xxhash_rust::xxh64::xxh64;

use super::*;

fn matches(source: &str, value: &[u8]) -> bool {
    Pattern::parse(source).unwrap().compiled.is_match(value)
}

fn refused(source: &str) -> String {
    Pattern::parse(source).unwrap_err().to_string()
}

fn view<'a>(headers: &'a [(String, Vec<u8>)]) -> RequestView<'a> {
    RequestView { headers, tenant: None }
}

fn header(name: &str, value: &[u8]) -> (String, Vec<u8>) {
    (name.to_owned(), value.to_vec())
}

#[test]
fn a_pattern_matches_the_whole_value() {
    assert!(matches("v2.*", b"v2.1"));
    assert!(matches("v2.*", b"v20"));
    assert!(!matches("v2", b"v2.1"));
    assert!(!matches("a|b", b"ab"));
    assert!(matches("^a$", b"a"));
    assert!(!matches("a", b"a\n"));
}

#[test]
fn every_printable_character_is_read_as_itself() {
    for c in ' '..='~' {
        let escaped = if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\x{:02X}", u32::from(c)) };
        let pattern = Pattern::parse(&escaped).unwrap();
        for other in ' '..='~' {
            assert_eq!(pattern.compiled.is_match(other.to_string().as_bytes()), c == other, "{c} on {other}");
        }
    }
}

#[test]
fn a_dot_takes_one_byte_as_envoy_reads_it() {
    assert!(matches(".", b"\xFF"));
    assert!(!matches(".", "é".as_bytes()), "two bytes");
    assert!(matches("..", "é".as_bytes()));
    assert!(matches(".*", b"ab\x80"));
    assert!(!matches(".", b"\n"));
    assert!(matches("[^a]", b"\xFF"));
    assert!(!matches("[^a]", "é".as_bytes()));
    assert!(matches(r"\W", b"\xFF"));
}

#[test]
fn classes_are_ascii() {
    assert!(!matches(r"\d", "٣".as_bytes()));
    assert!(!matches(r"\w", "é".as_bytes()));
    assert!(matches(r"\w+", b"aZ_9"));
}

#[test]
fn what_the_two_engines_read_differently_is_refused() {
    for source in [
        r"(?i)a",
        r"(?i:a)",
        r"(?s).",
        r"\pL",
        r"\p{Greek}",
        r"\bfoo\b",
        "é",
        r"\x{e9}",
        r"[\x80-\xff]",
        "[a&&b]",
        "[a[b]]",
        r"[a-z--b]",
        "a{1001}",
    ] {
        assert!(refused(source).contains("not part of the pattern language"), "{source}: {}", refused(source));
    }
    for source in ["(", "a{,5}", "[", "*", "a{2", r"(a)\1", "(?=a)", "(?<!a)b"] {
        assert!(refused(source).contains("not a regular expression"), "{source}: {}", refused(source));
    }
}

#[test]
fn a_pattern_that_envoy_would_refuse_for_its_size_is_refused() {
    assert!(Pattern::parse("a{1000}").unwrap_err().is_size());
    assert!(Pattern::parse(&"a".repeat(2000)).unwrap_err().is_size());
    assert!(Pattern::parse("(((a{10}){10}){10})").unwrap_err().is_size());
}

#[test]
fn nesting_is_bounded() {
    assert!(Pattern::parse(&format!("{}a{}", "(".repeat(400), ")".repeat(400))).is_err());
}

#[test]
fn what_may_be_written_may_be_printed() {
    let deep = |open: &str, close: &str| format!("{}a{}", open.repeat(28), close.repeat(28));
    let wide = (0..90).map(|n| format!("\\x{:02X}", 0x20 + n)).collect::<String>();
    let words = [r"\W", r"\S", r"[^\n]", r"[ -/]"].map(|c| format!("(?:{c}?)?")).concat();
    for source in [
        deep("(", ")"),
        deep("(?:", ")"),
        wide,
        words.repeat(3),
        (0..14).fold("a".to_owned(), |p, _| format!("({p})?")),
        " ".repeat(90),
        "(((a|b)*|c)?|d)+".to_owned(),
    ] {
        let parsed = Pattern::parse(&source).unwrap_or_else(|e| panic!("{source}: {e}"));
        full_match(&parsed.re2).unwrap_or_else(|e| panic!("{source} printed as {}: {e}", parsed.re2));
    }
    assert_eq!(Pattern::parse(&deep("(", ")")).unwrap().re2, "a");
    assert_eq!(Pattern::parse("((a|b))*").unwrap().re2, Pattern::parse("[ab]*").unwrap().re2);
    assert!(full_match(&"(".repeat(20_000)).unwrap_err().is_size());
}

#[test]
fn repeated_headers_are_joined_with_a_comma() {
    let headers = [header("a", b"1"), header("b", b"x"), header("a", b""), header("a", b"\xff")];
    assert_eq!(view(&headers).header("a").unwrap(), b"1,,\xff");
    assert_eq!(view(&headers).header("c"), None);
}

#[test]
fn an_empty_header_is_present_and_an_absent_one_is_not() {
    let headers = [header("a", b"")];
    let present = Condition::Header { name: "a".to_owned(), test: ValueTest::Present };
    let absent = Condition::Header { name: "b".to_owned(), test: ValueTest::Present };
    assert!(present.holds(&view(&headers)));
    assert!(!absent.holds(&view(&headers)));
}

#[test]
fn the_split_hashes_salt_colon_key() {
    let expected = u32::try_from(xxh64(b"salt1:user-7", 0) % 10_000).unwrap();
    assert_eq!(split_bucket("salt1", b"user-7"), expected);
    assert_eq!(split_bucket("s", b""), u32::try_from(xxh64(b"s:", 0) % 10_000).unwrap());
}

#[test]
fn a_bucket_condition_is_over_a_half_open_interval() {
    let value = b"user-1";
    let at = bucket(value, 7);
    let headers = [header("u", value)];
    let condition = |from, to| Condition::Bucket { header: "u".to_owned(), seed: 7, from, to };
    assert!(condition(at, at + 1).holds(&view(&headers)));
    assert!(!condition(0, at).holds(&view(&headers)));
    assert!(!condition(at + 1, 10_000).holds(&view(&headers)));
    assert!(!condition(0, 10_000).holds(&view(&[])));
}

#[test]
fn a_class_that_is_not_ascii_is_never_printed() {
    let hir = regex_syntax::parse("[é-ü]").unwrap();
    let HirKind::Class(Class::Unicode(class)) = hir.kind() else { panic!("a class") };
    assert!(class.ranges().len() == 1 && *class != ClassUnicode::empty());
    assert!(Pattern::parse("[é-ü]").is_err());
}

/// Patterns of the subset, from the grammar.
fn pattern() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-c]".prop_map(|s| s),
        Just(".".to_owned()),
        Just("[^a]".to_owned()),
        Just("[a-c]".to_owned()),
        Just(r"\d".to_owned()),
        Just(r"\W".to_owned()),
        Just(r"\.".to_owned()),
        Just(r"[^\n]".to_owned()),
        Just(r"(?:.|\n)".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(|v| v.concat()),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|v| format!("(?:{})", v.join("|"))),
            inner.clone().prop_map(|p| format!("(?:{p})*")),
            inner.clone().prop_map(|p| format!("(?:{p})?")),
            inner.prop_map(|p| format!("(?:{p}){{1,2}}")),
        ]
    })
}

/// Patterns with groups that catch, nested up to what the parser allows and beyond.
fn nested() -> impl Strategy<Value = String> {
    let leaf = || prop::sample::select(&["a", " ", "[ab]", r"\W", r"\S", r"(?:.|\n)", "", "a|b", "ab"][..]);
    let wrap = |inside: String, (how, other): (u8, &str)| match how {
        0 => format!("({inside})"),
        1 => format!("({inside})*"),
        2 => format!("({inside}|{other})"),
        3 => format!("({inside})({other})"),
        4 => format!("({inside}){{0,1}}"),
        _ => format!("({inside})?"),
    };
    (leaf(), prop::collection::vec((0u8..9, leaf()), 0..20))
        .prop_map(move |(leaf, wraps)| wraps.into_iter().fold(leaf.to_owned(), wrap))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The text that Envoy gets is of the subset itself, and means the same.
    #[test]
    fn the_printed_pattern_parses_to_the_same_pattern(source in pattern(), values in prop::collection::vec("[a-d.é0]{0,4}", 0..6)) {
        if let Ok(first) = Pattern::parse(&source) {
            let second = Pattern::parse(&first.re2).unwrap();
            for value in values {
                prop_assert_eq!(first.compiled.is_match(value.as_bytes()), second.compiled.is_match(value.as_bytes()));
            }
        }
    }

    /// On any bytes the pattern means what the regex crate says of the user's own text.
    #[test]
    fn on_bytes_the_pattern_means_what_it_says(source in pattern(), value in prop::collection::vec(prop::sample::select(b"abcd.0\n\x80\xC3\xA9\xFF".as_slice()), 0..5)) {
        if let Ok(parsed) = Pattern::parse(&source) {
            let own = regex::bytes::RegexBuilder::new(&format!(r"\A(?:{source})\z")).unicode(false).build().unwrap();
            prop_assert_eq!(parsed.compiled.is_match(&value), own.is_match(&value), "{} on {:?}", source, value);
        }
    }

    /// Whatever the control plane takes, however deep its groups are, the workers take as it is printed.
    #[test]
    fn a_printed_pattern_is_never_refused(source in nested(), value in "[abc ]{0,6}") {
        if let Ok(parsed) = Pattern::parse(&source) {
            let again = full_match(&parsed.re2);
            prop_assert!(again.is_ok(), "{} printed as {}: {:?}", source, parsed.re2, again);
            prop_assert_eq!(parsed.compiled.is_match(value.as_bytes()), again.unwrap().is_match(value.as_bytes()), "{}", source);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(source in "\\PC{0,40}") {
        let _ = Pattern::parse(&source);
    }
}
