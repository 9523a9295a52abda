//! The regular expressions of policies: the ASCII subset in which RE2 and `regex::bytes` agree on every byte string.
//! A pattern is parsed once and printed twice, for RE2 and for `regex`; nobody ever matches with the user's own text, so a
//! difference between the two syntaxes cannot become a difference between two answers.
mod print;
mod size;
mod subset;
mod whole;

pub use whole::WholeRegex;

/// How large a pattern may be.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Of the text.
    bytes: usize,
    /// Depth of the syntax tree.
    nesting: u32,
    /// Instructions of RE2's program.
    program: usize,
}

/// For what people write. The program is the largest that stock Envoy takes: its runtime key
/// `re2.max_program_size.error_level` is 100 unless set.
const WRITTEN: Bounds = Bounds { bytes: 1024, nesting: 32, program: 100 };

/// For what [`print`] makes of [`WRITTEN`]: a blank is four bytes there (`\x20`), `\W` seventeen, and an alternation is a group.
const PRINTED: Bounds = Bounds { bytes: 16 * 1024, nesting: 512, program: 400 };

/// A pattern that must match a whole value.
///
/// `.` and negated classes match one *byte*: Envoy compiles its patterns for Latin-1, so `é` in UTF-8 is two of them, and a value
/// need not be UTF-8.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The text for an engine that matches whole values itself.
    pub re2: String,
    /// Anchored at both ends; built when first used.
    pub compiled: WholeRegex,
    /// Upper estimate of RE2's program size.
    pub program: usize,
}

/// Why a pattern is refused.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    #[error("the pattern is not a regular expression: {0}")]
    Syntax(String),
    #[error("{what} is not part of the pattern language (the ASCII subset that RE2 and the Rust regex crate share)")]
    Outside { what: String },
    #[error("the pattern has {bytes} bytes; the limit is {limit}")]
    TooLong { bytes: usize, limit: usize },
    #[error("the pattern needs about {program} RE2 instructions; Envoy's limit is {}", WRITTEN.program)]
    TooLarge { program: usize },
}

impl PatternError {
    /// True when the pattern is too large rather than wrong.
    pub fn is_size(&self) -> bool {
        match self {
            Self::TooLong { .. } | Self::TooLarge { .. } => true,
            Self::Syntax(_) | Self::Outside { .. } => false,
        }
    }
}

impl Pattern {
    /// Parses a pattern. The printed [`Pattern::re2`] parses to the same pattern again.
    ///
    /// # Errors
    /// Not a pattern of the subset, or too large.
    pub fn parse(source: &str) -> Result<Self, PatternError> {
        Self::within(source, WRITTEN)
    }

    /// Parses what an earlier parse printed.
    ///
    /// # Errors
    /// Not a pattern of the subset, or far too large to have been printed.
    pub(super) fn parse_printed(printed: &str) -> Result<Self, PatternError> {
        Self::within(printed, PRINTED)
    }

    fn within(source: &str, bounds: Bounds) -> Result<Self, PatternError> {
        if source.len() > bounds.bytes {
            return Err(PatternError::TooLong { bytes: source.len(), limit: bounds.bytes });
        }
        let hir = &subset::parse(source, bounds.nesting)?;
        let program = size::estimate(hir);
        if program > bounds.program {
            return Err(PatternError::TooLarge { program });
        }
        let re2 = print::print(hir, print::Dialect::Re2)?;
        let bytes = print::print(hir, print::Dialect::Bytes)?;
        let compiled = WholeRegex::new(&bytes);
        Ok(Self { re2, compiled, program })
    }

    /// Builds the regular expression now, for whoever will match at once.
    ///
    /// # Errors
    /// It is too large to build.
    pub fn built(self) -> Result<WholeRegex, PatternError> {
        let program = self.program;
        if self.compiled.get().is_none() {
            return Err(PatternError::TooLarge { program });
        }
        Ok(self.compiled)
    }
}
