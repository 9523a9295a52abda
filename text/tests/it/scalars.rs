//! Every scalar of the table `kubectl/scalars.tsv`, which kubectl's own reader wrote, means the same here or is refused here, with
//! the reason beside it.
use serde_json::Value;
use tidegate_text::values;

/// What kubectl reads and we refuse.
const REFUSED: &[(&str, &str)] = &[
    ("!foo bar", "a tag of one's own means nothing; kubectl drops it silently"),
    ("!!set {a: null}", "no document has a set; kubectl drops the tag silently"),
    ("!!omap [a: 1]", "no document has an ordered map; kubectl drops the tag silently"),
    ("{a: 2, <<: {a: 1}}", "YAML says 2, kubectl says 1"),
    ("{a: 1, a: 2}", "kubectl drops the first silently; its server refuses"),
    ("{1: a, \"1\": b}", "kubectl keeps either one, by chance"),
];

fn table() -> Vec<(String, Option<Value>)> {
    let lines = include_str!("../kubectl/scalars.tsv").lines();
    lines
        .map(|line| {
            let (input, answer) = line.split_once('\t').unwrap();
            let answer = (answer != "error").then(|| serde_json::from_str(answer).unwrap());
            (serde_json::from_str::<String>(input).unwrap(), answer)
        })
        .collect()
}

/// The same value; numbers by their amount, as JSON has only one kind of them.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || (a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64())),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn scalars_mean_what_they_mean_to_kubectl() {
    let mut wrong = Vec::new();
    let table = table();
    assert!(table.len() >= 280, "{}", table.len());
    for (input, theirs) in &table {
        let ours = values(&format!("v: {input}\n")).map(|mut all| all.pop().unwrap_or_default()["v"].take());
        let refused = REFUSED.iter().any(|(text, _)| text == input);
        let fits = match (&ours, theirs) {
            (Err(_), None) => true,
            (Err(_), Some(_)) => refused,
            (Ok(ours), Some(theirs)) => !refused && same(ours, theirs),
            (Ok(_), None) => false,
        };
        if !fits {
            wrong.push(format!("{input:?}: kubectl {theirs:?}, here {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(REFUSED.iter().all(|(text, _)| table.iter().any(|(input, _)| input == text)));
}

#[test]
fn the_scalars_that_bite_are_what_kubectl_makes_of_them() {
    let read = |text: &str| values(&format!("name: {text}")).unwrap()[0]["name"].take();
    for (text, value) in [
        ("n", Value::from(false)),
        ("no", false.into()),
        ("y", true.into()),
        ("012", 10.into()),
        ("08", 8.into()),
        ("1_000", 1000.into()),
        ("12.0", 12.into()),
        ("1e3", 1000.into()),
        ("1:20", "1:20".into()),
        ("2026-01-02", "2026-01-02".into()),
        ("~", Value::Null),
        ("v1.2", "v1.2".into()),
    ] {
        assert_eq!(read(text), value, "{text}");
        assert_eq!(read(&format!("\"{text}\"")), Value::from(text), "quotes make it text");
    }
}

#[test]
fn json_numbers_mean_the_same_as_yaml_numbers() {
    for (text, value) in [("12.0", Value::from(12)), ("1e3", 1000.into()), ("-0", 0.into()), ("0.5", 0.5.into())] {
        let read = |text: String| values(&text).unwrap()[0]["v"].take();
        assert_eq!(read(format!("{{\"v\": {text}}}")), value, "{text}");
        assert_eq!(read(format!("v: {text}")), value, "{text}");
    }
}

#[test]
fn json_documents_may_follow_one_another() {
    let read = |text: &str| values(text).map(|all| all.len());
    assert_eq!(read("{\"a\": 1}\n{\"a\": 2}"), Ok(2));
    assert_eq!(read("[{\"a\": 1}] {\"b\": 2} {}"), Ok(3));
    assert!(read("{\"a\": 1} x").is_err());
}
