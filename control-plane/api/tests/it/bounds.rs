//! The schemas and the validation say the same: every field of every kind is tried with values around all bounds, and what is
//! valid by the document of the API is what is accepted, apart from what compares fields of a document with each other.
use serde_json::{Value, json};
use tidegate_policy::{kinds::examples, reject::Code, validate};

use super::schema;

/// Values around every bound that a field has.
#[allow(clippy::too_many_lines, reason = "a table")]
fn candidates() -> Vec<Value> {
    let numbers = [
        -1,
        0,
        1,
        2,
        16,
        17,
        64,
        65,
        100,
        101,
        9_999,
        10_000,
        10_001,
        1_000_000,
        1_000_001,
        1_000_000_000,
        1_000_000_001,
    ];
    let numbers = numbers.into_iter().chain([1 << 44, (1 << 44) + 1, i64::MAX]).map(Value::from);
    let spans = [
        "0ms",
        "1ms",
        "49ms",
        "50ms",
        "999ms",
        "1000ms",
        "1001ms",
        "86400000ms",
        "86400001ms",
        "0s",
        "1s",
        "01s",
        "2s",
        "3600s",
        "3601s",
        "86400s",
        "86401s",
        "60m",
        "61m",
        "1440m",
        "1441m",
        "1h",
        "24h",
        "25h",
        "1h30m",
        "1.5s",
        "s",
        "1 s",
        "1S",
    ];
    let names = [
        "",
        "a",
        "A",
        "v1",
        "v1.0",
        "a-b",
        "-a",
        "a-",
        "a_b",
        ".",
        "..",
        "a..b",
        "a b",
        "é",
        "a\n",
        "a\u{0}",
        "a\tb",
        " a",
        "a ",
        "a/b",
        "/a",
        "a//b",
        "./a",
        "a/.",
        "a/../b",
        "..a",
        "...",
        ".a",
        "a\\b",
        "a%b",
        "x-tidegate-a",
        "X-Envoy-a",
        "Host",
        "authorization",
        "@:/",
        "*",
    ];
    let words = [
        "Model",
        "WorkerPool",
        "Chat",
        "Embedding",
        "Candidate",
        "Stable",
        "Local",
        "Global",
        "Shadow",
        "Present",
        "Regex",
        "Semver",
        "Prefix",
        "file:a",
        "file:a/b",
        "file:/a",
        "file://a",
        "file:///a",
        "file:",
        "file:a%b",
        "file:a#",
        "http://a",
        "^1.2",
        "1.x",
        "1.x.2",
        "=v2.1.0",
        "^1.2.3.4",
        "1000000",
        "x.x.x",
        "x.1",
        "true",
        "null",
    ];
    let long = [63, 64, 128, 129, 255, 256, 1024, 1025].map(|n| "a".repeat(n));
    let long = long.into_iter().chain([
        "a".repeat(63) + "." + &"b".repeat(63),
        "F".repeat(64),
        format!("file:///{}", "a".repeat(256)),
    ]);
    let texts = spans.into_iter().chain(names).chain(words).map(Value::from).chain(long.map(Value::from));
    let others = [
        json!(null),
        json!(true),
        json!(false),
        json!(1.5),
        json!([]),
        json!({}),
        json!([1]),
        json!(["v1", "v1"]),
        json!({"a": "b"}),
    ];
    numbers.chain(texts).chain(others).collect()
}

/// Every place in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(name, v)| places(v, &format!("{at}/{}", name.replace('/', "~1")), found))
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(i, v)| places(v, &format!("{at}/{i}"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found.push(at.to_owned());
}

/// Documents that between them have every field that there is.
fn documents() -> Vec<Value> {
    let mut all: Vec<Value> = examples::documents().into_iter().map(|(_, document)| document).collect();
    for document in &mut all {
        document["metadata"]["labels"] = json!({"team": "a"});
        document["metadata"]["annotations"] = json!({"example.org/why": "for a test"});
        document["metadata"]["resourceVersion"] = json!("7");
        let kind = document["kind"].as_str().unwrap().to_owned();
        let spec = &mut document["spec"];
        let matches = json!([
            {"type": "Header", "header": {"name": "x-a", "type": "Exact", "value": "a"}},
            {"type": "Header", "header": {"name": "x-b", "type": "Prefix", "value": "a"}},
            {"type": "Header", "header": {"name": "x-c", "type": "Semver", "value": "^1.2"}},
            {"type": "Header", "header": {"name": "x-d", "type": "Present"}},
            {"type": "Tag", "tag": {"name": "region", "type": "Exact", "value": "eu"}},
            {"type": "Tenant", "tenant": {"name": "acme"}},
            {"type": "Bucket", "bucket": {"header": "x-user-id", "salt": "s", "from": 0, "to": 10_000}},
        ]);
        match kind.as_str() {
            "Model" => {
                spec["adapters"] = json!([]);
                spec["versions"][0]["signature"] = Value::Null;
                spec["versions"][0]["quantization"] = json!("Int8");
            }
            "WorkerPool" => {
                spec["devices"] = Value::Null;
                spec["labels"] = json!({});
                spec["batching"] = json!({"maxBatch": 4, "maxDelay": "5ms", "buckets": []});
                spec["queue"] = json!({"maxRequests": 10, "maxTokens": null, "timeout": null});
                spec["timeouts"] = json!({"inference": "20s", "drain": "1m"});
            }
            "ReleasePolicy" => {
                spec["rules"][0]["match"] = matches;
                spec["steps"] = json!([{"weight": 10, "hold": null}]);
                spec["assignment"]["salt"] = json!("s");
                spec["gates"] = Value::Null;
                spec["onFail"] = Value::Null;
            }
            "RateLimitPolicy" => {
                spec["scope"] = json!("Local");
                spec["mode"] = json!("Enforce");
                spec["hybrid"] = Value::Null;
                spec["failureMode"] = Value::Null;
                let limit = &mut spec["limits"][0];
                limit["match"] = matches;
                limit["counters"] = json!([{"type": "Tenant"}, {"type": "Header", "header": {"name": "x-a"}}]);
                limit["requests"]["strict"] = json!(false);
                limit["bandwidth"] = Value::Null;
                limit["tokens"] = Value::Null;
            }
            other => panic!("{other}"),
        }
    }
    all
}

/// What no schema can say: comparisons between fields, and patterns that must be read to be judged.
const BEYOND: [Code; 5] = [Code::Duplicate, Code::Contradiction, Code::Pattern, Code::PatternSize, Code::Semver];

#[test]
fn what_is_valid_by_the_schema_is_accepted_and_nothing_else() {
    let schema = json!({"$ref": "#/components/schemas/Document"});
    let (candidates, mut tried, mut differ) = (candidates(), 0, Vec::new());
    for whole in documents() {
        assert_eq!(schema::mistakes(&schema, &whole), Vec::<String>::new());
        assert!(validate::parse(whole.to_string().as_bytes()).is_ok(), "{whole}");
        let mut all = Vec::new();
        places(&whole, "", &mut all);
        for place in all.iter().filter(|p| !p.is_empty()) {
            for candidate in &candidates {
                let mut document = whole.clone();
                *document.pointer_mut(place).unwrap() = candidate.clone();
                let valid = schema::mistakes(&schema, &document).is_empty();
                let refused = validate::parse(document.to_string().as_bytes()).err();
                let beyond = refused.as_ref().is_some_and(|r| r.0.iter().all(|r| BEYOND.contains(&r.code)));
                tried += 1;
                if valid == refused.is_some() && !(valid && beyond) {
                    let said = refused.map_or("accepted".to_owned(), |r| format!("{r:?}"));
                    differ.push(format!("{} {place} = {candidate}: by the schema {valid}, but {said}", whole["kind"]));
                }
            }
        }
    }
    assert!(tried > 20_000, "only {tried} were tried");
    assert!(differ.is_empty(), "{} of {tried}: {:#?}", differ.len(), &differ[..differ.len().min(40)]);
}

#[test]
fn the_examples_of_the_document_are_valid_and_are_accepted_together() {
    let all: Vec<Value> = examples::documents().into_iter().map(|(_, document)| document).collect();
    assert_eq!(schema::mistakes(&json!({"$ref": "#/components/schemas/Documents"}), &json!(all)), Vec::<String>::new());
    assert_eq!(validate::parse(json!(all).to_string().as_bytes()).unwrap().len(), all.len());
}
