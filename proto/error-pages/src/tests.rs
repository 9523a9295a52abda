//! The pages are what the programs promise: a title, a meaning, a remedy; and the index lists them all.
use std::path::Path;

use super::*;

#[test]
fn a_page_is_found_however_its_code_is_written() {
    for written in ["TG-1301", "tg-1301", "1301", " TG-1301 "] {
        assert_eq!(find(written).unwrap_or_else(|| panic!("{written}")).code, "TG-1301");
    }
    for written in ["", "TG-", "TG-9999", "13", "TG-13011", "$.spec"] {
        assert_eq!(find(written), None, "{written}");
    }
}

#[test]
fn the_codes_of_a_message_are_found_once_each() {
    let text = "TG-1301 2 mistakes\n  $.a: x (TG-1005)\n  $.b: y (TG-1005) TG-9999 TG-13";
    assert_eq!(codes(text), ["TG-1301", "TG-1005"]);
}

#[test]
fn every_page_says_what_it_is_about_and_what_to_do() {
    assert!(all().len() > 150, "{} pages", all().len());
    let mut wrong = Vec::new();
    for page in all() {
        let body = page.text.split_once('\n').map(|(_, body)| body.trim()).unwrap_or_default();
        let (meaning, remedy) = body.split_once("**What to do.**").unwrap_or((body, ""));
        let remedy = remedy.trim();
        if meaning.split_whitespace().count() < 8 {
            wrong.push(format!("{}: does not say what it means: {meaning:?}", page.code));
        }
        if remedy.split_whitespace().count() < 4 || remedy.starts_with("Nothing") {
            wrong.push(format!("{}: does not say what to do: {remedy:?}", page.code));
        }
        if page.title.ends_with('.') || !page.title.starts_with(char::is_uppercase) {
            wrong.push(format!("{}: the title {:?} begins with a capital and has no full stop", page.code, page.title));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_page_is_in_exactly_one_area() {
    let listed: Vec<&str> = by_area().flat_map(|(_, pages)| pages).map(|page| page.code).collect();
    assert_eq!(listed, all().iter().map(|page| page.code).collect::<Vec<_>>());
    assert!(list().lines().any(|line| line.starts_with("  TG-1301  ")));
}

#[test]
fn the_index_is_of_these_pages() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors/README.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, index()).unwrap();
    }
    assert_eq!(index(), std::fs::read_to_string(&path).unwrap_or_default(), "UPDATE=1 rewrites docs/errors/README.md");
}

#[test]
fn at_a_terminal_a_link_shows_where_it_leads() {
    let page = |text| Page { code: "TG-0000", title: "T", text };
    assert_eq!(
        page("# TG-0000: T\n\n**What to do.** See [the **format**](../reference/a.md#b), [`TG-1301`](TG-1301.md).\n")
            .plain(),
        "TG-0000: T\n\nWhat to do. See the format (docs/reference/a.md), TG-1301.\n"
    );
    for page in all() {
        assert!(page.plain().starts_with(page.code) && !page.plain().contains("]("), "{}", page.code);
    }
}
