//! What is written as YAML is read back as the same value, here and by kubectl.
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_text::{values, write};

fn round(value: &Value) -> Value {
    let text = write(value);
    let mut read = values(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(read.len(), 1, "{text}");
    read.remove(0)
}

#[test]
fn every_text_that_a_reader_could_take_for_something_else_is_quoted() {
    for line in include_str!("../kubectl/scalars.tsv").lines() {
        let input: String = serde_json::from_str(line.split_once('\t').unwrap().0).unwrap();
        let value = json!({"v": input, input.clone(): 1, "list": [input]});
        assert_eq!(round(&value), value, "{input:?}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "\\PC{0,12}",
        "[0-9a-z_.:+~<>=nyNY -]{0,8}",
        "[ \\t\\n#:\\-|>'\"]{0,6}",
        Just("\u{85}\u{2028}\u{feff}x".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9f64).prop_filter("whole numbers are whole", |n| n.fract() != 0.0).prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..4).prop_map(|v| Value::Object(v.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_value_comes_back(value in any_value()) {
        let whole = json!({"v": value});
        prop_assert_eq!(round(&whole), whole);
    }

    #[test]
    fn no_text_makes_the_reader_fall(text in "\\PC{0,80}", lines in "[ \\-:\\[\\]{}&*!|>'\"#%@`,?a-c1\\n\\t]{0,60}") {
        let _ = values(&text);
        let _ = values(&lines);
    }
}
