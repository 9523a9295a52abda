//! Ranges of versions as one regular expression: `=2.1.0`, `2.1`, `2.x`, `^2.1`, `~2.1.3`, `*`.
//!
//! A value is `MAJOR[.MINOR[.PATCH]]`, with an optional leading `v`, no leading zeros and an optional `+build` that counts
//! for nothing; missing parts are 0. A value with a pre-release part (`-rc.1`) is in no range, and a range may not have one.
//! A range with missing parts takes every value of them: `2.1` and `=2.1` are `2.1.x`; a full `2.1.3` is exactly that.
//! `^` holds the first part that is not 0, `~` holds MAJOR.MINOR (npm's rules).

use crate::reject::quoted;

/// Largest number in a range. Behind `^` and `~` a pattern for smaller ones may already be too large; see [`too_long`].
const LARGEST: u32 = 999_999;

/// Largest MINOR and PATCH that fit behind `^` and `~` whatever the other is.
pub const ALWAYS_FITS: u32 = 999;

/// Why a range whose pattern is larger than Envoy takes is refused.
pub fn too_long(text: &str) -> String {
    format!(
        "{}: its numbers are too long; behind ^ and ~, MINOR and PATCH up to {ALWAYS_FITS} always fit",
        quoted(text)
    )
}

/// From `low`, up to and without `high` if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    low: [u32; 3],
    high: Option<[u32; 3]>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Caret,
    Tilde,
}

impl Range {
    /// Reads a range.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("{} is not a range of versions such as ^2.1, ~2.1.3, 2.x or =2.1.0", quoted(text));
        let (operator, rest) = match text.as_bytes().first() {
            Some(b'^') => (Operator::Caret, &text[1..]),
            Some(b'~') => (Operator::Tilde, &text[1..]),
            Some(b'=') => (Operator::Equal, &text[1..]),
            Some(_) => (Operator::Equal, text),
            None => return Err(bad()),
        };
        let rest = rest.strip_prefix('v').unwrap_or(rest);
        if rest.contains(['-', '+']) {
            return Err(format!("{}: pre-release and build parts in a range are not supported yet", quoted(text)));
        }
        let mut numbers = Vec::new();
        let mut wild = false;
        for part in rest.split('.') {
            match part {
                "x" | "X" | "*" => wild = true,
                _ if wild => return Err(bad()),
                _ => numbers.push(number(part).ok_or_else(bad)?),
            }
        }
        if rest.split('.').count() > 3 {
            return Err(bad());
        }
        Ok(Self::new(operator, &numbers))
    }

    fn new(operator: Operator, numbers: &[u32]) -> Self {
        let part = |i: usize| numbers.get(i).copied().unwrap_or(0);
        let low = [part(0), part(1), part(2)];
        // Which part goes up by one for the first version beyond the range.
        let held = match (operator, numbers.len()) {
            (_, 0) => return Self { low, high: None },
            (Operator::Equal, n) => n - 1,
            (Operator::Tilde, n) => n.min(2) - 1,
            (Operator::Caret, n) => (0..n).find(|i| part(*i) != 0).unwrap_or(n - 1),
        };
        let mut high = [0; 3];
        for (i, slot) in high.iter_mut().enumerate().take(held + 1) {
            *slot = if i == held { part(i) + 1 } else { part(i) };
        }
        Self { low, high: Some(high) }
    }

    /// The range as a pattern for whole values.
    pub fn pattern(&self) -> String {
        format!(r"v?(?:{})(?:\+[0-9A-Za-z\-\.]+)?", self.body())
    }

    /// Every range is "some leading parts are fixed, the next is at least so much, then anything".
    fn body(&self) -> String {
        const ANY: &str = "(?:0|[1-9][0-9]*)";
        let [major, minor, patch] = self.low;
        let any2 = format!(r"(?:\.{ANY}(?:\.{ANY})?)?");
        let any1 = format!(r"(?:\.{ANY})?");
        let Some(high) = self.high else { return format!("{ANY}{any2}") };
        // `M.m.p`, each part optional when it and all behind it are 0.
        let optional = |text: String, zero: bool| if zero { format!("(?:{text})?") } else { text };
        if high == [major, minor, patch + 1] {
            return format!(
                "{major}{}",
                optional(
                    format!(r"\.{minor}{}", optional(format!(r"\.{patch}"), patch == 0)),
                    minor == 0 && patch == 0
                )
            );
        }
        if high == [major, minor + 1, 0] {
            let tail = if patch == 0 { any1 } else { format!(r"\.{}", at_least(patch)) };
            return format!("{major}{}", optional(format!(r"\.{minor}{tail}"), minor == 0 && patch == 0));
        }
        // M.m.p up to the next major.
        if minor == 0 && patch == 0 {
            return format!("{major}{any2}");
        }
        if patch == 0 {
            return format!(r"{major}\.{}{any1}", at_least(minor));
        }
        format!(r"{major}\.(?:{minor}\.{}|{}{any1})", at_least(patch), at_least(minor + 1))
    }
}

fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten().filter(|n| *n <= LARGEST)
}

/// A whole number without leading zeros that is at least `n`.
fn at_least(n: u32) -> String {
    if n == 0 {
        return "(?:0|[1-9][0-9]*)".to_owned();
    }
    let digits = n.to_string().into_bytes();
    let len = digits.len();
    if n == 10_u32.pow(n.ilog10()) {
        return format!("[1-9][0-9]{{{},}}", len - 1);
    }
    let mut branches = vec![format!("[1-9][0-9]{{{len},}}"), n.to_string()];
    for (i, digit) in digits.iter().enumerate().filter(|(_, d)| **d < b'9') {
        let head: String = digits[..i].iter().map(|b| char::from(*b)).collect();
        let next = char::from(digit + 1);
        let tail = match len - i - 1 {
            0 => String::new(),
            n => format!("[0-9]{{{n}}}"),
        };
        branches.push(format!("{head}[{next}-9]{tail}"));
    }
    format!("(?:{})", branches.join("|"))
}
