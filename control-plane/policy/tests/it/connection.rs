//! What explain says of a request whose `connection` header stock Envoy refuses.
use tidegate_policy::{
    compile::{CompileInput, compile},
    explain::{ExplainHeader, ExplainRequest, explain},
    ports::Everything,
};

use crate::scenario::{OPEN, now};

/// What is said of the headers.
fn notes(connection: &[&str]) -> Vec<String> {
    let header = |(name, value): (&str, &str)| ExplainHeader {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        value_base64: None,
    };
    let mut headers = vec![header(("x-user-id", "u")), header(("X-Forwarded-For", "192.0.2.1"))];
    headers.extend(connection.iter().map(|value| header(("Connection", value))));
    let request = ExplainRequest { model: "chat".to_owned(), headers, ..ExplainRequest::default() };
    let snapshot = compile(&CompileInput { everything: &Everything::default(), now: now() }).snapshot;
    let mut notes = explain(&snapshot, OPEN, &request).notes;
    notes.pop().filter(|last| last.contains("chat")).expect("there is no such model");
    notes
}

#[test]
fn too_many_nominations_are_refused_at_the_gateway() {
    for ten in
        [&["a,b,c,d,e,f,g,h,i,j"][..], &["close,close,close,close,close", "a, b, c, d, e"], &["a, , , , , , , , ,b"]]
    {
        let said = notes(ten);
        let expected =
            "the gateway answers 400 and looks at no rule: `connection` names 10 headers, and at most 9 are allowed";
        assert_eq!(said, [expected], "{ten:?}");
    }
    assert_eq!(notes(&["a,b,c,d,e,f,g,h,i"]), [""; 0]);
    assert_eq!(notes(&["a,,,,,,,,,,,,X-User-Id"]), ["x-user-id is named in `connection` and removed at the gateway"]);
}

#[test]
fn headers_that_may_not_be_nominated_are_refused_at_the_gateway() {
    for name in ["x-forwarded-for", "X-Forwarded-Host", "x-forwarded-proto", ":path"] {
        let said = notes(&[&format!("keep-alive, {name}")]);
        let name = name.to_ascii_lowercase();
        let expected =
            format!("the gateway answers 400 and looks at no rule: `connection` names {name}, which it must not");
        assert_eq!(said, [expected]);
    }
    assert_eq!(notes(&["x-forwarded-port"]), [""; 0]);
}
