//! Why a document is refused: one entry per mistake, all of them at once, each with a path, a message and a stable code.
use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of mistake; each has a page `docs/errors/<code>.md`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Code {
    TooLarge,
    Malformed,
    DocumentCount,
    ApiVersion,
    UnknownKind,
    UnknownField,
    WrongType,
    MissingField,
    Name,
    Metadata,
    Duplicate,
    OutOfRange,
    NotSupportedYet,
    Duration,
    Digest,
    Location,
    HeaderName,
    ReservedHeader,
    HeaderValue,
    Pattern,
    PatternSize,
    Semver,
    TooMany,
    Contradiction,
    Stored,
}

impl Code {
    /// Every code, in order.
    pub const ALL: [Self; 25] = [
        Self::TooLarge,
        Self::Malformed,
        Self::DocumentCount,
        Self::ApiVersion,
        Self::UnknownKind,
        Self::UnknownField,
        Self::WrongType,
        Self::MissingField,
        Self::Name,
        Self::Metadata,
        Self::Duplicate,
        Self::OutOfRange,
        Self::NotSupportedYet,
        Self::Duration,
        Self::Digest,
        Self::Location,
        Self::HeaderName,
        Self::ReservedHeader,
        Self::HeaderValue,
        Self::Pattern,
        Self::PatternSize,
        Self::Semver,
        Self::TooMany,
        Self::Contradiction,
        Self::Stored,
    ];

    /// `TG-nnnn`; never reused for something else.
    pub fn text(self) -> &'static str {
        match self {
            Self::TooLarge => "TG-1000",
            Self::Malformed => "TG-1001",
            Self::DocumentCount => "TG-1002",
            Self::ApiVersion => "TG-1003",
            Self::UnknownKind => "TG-1004",
            Self::UnknownField => "TG-1005",
            Self::WrongType => "TG-1006",
            Self::MissingField => "TG-1007",
            Self::Name => "TG-1008",
            Self::Metadata => "TG-1009",
            Self::Duplicate => "TG-1010",
            Self::OutOfRange => "TG-1100",
            Self::NotSupportedYet => "TG-1101",
            Self::Duration => "TG-1102",
            Self::Digest => "TG-1103",
            Self::Location => "TG-1104",
            Self::HeaderName => "TG-1105",
            Self::ReservedHeader => "TG-1106",
            Self::HeaderValue => "TG-1107",
            Self::Pattern => "TG-1108",
            Self::PatternSize => "TG-1109",
            Self::Semver => "TG-1110",
            Self::TooMany => "TG-1111",
            Self::Contradiction => "TG-1112",
            Self::Stored => "TG-1120",
        }
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::ALL
            .into_iter()
            .find(|c| c.text() == text)
            .ok_or_else(|| serde::de::Error::custom(format!("unknown code {text:?}")))
    }
}

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// Where, as a JSON path from the document's root: `$.spec.rules[0].match[1].header.value`.
    pub path: String,
    pub message: String,
    pub code: Code,
    /// Which document of the body, from 0. Absent when the body as a whole is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<usize>,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.document {
            Some(n) => write!(f, "document {n}: {}: {} [{}]", self.path, self.message, self.code.text()),
            None => write!(f, "{}: {} [{}]", self.path, self.message, self.code.text()),
        }
    }
}

/// All mistakes of a body; never empty.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rejections(pub Vec<Rejection>);

impl fmt::Display for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, rejection) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{rejection}")?;
        }
        Ok(())
    }
}

/// More mistakes than this in one body are counted but not listed.
pub const MAX_LISTED: usize = 200;

/// Collects the mistakes of one stage of one document. Knows where it is; never stops at the first.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    path: Vec<String>,
    found: Vec<Rejection>,
    more: usize,
}

impl Sink {
    /// Runs `body` one step further down: `.name`.
    pub fn at<T>(&mut self, name: &str, body: impl FnOnce(&mut Self) -> T) -> T {
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        self.step(if plain { format!(".{name}") } else { format!("[{}]", quoted(name)) }, body)
    }

    /// Runs `body` one step further down: `[n]`.
    pub fn index<T>(&mut self, n: usize, body: impl FnOnce(&mut Self) -> T) -> T {
        self.step(format!("[{n}]"), body)
    }

    fn step<T>(&mut self, step: String, body: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let answer = body(self);
        self.path.pop();
        answer
    }

    /// `$` and the steps.
    pub fn path(&self) -> String {
        std::iter::once("$").chain(self.path.iter().map(String::as_str)).collect()
    }

    /// Notes a mistake here.
    pub fn reject(&mut self, code: Code, message: impl Into<String>) {
        if self.found.len() >= MAX_LISTED {
            self.more += 1;
            return;
        }
        let path = self.path();
        self.found.push(Rejection { path, message: message.into(), code, document: None });
    }

    /// Notes a field that exists in the language but is not built yet.
    pub fn not_yet(&mut self, what: &str) {
        self.reject(Code::NotSupportedYet, format!("{what} is not supported yet"));
    }

    /// What was found, with the document's number.
    pub fn into_found(self, document: Option<usize>) -> Found {
        let mut listed = self.found;
        listed.iter_mut().for_each(|r| r.document = document);
        Found { listed, more: self.more }
    }
}

/// Mistakes of one stage, of a document, or of a whole body.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub listed: Vec<Rejection>,
    /// How many more there are.
    pub more: usize,
}

impl Found {
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.more == 0
    }

    /// Adds what another stage or document has, up to the bound of a body.
    pub fn add(&mut self, mut other: Self) {
        let room = MAX_LISTED.saturating_sub(self.listed.len()).min(other.listed.len());
        self.more += other.more + other.listed.len() - room;
        self.listed.extend(other.listed.drain(..room));
    }

    /// At most [`MAX_LISTED`] mistakes, and one entry that counts the others.
    pub fn into_rejections(self) -> Rejections {
        let mut listed = self.listed;
        if self.more > 0 {
            let message = format!("and {} more mistakes", self.more);
            listed.push(Rejection { path: "$".to_owned(), message, code: Code::TooMany, document: None });
        }
        Rejections(listed)
    }
}

/// A text of the user's as it is shown in a message: quoted, escaped, at most 60 characters.
pub(crate) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(60).collect();
    let dots = if shown.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", shown.escape_debug())
}
