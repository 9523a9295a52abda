//! What is written is read again: lists are opened, the order of fields is the schema's, and it means nothing.
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_policy::{
    documents::open_lists,
    kinds::in_schema_order,
    ports::ObjectKey,
    validate::{self, Spec, ValidObject},
};

use crate::properties::policy;

fn examples() -> Vec<ValidObject> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let yaml = files.filter(|p| p.extension().is_some_and(|e| e == "yaml"));
    yaml.flat_map(|p| validate::parse(&std::fs::read(p).unwrap()).unwrap()).collect()
}

fn reversed(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.iter().rev().map(|(k, v)| (k.clone(), reversed(v))).collect()),
        Value::Array(items) => Value::Array(items.iter().map(reversed).collect()),
        other => other.clone(),
    }
}

/// However a store gives the fields back, they are shown as the types declare them.
fn check_order(spec: &Spec) -> Result<(), TestCaseError> {
    let declared = spec.to_value();
    let shown = in_schema_order(spec.kind().spec_schema(), &reversed(&declared));
    prop_assert_eq!(tidegate_text::write(&shown), tidegate_text::write(&declared));
    Ok(())
}

#[test]
fn the_examples_are_shown_in_the_order_of_their_types() {
    let all = examples();
    assert!(all.len() >= 4);
    for object in all {
        check_order(object.spec()).unwrap_or_else(|e| panic!("{}: {e}", object.key()));
    }
}

fn document(object: &ValidObject) -> Value {
    let ObjectKey { kind, object: name } = object.key();
    json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": kind.name(), "metadata": {"name": name.name, "namespace": name.namespace},
           "spec": object.spec().to_value()})
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_order_of_keys_means_nothing(text in policy("a")) {
        for object in validate::parse(text.as_bytes()).unwrap() {
            check_order(object.spec())?;
            let again = validate::parse(reversed(&document(&object)).to_string().as_bytes()).unwrap();
            prop_assert_eq!(again[0].spec(), object.spec());
            let write = tidegate_policy::diff::unified(object.key(), Some(&object.spec().to_value()), Some(&again[0].spec().to_value()));
            prop_assert_eq!(write, "");
        }
    }
}

#[test]
fn every_shape_of_list_is_opened() {
    let doc = |name: &str| json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Model", "metadata": {"name": name, "resourceVersion": "4"}});
    let bare = json!({"metadata": {"name": "c"}});
    let of = |kind: &str, version: &str, items: Vec<Value>| json!({"apiVersion": version, "kind": kind, "metadata": {"continue": "x"}, "items": items});
    let values = vec![
        doc("a"),
        json!([doc("b")]),
        of("ModelList", "tidegate.dev/v1alpha1", vec![bare]),
        of("List", "v1", vec![doc("d"), of("ModelList", "tidegate.dev/v1alpha1", vec![doc("e")])]),
        of("List", "v1", Vec::new()),
    ];
    let opened = open_lists(values).unwrap();
    let names: Vec<&str> = opened.documents.iter().map(|d| d["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    assert_eq!(opened.documents[2]["kind"], "Model");
    let conditional: Vec<bool> =
        opened.documents.iter().map(|d| d["metadata"].get("resourceVersion").is_some()).collect();
    assert_eq!(conditional, [true, true, false, false, false], "a list is a picture, a document is an edit");
    for (wrong, path) in [
        (json!({"kind": "List"}), "$.items"),
        (json!({"kind": "List", "items": {}}), "$.items"),
        (json!({"kind": "ModelList", "items": [], "itmes": []}), "$.itmes"),
    ] {
        assert_eq!(open_lists(vec![wrong]).unwrap_err().path, path);
    }
    assert_eq!(
        open_lists(vec![json!({"kind": "PodList", "items": []})]).unwrap().documents.len(),
        1,
        "not ours: refused as a kind"
    );
}

#[test]
fn one_duration_in_two_spellings_is_one_spec() {
    let pool = |delay: &str, drain: &str| {
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: WorkerPool\nmetadata: {{name: p}}\nspec: {{modelRef: {{name: m}}, versions: [v1], batching: {{maxDelay: {delay}}}, timeouts: {{drain: {drain}}}}}\n"
        );
        validate::parse(text.as_bytes())
    };
    let specs = |(delay, drain)| pool(delay, drain).unwrap()[0].spec().to_value();
    assert_eq!(specs(("2ms", "60s")), specs(("2ms", "1m")));
    assert_eq!(specs(("2ms", "60s"))["timeouts"]["drain"], "1m");
    let refused = pool("2ms", "1m30s").unwrap_err().to_string();
    assert!(refused.contains("\"1m30s\"") && refused.contains("write 90s"), "{refused}");
}
