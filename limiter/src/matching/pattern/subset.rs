//! Parses the user's text and refuses what RE2 and `regex` read differently. Only reads; never rewrites.
use regex_syntax::{
    ast::{self, AssertionKind, Ast, ClassSetItem, RepetitionKind, RepetitionRange},
    hir::{Hir, translate::TranslatorBuilder},
};

use super::PatternError;

/// The largest bound of `{m,n}` that RE2 takes.
const MAX_REPEAT: u32 = 1000;

/// The pattern as a high-level expression over bytes: every class is ASCII, plus all or none of the bytes above.
/// `nesting` bounds the depth of the syntax tree.
pub(super) fn parse(source: &str, nesting: u32) -> Result<Hir, PatternError> {
    if !source.is_ascii() {
        return Err(outside("a character beyond ASCII"));
    }
    let mut parser = ast::parse::ParserBuilder::new().nest_limit(nesting).build();
    let ast = parser.parse(source).map_err(|e| PatternError::Syntax(e.kind().to_string()))?;
    ast::visit(&ast, Guard { source })?;
    TranslatorBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .translate(source, &ast)
        .map_err(|e| PatternError::Syntax(e.kind().to_string()))
}

fn outside(what: impl Into<String>) -> PatternError {
    PatternError::Outside { what: what.into() }
}

struct Guard<'s> {
    source: &'s str,
}

impl ast::Visitor for Guard<'_> {
    type Output = ();
    type Err = PatternError;

    fn finish(self) -> Result<(), PatternError> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), PatternError> {
        match ast {
            Ast::Flags(_) => Err(outside("a flag such as `(?i)`")),
            Ast::Group(group) => match &group.kind {
                ast::GroupKind::NonCapturing(flags) if !flags.items.is_empty() => {
                    Err(outside("a flag such as `(?i:…)`"))
                }
                ast::GroupKind::NonCapturing(_)
                | ast::GroupKind::CaptureIndex(_)
                | ast::GroupKind::CaptureName { .. } => Ok(()),
            },
            Ast::Literal(literal) => ascii(literal),
            Ast::ClassUnicode(_) => Err(outside(r"a Unicode class such as `\pL`")),
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::StartText
                | AssertionKind::EndText => Ok(()),
                _ => Err(outside("a word boundary")),
            },
            Ast::Repetition(repetition) => self.repetition(&repetition.op),
            Ast::Empty(_)
            | Ast::Dot(_)
            | Ast::ClassPerl(_)
            | Ast::ClassBracketed(_)
            | Ast::Alternation(_)
            | Ast::Concat(_) => Ok(()),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), PatternError> {
        match item {
            ClassSetItem::Literal(literal) => ascii(literal),
            ClassSetItem::Range(range) => ascii(&range.start).and_then(|()| ascii(&range.end)),
            ClassSetItem::Unicode(_) => Err(outside(r"a Unicode class such as `\pL`")),
            ClassSetItem::Bracketed(_) => Err(outside("a class inside a class")),
            ClassSetItem::Empty(_) | ClassSetItem::Ascii(_) | ClassSetItem::Perl(_) | ClassSetItem::Union(_) => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ast::ClassSetBinaryOp) -> Result<(), PatternError> {
        Err(outside("a class operation such as `&&`"))
    }
}

impl Guard<'_> {
    /// `{,n}` is a counted repetition in `regex` and plain text in RE2; a bound above 1000 is refused by RE2.
    fn repetition(&self, op: &ast::RepetitionOp) -> Result<(), PatternError> {
        let RepetitionKind::Range(range) = &op.kind else { return Ok(()) };
        let text = self.source.get(op.span.start.offset..op.span.end.offset).unwrap_or_default();
        if !text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'{' | b'}' | b',' | b'?')) || text.starts_with("{,")
        {
            return Err(outside(format!("the repetition `{text}`")));
        }
        let largest = match *range {
            RepetitionRange::Exactly(n) | RepetitionRange::AtLeast(n) => n,
            RepetitionRange::Bounded(_, n) => n,
        };
        if largest > MAX_REPEAT { Err(outside(format!("a repetition of more than {MAX_REPEAT}"))) } else { Ok(()) }
    }
}

fn ascii(literal: &ast::Literal) -> Result<(), PatternError> {
    if literal.c.is_ascii() { Ok(()) } else { Err(outside("a character beyond ASCII")) }
}
