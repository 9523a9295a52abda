//! A refusal of the server (RFC 9457 problem+json), and how a person reads it.
use std::fmt;

use serde::Deserialize;

/// What the server refused, and why. Fields that are missing or unknown do no harm.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub title: String,
    pub status: u16,
    pub detail: String,
    pub code: String,
    pub errors: Vec<ProblemError>,
}

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ProblemError {
    /// JSON path, such as `$.spec.rules[0].to`.
    pub path: String,
    pub message: String,
    pub code: String,
    /// Position of the document in the request, from 0.
    pub document: Option<usize>,
    /// Filled in on this side: the file of the document.
    #[serde(skip)]
    pub origin: String,
}

impl Problem {
    /// Says for each mistake from which file it came.
    #[must_use]
    pub fn with_origins(mut self, origins: &[String]) -> Self {
        for error in &mut self.errors {
            let document = error.document.or_else(|| (origins.len() == 1).then_some(0));
            error.origin = document.and_then(|d| origins.get(d)).cloned().unwrap_or_default();
        }
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = if self.code.is_empty() { "TG-1513" } else { &self.code };
        let text = if self.detail.is_empty() { &self.title } else { &self.detail };
        write!(f, "{code} {text}")?;
        for error in &self.errors {
            f.write_str("\n  ")?;
            if !error.origin.is_empty() {
                write!(f, "{}: ", error.origin)?;
            }
            if !error.path.is_empty() {
                write!(f, "{}: ", error.path)?;
            }
            f.write_str(&error.message)?;
            if !error.code.is_empty() && error.code != self.code {
                write!(f, " ({})", error.code)?;
            }
        }
        Ok(())
    }
}
