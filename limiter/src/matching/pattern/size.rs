//! An upper estimate of the size of RE2's program, because Envoy refuses a route whose program is larger than its limit.
use regex_syntax::hir::{Hir, HirKind};

use super::print::ascii_class;

/// Instructions that the bytes beyond ASCII take in a class.
const BEYOND_ASCII: usize = 1;

/// Instructions around every program: match, fail and the two ends.
const FRAME: usize = 5;

/// The estimate for a whole pattern; saturates far above every limit.
pub(super) fn estimate(hir: &Hir) -> usize {
    node(hir).saturating_add(FRAME)
}

fn node(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(class) => {
            ascii_class(class).map_or(1, |c| c.ranges.len() + if c.beyond { BEYOND_ASCII } else { 0 })
        }
        HirKind::Capture(capture) => node(&capture.sub),
        HirKind::Concat(parts) => parts.iter().map(node).fold(0, usize::saturating_add),
        HirKind::Alternation(parts) => parts.iter().map(|p| node(p).saturating_add(1)).fold(0, usize::saturating_add),
        HirKind::Repetition(repetition) => {
            let copies = usize::try_from(repetition.max.unwrap_or(repetition.min.max(1))).unwrap_or(usize::MAX).max(1);
            node(&repetition.sub).saturating_add(1).saturating_mul(copies).saturating_add(1)
        }
    }
}
