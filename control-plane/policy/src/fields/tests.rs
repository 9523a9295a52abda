//! The reference is complete, names what a person can type, and its pages are those of these types.
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::documents::drafts;

#[test]
fn every_field_says_what_it_is() {
    fn walk(path: &str, field: &Field, silent: &mut Vec<String>) {
        if field.description.is_empty() {
            silent.push(path.to_owned());
        }
        field.children.iter().for_each(|child| walk(&format!("{path}.{}", child.name), child, silent));
    }
    let mut silent = Vec::new();
    Kind::ALL.into_iter().for_each(|kind| walk(kind.short(), &of(kind), &mut silent));
    assert!(silent.is_empty(), "without a description: {silent:#?}");
}

#[test]
fn type_default_bounds_values_and_support_are_those_of_the_types() {
    let at = |path: &str| find(path).unwrap_or_else(|problem| panic!("{problem}")).2;
    let weight = at("rel.spec.steps.weight");
    assert_eq!((weight.type_name.as_str(), weight.required, weight.limits().as_str()), ("integer", true, "0 to 100"));
    assert_eq!(at("ReleasePolicy.spec.rules").limits(), "at most 64 items");
    assert_eq!(at("rlp.spec.limits").limits(), "1 to 32 items");
    assert_eq!(at("rlp.spec.limits.requests.rate").limits(), "1 to 1000000000");
    assert_eq!(at("rlp.spec.limits[0].requests.window").demand(), "default `1s`");
    assert_eq!(at("workerpools.spec.replicas").demand(), "default `1`");
    assert_eq!(at("rlp.spec.scope").limits(), "one of `Global` (not supported yet), `Local`");
    assert_eq!(at("rel.spec.rules.match.type").values.len(), 4);
    assert!(at("rel.spec.rules.match.bucket.to").limits().starts_with("1 to 10000"));
    assert!(!at("wp.spec.devices").supported && at("wp.spec.batching").supported);
    assert_eq!(at("mdl.metadata.labels").type_name, "map[string]string");
    assert_eq!(at("wp.status.workers.ready").type_name, "integer");
}

#[test]
fn a_wrong_path_gets_a_hint() {
    let wrong = |path: &str| find(path).expect_err(path);
    assert!(wrong("relese").contains("there is no kind") && wrong("relese").contains("tidegate fields"));
    let rule = wrong("rel.spec.rulez");
    assert!(rule.contains("rel.spec has no field") && rule.contains("did you mean \"rules\"?"), "{rule}");
    assert!(wrong("rel.spec.stable.x").contains("it has no fields"));
}

#[test]
fn every_path_leads_to_its_field() {
    let all = paths();
    assert!(all.len() > 150 && all.contains(&"rel.spec.rules.match.header.name".to_owned()), "{}", all.len());
    for path in all {
        let (kind, walked, field) = find(path).unwrap_or_else(|problem| panic!("{problem}"));
        for recursive in [false, true] {
            let text = text(kind, &walked, &field, recursive);
            assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        }
    }
    assert!(kinds().contains("ReleasePolicy    rel  "), "{}", kinds());
}

/// A field of the reference that the reader of documents did not know would be a lie.
#[test]
fn the_reader_knows_every_field_of_spec() {
    for path in paths().iter().filter(|path| path.split('.').nth(1) == Some("spec")) {
        let mut segments: Vec<&str> = path.split('.').collect();
        let kind = Kind::parse(segments.remove(0)).unwrap();
        let mut document = Value::Null;
        for name in segments.iter().rev() {
            document = serde_json::json!({ *name: document });
        }
        document["kind"] = kind.name().into();
        let found = &drafts(document.to_string().as_bytes(), "default").unwrap()[0].found;
        let unknown: Vec<_> = found.listed.iter().filter(|r| r.message.starts_with("unknown field")).collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?}");
    }
}

#[test]
fn the_pages_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/fields");
    for kind in Kind::ALL {
        let path = folder.join(format!("{kind}.md"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, page(kind)).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(page(kind), stored, "UPDATE=1 rewrites {}", path.display());
    }
}
