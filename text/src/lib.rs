//! Text that people write, and text that they read: bytes to text, YAML and JSON to values, values to YAML, durations.
//! Pure: it opens no file. It must never let a word of the libraries below it reach a person; every mistake is said in
//! plain words, with its line and column.
mod duration;
mod encoding;
mod json;
mod scalar;
mod values;
mod words;
mod yaml;

use std::fmt;

pub use duration::{DURATION_FORM, duration_ms, duration_text};
pub use encoding::decode;
pub use json::typed;
pub use values::{one, values};
pub use words::shape;
pub use yaml::write;

/// Why a text cannot be read: where, and what, for a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Line and column, both from 1.
    pub at: Option<(usize, usize)>,
    pub message: String,
}

impl Mistake {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { at: None, message: message.into() }
    }

    pub(crate) fn at(line: usize, column: usize, message: impl Into<String>) -> Self {
        Self { at: Some((line, column)), message: message.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Mistake {}
