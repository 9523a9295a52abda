//! What a plain YAML scalar means. The rules are those of kubectl's reader (YAML 1.1 without base 60), so that one document
//! says the same through every door; the table in `tests/` is that reader's own output.
use serde_json::{Number, Value};

/// The value of a plain scalar, or why it has none.
pub(crate) fn plain(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Ok(true.into()),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(false.into());
        }
        ".nan" | ".NaN" | ".NAN" => return Err(format!("{text} is no number that a document can hold")),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Err(format!("{text} is no number that a document can hold"));
    }
    let first = text.as_bytes().first().copied().unwrap_or_default();
    let number = match first {
        b'.' if separated(text) => decimal(&text.replace('_', "")),
        b'+' | b'-' | b'0'..=b'9' => numeric(&text.replace('_', "")),
        _ => None,
    };
    Ok(number.unwrap_or_else(|| Value::String(text.to_owned())))
}

/// Whether every `_` stands between two digits.
fn separated(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |i: Option<usize>| i.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
    bytes.iter().enumerate().all(|(i, b)| *b != b'_' || (digit(i.checked_sub(1)) && digit(Some(i + 1))))
}

/// Whole numbers in every base, then decimals.
fn numeric(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if let Some(whole) = based(digits).and_then(|n| signed(negative, n, !text.starts_with('+'))) {
        return Some(whole);
    }
    if let Some(value) = decimal(text) {
        return Some(value);
    }
    // Their reader tries `0b` once more, and takes a sign after it.
    match text.strip_prefix("0b") {
        Some(rest) => i64::from_str_radix(rest, 2).ok().map(Value::from),
        None => None,
    }
}

/// `12`, `0x1f`, `0b11`, `0o17`, `017`.
fn based(digits: &str) -> Option<u64> {
    let bytes = digits.as_bytes();
    let (rest, radix) = match bytes {
        [b'0', b'x' | b'X', _, ..] => (&digits[2..], 16),
        [b'0', b'b' | b'B', _, ..] => (&digits[2..], 2),
        [b'0', b'o' | b'O', _, ..] => (&digits[2..], 8),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    let plain = rest.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain { u64::from_str_radix(rest, radix).ok() } else { None }
}

/// As far as 64 bits go: a number beyond 2^63-1 only without a sign.
fn signed(negative: bool, n: u64, unsigned_form: bool) -> Option<Value> {
    if negative {
        return 0_i64.checked_sub_unsigned(n).map(Value::from);
    }
    (unsigned_form || i64::try_from(n).is_ok()).then(|| Value::from(n))
}

/// `1.5`, `.5`, `1.`, `1e3`; beyond the range of a double it is text.
fn decimal(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let formed = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    if !formed || exponent.is_some_and(|e| e.is_empty() || !digits(e)) {
        return None;
    }
    let number: f64 = text.parse().ok().filter(|n: &f64| n.is_finite())?;
    Some(number_of(number))
}

/// A double as a value; one without a fraction is the whole number, as JSON writes it.
pub(crate) fn number_of(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[allow(clippy::cast_possible_truncation, reason = "a whole number of at most 2^53")]
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}
