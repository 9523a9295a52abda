//! Every code has its page, and a preview warns before a write.
use tidegate_policy::{
    compile::{CompileInput, preview},
    kinds::{Kind, schemas},
    reject::Code,
    validate,
};

use crate::{
    properties::{model, world},
    scenario::now,
};

#[test]
fn every_code_has_a_page() {
    for code in Code::ALL {
        let path = format!("{}/../../docs/errors/{}.md", env!("CARGO_MANIFEST_DIR"), code.text());
        let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert!(page.starts_with(&format!("# {}", code.text())), "{path}");
    }
}

#[test]
fn a_preview_warns_before_the_write() {
    let old = "apiVersion: tidegate.dev/v1alpha1\nkind: ReleasePolicy\nmetadata: {name: old}\nspec: {targetRef: {kind: Model, name: chat}, stable: v1}\n";
    let everything = world(&[old]).everything();
    let young = validate::parse(old.replace("name: old", "name: young").as_bytes()).unwrap();
    let compiled = preview(&CompileInput { everything: &everything, now: now() }, &young);
    assert!(compiled.statuses[young[0].key()].warnings[0].contains("ReleasePolicy default/old"));
    assert_eq!(everything.objects.len(), 2, "nothing is written");
}

#[test]
fn a_body_is_bounded() {
    let refused = |bytes: &[u8]| validate::parse(bytes).unwrap_err().0.remove(0).code;
    assert_eq!(refused(&vec![b'#'; 10 << 20]), Code::TooLarge);
    assert_eq!(refused(b"\xff\xfe"), Code::Malformed);
    assert_eq!(refused(model().repeat(101).replace("apiVersion", "---\napiVersion").as_bytes()), Code::DocumentCount);
    assert_eq!(refused(b""), Code::DocumentCount);
    assert_eq!(refused("[".repeat(100_000).as_bytes()), Code::Malformed);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    assert_eq!(refused(bomb.as_bytes()), Code::Malformed);
}

#[test]
fn every_kind_has_a_schema_whose_references_resolve() {
    let text = serde_json::to_string(schemas()).unwrap();
    for kind in Kind::ALL {
        assert!(schemas().contains_key(kind.name()) && schemas().contains_key(kind.spec_schema()));
    }
    for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(schemas().contains_key(reference.strip_prefix("#/components/schemas/").unwrap()), "{reference}");
    }
}
