//! The page of a kind in docs/reference/fields: every field in one table, in the order of the schema.
use std::fmt::Write as _;

use super::{Field, VERSION, of};
use crate::kinds::Kind;

/// The page.
pub fn page(kind: Kind) -> String {
    let root = of(kind);
    let mut out = format!(
        "# Fields of {kind} (`{}`)\n\n{}\n\nOf `{VERSION}`; every field is there since {} unless it says else. `tidegate fields {}` \
         shows the same at a terminal. This page is made from the types: `UPDATE=1 cargo test -p tidegate-policy` rewrites it.\n\n\
         | field | type | | bounds | what it is |\n|---|---|---|---|---|\n",
        kind.short(),
        root.description,
        root.since,
        kind.short(),
    );
    rows("", &root, &root.since, &mut out);
    out
}

fn rows(prefix: &str, field: &Field, since: &str, out: &mut String) {
    for child in &field.children {
        let path = if prefix.is_empty() { child.name.clone() } else { format!("{prefix}.{}", child.name) };
        let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
        let later = if child.supported { "" } else { "**Not supported yet.** " };
        let younger = if child.since == since { String::new() } else { format!(" Since {}.", child.since) };
        let mut meaning = cell(&child.description);
        for choice in child.values.iter().filter(|choice| !choice.description.is_empty()) {
            let _ = write!(meaning, " `{}`: {}", choice.value, cell(&choice.description));
        }
        let (demand, limits) = (cell(&child.demand()), cell(&child.limits()));
        let _ = writeln!(
            out,
            "| `{path}` | {} | {demand} | {limits} | {later}{meaning}{younger} |",
            cell(&child.type_name)
        );
        rows(&path, child, since, out);
    }
}
