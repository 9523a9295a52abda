//! Compiled conditions over one request, and whether they hold. The control plane's `explain` and the worker's limits use
//! this same code; Envoy gets the same conditions as routes. Bytes in, bool out; nothing here knows a policy.
mod hash;
mod pattern;
#[cfg(test)]
mod tests;

pub use hash::{BUCKETS, bucket, seed, split_bucket};
pub use pattern::{Pattern, PatternError, WholeRegex};

/// What a condition can look at. Header names are lower-case; a repeated header is repeated here, in order.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    pub headers: &'a [(String, Vec<u8>)],
    /// The authenticated tenant, never what a client claims.
    pub tenant: Option<&'a str>,
}

impl RequestView<'_> {
    /// The value that Envoy's matchers see: several values joined by `,` (Envoy: `HeaderUtility::getAllOfHeaderAsString`).
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        let values = self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_slice());
        let values: Vec<&[u8]> = values.collect();
        (!values.is_empty()).then(|| values.join(&b','))
    }
}

/// How a header's value is compared. All are over bytes; `Regex` must match the whole value.
#[derive(Clone, Debug)]
pub enum ValueTest {
    Exact(String),
    Prefix(String),
    /// `source` is [`Pattern::re2`]: unanchored text for an engine that matches the whole value, such as Envoy's.
    Regex {
        source: String,
        compiled: WholeRegex,
    },
    Present,
}

impl ValueTest {
    /// A test that must match the whole value.
    ///
    /// # Errors
    /// The pattern is outside the subset of [`Pattern`], or too large.
    pub fn regex(source: &str) -> Result<Self, PatternError> {
        let pattern = Pattern::parse(source)?;
        Ok(Self::Regex { source: pattern.re2, compiled: pattern.compiled })
    }

    /// Whether `value`, the joined value of a header that is there, passes.
    pub fn holds(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(expected) => value == expected.as_bytes(),
            Self::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            Self::Regex { compiled, .. } => compiled.is_match(value),
            Self::Present => true,
        }
    }
}

/// Same kind of test and same text; a compiled regex is its text.
impl PartialEq for ValueTest {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b))
            | (Self::Prefix(a), Self::Prefix(b))
            | (Self::Regex { source: a, .. }, Self::Regex { source: b, .. }) => a == b,
            (Self::Present, Self::Present) => true,
            (Self::Exact(_) | Self::Prefix(_) | Self::Regex { .. } | Self::Present, _) => false,
        }
    }
}

impl Eq for ValueTest {}

/// One condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    Header {
        name: String,
        test: ValueTest,
    },
    Tenant(String),
    /// xxh64(value, seed) mod 10,000 in `[from, to)`; an absent header does not match.
    Bucket {
        header: String,
        seed: u64,
        from: u32,
        to: u32,
    },
}

/// Compiles a [`Pattern::re2`], which must match the whole value; the same bytes match as with RE2 in Envoy. Printed text is
/// longer and deeper than what was written, so its bounds are wider: whatever [`Pattern::parse`] takes, this takes printed.
///
/// # Errors
/// The pattern is outside the subset of [`Pattern`], or too large.
pub fn full_match(printed: &str) -> Result<WholeRegex, PatternError> {
    Pattern::parse_printed(printed)?.built()
}

impl Condition {
    /// Whether this condition holds for `request`.
    pub fn holds(&self, request: &RequestView<'_>) -> bool {
        match self {
            Self::Tenant(tenant) => request.tenant == Some(tenant.as_str()),
            Self::Header { name, test } => request.header(name).is_some_and(|value| test.holds(&value)),
            Self::Bucket { header, seed, from, to } => {
                request.header(header).is_some_and(|value| (*from..*to).contains(&bucket(&value, *seed)))
            }
        }
    }
}
