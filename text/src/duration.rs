//! Durations as people write them. Integers only; nothing is rounded.

/// What a duration looks like, for messages.
pub const DURATION_FORM: &str = "a duration such as 30s, 5m, 1h30m or 7d";

/// Units from long to short; each may stand once, in this order.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Milliseconds of `250ms`, `30s`, `1h30m` or `7d`: whole numbers with a unit each, longer units first.
pub fn duration_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut left = UNITS.as_slice();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        if number.len() > 1 && number.starts_with('0') {
            return None;
        }
        let place = left.iter().position(|(name, _)| *name == unit)?;
        total = number.parse::<u64>().ok()?.checked_mul(left[place].1)?.checked_add(total)?;
        left = &left[place + 1..];
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// The one spelling of a duration in documents: a whole number of the longest unit up to hours that fits.
pub fn duration_text(ms: u64) -> String {
    let unit = UNITS[2..].iter().find(|(_, size)| ms != 0 && ms.is_multiple_of(*size));
    unit.map_or_else(|| format!("{}s", ms / 1_000), |(name, size)| format!("{}{name}", ms / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact() {
        for (text, ms) in [
            ("2ms", 2),
            ("30s", 30_000),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("1m30s", 90_000),
            ("1s500ms", 1_500),
            ("1d", 86_400_000),
            ("2w", 1_209_600_000),
            ("0s", 0),
        ] {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for bad in
            ["", "5", "s", "1.5s", "-1s", "1 s", "01s", "1s1h", "1m1m", "1y", "1S", "99999999999999999999s", "1h30"]
        {
            assert_eq!(duration_ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn one_duration_has_one_spelling() {
        for (text, wanted) in
            [("60s", "1m"), ("90s", "90s"), ("3600s", "1h"), ("48h", "48h"), ("1500ms", "1500ms"), ("0ms", "0s")]
        {
            assert_eq!(duration_text(duration_ms(text).unwrap()), wanted, "{text}");
        }
    }
}
