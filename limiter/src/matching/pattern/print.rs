//! Prints a parsed pattern for RE2 and for `regex::bytes`. The two texts differ only in how a class with the bytes above 0x7F is
//! written: negated for RE2, spelled out for `regex`. Both take single bytes.
use std::fmt::Write as _;

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

use super::PatternError;

/// Whom to print for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Re2,
    Bytes,
}

/// A class: which ASCII characters, and whether everything beyond ASCII.
pub(super) struct AsciiClass {
    pub ranges: Vec<(u8, u8)>,
    pub beyond: bool,
}

pub(super) fn print(hir: &Hir, dialect: Dialect) -> Result<String, PatternError> {
    let mut out = String::new();
    node(hir, dialect, &mut out)?;
    Ok(out)
}

fn node(hir: &Hir, dialect: Dialect, out: &mut String) -> Result<(), PatternError> {
    match hir.kind() {
        HirKind::Empty => out.push_str("(?:)"),
        HirKind::Literal(literal) => literal.0.iter().for_each(|b| byte(*b, out)),
        HirKind::Class(class) => print_class(&ascii_class(class)?, dialect, out),
        HirKind::Look(Look::Start) => out.push('^'),
        HirKind::Look(Look::End) => out.push('$'),
        HirKind::Look(_) => return Err(PatternError::Outside { what: "a word boundary".to_owned() }),
        HirKind::Repetition(repetition) => repeat(repetition, dialect, out)?,
        // Nobody asks for what a group caught, and all that needs a group writes one of its own.
        HirKind::Capture(capture) => node(&capture.sub, dialect, out)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|p| node(p, dialect, out))?,
        HirKind::Alternation(branches) => {
            out.push_str("(?:");
            for (i, branch) in branches.iter().enumerate() {
                if i > 0 {
                    out.push('|');
                }
                node(branch, dialect, out)?;
            }
            out.push(')');
        }
    }
    Ok(())
}

fn group(hir: &Hir, dialect: Dialect, out: &mut String) -> Result<(), PatternError> {
    out.push_str("(?:");
    node(hir, dialect, out)?;
    out.push(')');
    Ok(())
}

fn repeat(repetition: &Repetition, dialect: Dialect, out: &mut String) -> Result<(), PatternError> {
    let mut sub = repetition.sub.as_ref();
    while let HirKind::Capture(capture) = sub.kind() {
        sub = &capture.sub;
    }
    let single = match sub.kind() {
        // An alternation is printed as a group.
        HirKind::Class(_) | HirKind::Alternation(_) => true,
        HirKind::Literal(literal) => literal.0.len() == 1,
        HirKind::Empty | HirKind::Look(_) | HirKind::Repetition(_) | HirKind::Capture(_) | HirKind::Concat(_) => false,
    };
    if single {
        node(sub, dialect, out)?
    } else {
        group(sub, dialect, out)?
    }
    let written = match (repetition.min, repetition.max) {
        (0, None) => out.write_str("*"),
        (1, None) => out.write_str("+"),
        (0, Some(1)) => out.write_str("?"),
        (min, None) => write!(out, "{{{min},}}"),
        (min, Some(max)) if min == max => write!(out, "{{{min}}}"),
        (min, Some(max)) => write!(out, "{{{min},{max}}}"),
    };
    written.map_err(|e| PatternError::Syntax(e.to_string()))
}

/// The class as ASCII ranges; refuses classes that take some of the bytes above 0x7F and leave others.
pub(super) fn ascii_class(class: &Class) -> Result<AsciiClass, PatternError> {
    let mixed = || PatternError::Outside { what: "a class with some characters beyond ASCII".to_owned() };
    let mut ranges = Vec::new();
    let mut beyond = false;
    match class {
        Class::Bytes(bytes) => {
            for range in bytes.ranges() {
                match (range.start(), range.end()) {
                    (start, end @ 0..=0x7F) => ranges.push((start, end)),
                    (start @ 0..=0x80, 0xFF) => {
                        beyond = true;
                        if start < 0x80 {
                            ranges.push((start, 0x7F));
                        }
                    }
                    _ => return Err(mixed()),
                }
            }
        }
        Class::Unicode(chars) => {
            for range in chars.ranges() {
                match (u8::try_from(range.start()), u8::try_from(range.end())) {
                    (Ok(start), Ok(end)) if end < 0x80 => ranges.push((start, end)),
                    _ => return Err(mixed()),
                }
            }
        }
    }
    if ranges.is_empty() && !beyond {
        return Err(PatternError::Outside { what: "an empty class".to_owned() });
    }
    Ok(AsciiClass { ranges, beyond })
}

fn print_class(class: &AsciiClass, dialect: Dialect, out: &mut String) {
    match (class.beyond, dialect) {
        (false, _) => bracket("[", &class.ranges, out),
        (true, Dialect::Bytes) => bracket("[", &[class.ranges.as_slice(), &[(0x80, 0xFF)]].concat(), out),
        (true, Dialect::Re2) => match complement(&class.ranges) {
            missing if missing.is_empty() => out.push_str(r"(?:[^\n]|\n)"),
            missing => bracket("[^", &missing, out),
        },
    }
}

/// The ASCII characters that are in none of the (sorted) ranges.
fn complement(ranges: &[(u8, u8)]) -> Vec<(u8, u8)> {
    let mut missing = Vec::new();
    let mut next = 0;
    for &(start, end) in ranges {
        if next < start {
            missing.push((next, start - 1));
        }
        next = end + 1;
    }
    if next < 0x80 {
        missing.push((next, 0x7F));
    }
    missing
}

fn bracket(open: &str, ranges: &[(u8, u8)], out: &mut String) {
    out.push_str(open);
    for &(start, end) in ranges {
        byte(start, out);
        if start != end {
            out.push('-');
            byte(end, out);
        }
    }
    out.push(']');
}

/// One character, written so that both syntaxes read it as itself. Only escapes that mean the same in both are used: `\<`,
/// for one, is a word boundary in `regex`.
fn byte(b: u8, out: &mut String) {
    if b.is_ascii_alphanumeric() || b == b'_' {
        out.push(char::from(b));
    } else if matches!(b, b'.' | b'-' | b'+' | b'/') {
        out.push('\\');
        out.push(char::from(b));
    } else {
        out.push_str(&format!("\\x{b:02X}"));
    }
}
