//! Fields as text for a terminal, in the manner of `kubectl explain`.
use std::fmt::Write as _;

use super::{Field, VERSION, of};
use crate::kinds::Kind;

const WIDTH: usize = 100;

/// Every kind, one a line.
pub fn kinds() -> String {
    let mut out = format!("Kinds of {VERSION}; `tidegate fields KIND` shows one:\n\n");
    for kind in Kind::ALL {
        let _ = writeln!(out, "  {:<16} {:<4} {}", kind.name(), kind.short(), of(kind).description);
    }
    out
}

/// One field with what stands below it; `recursive`: names and types of everything below, and nothing else of them.
pub fn text(kind: Kind, path: &[String], field: &Field, recursive: bool) -> String {
    let mut out = format!("KIND:     {kind} ({})\nVERSION:  {VERSION}\n", kind.short());
    if !path.is_empty() {
        let _ = writeln!(out, "FIELD:    {} <{}>", path.join("."), field.type_name);
    }
    out.push('\n');
    paragraph(&field.description, 0, &mut out);
    if !path.is_empty() {
        facts(field, 0, &mut out);
    }
    if !field.children.is_empty() {
        out.push_str("\nFIELDS:\n");
        for child in &field.children {
            if recursive { names(child, 1, &mut out) } else { entry(child, &mut out) }
        }
    }
    out
}

fn entry(field: &Field, out: &mut String) {
    let required = if field.required { " -required-" } else { "" };
    let _ = writeln!(out, "  {} <{}>{required}", field.name, field.type_name);
    paragraph(&field.description, 4, out);
    facts(field, 4, out);
    out.push('\n');
}

/// What holds for the field beside its description.
fn facts(field: &Field, indent: usize, out: &mut String) {
    let mut facts = Vec::new();
    if !field.supported {
        facts.push("NOT SUPPORTED YET".to_owned());
    }
    let limits = field.limits();
    facts.extend((!limits.is_empty()).then(|| limits.replace('`', "")));
    facts.push(format!("{}, since {}", field.demand().replace('`', ""), field.since));
    for fact in facts {
        let mut letters = fact.chars();
        let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        paragraph(&format!("{first}{}.", letters.as_str()), indent, out);
    }
    for choice in field.values.iter().filter(|choice| !choice.description.is_empty()) {
        paragraph(&format!("{}: {}", choice.value, choice.description), indent + 2, out);
    }
}

fn names(field: &Field, depth: usize, out: &mut String) {
    let later = if field.supported { "" } else { " (not supported yet)" };
    let required = if field.required { " -required-" } else { "" };
    let _ = writeln!(out, "{:indent$}{} <{}>{required}{later}", "", field.name, field.type_name, indent = depth * 2);
    field.children.iter().for_each(|child| names(child, depth + 1, out));
}

/// Words in lines.
fn paragraph(text: &str, indent: usize, out: &mut String) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent + line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{:indent$}{line}", "");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        let _ = writeln!(out, "{:indent$}{line}", "");
    }
}
