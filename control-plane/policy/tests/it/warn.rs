//! Every code has its page, and everything that is read is bounded.
use tidegate_policy::{
    kinds::{Kind, schemas},
    reject::{Code, MAX_LISTED, Rejection},
    validate,
};

use crate::properties::model;

#[test]
fn every_code_has_a_page() {
    for code in Code::ALL {
        let path = format!("{}/../../docs/errors/{}.md", env!("CARGO_MANIFEST_DIR"), code.text());
        let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert!(page.starts_with(&format!("# {}", code.text())), "{path}");
    }
}

/// A hundred documents with hundreds of mistakes each, of form and of meaning.
#[test]
fn one_bound_on_the_listed_mistakes_holds_for_the_whole_body() {
    let unknown: String = (0..300).map(|n| format!(", u{n}: 1")).collect();
    let versions: String = (0..300).map(|n| format!("'bad {n}', ")).collect();
    let document = |n: usize| {
        format!(
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: WorkerPool\nmetadata: {{name: p{n}}}\nspec: {{modelRef: {{name: chat}}, versions: [{versions}]{unknown}}}\n"
        )
    };
    let refused = |n: usize| validate::parse((0..n).map(document).collect::<String>().as_bytes()).unwrap_err().0;
    let (one, many) = (refused(1), refused(100));
    assert_eq!((one.len(), many.len()), (MAX_LISTED + 1, MAX_LISTED + 1));
    // 300 unknown fields, 300 bad names and one list that is too long, in each.
    let counted = |all: &[Rejection]| all.last().unwrap().message.clone();
    assert_eq!(counted(&one), format!("and {} more mistakes", 601 - MAX_LISTED));
    assert_eq!(counted(&many), format!("and {} more mistakes", 100 * 601 - MAX_LISTED));
}

#[test]
fn a_body_is_bounded() {
    let refused = |bytes: &[u8]| validate::parse(bytes).unwrap_err().0.remove(0).code;
    assert_eq!(refused(&vec![b'#'; 10 << 20]), Code::TooLarge);
    assert_eq!(refused(b"\xff\xfe"), Code::Malformed);
    assert_eq!(refused(model().repeat(501).replace("apiVersion", "---\napiVersion").as_bytes()), Code::DocumentCount);
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
