//! Durations of documents. Integers only; nothing is rounded.
use serde::{Deserialize, Deserializer};

/// Milliseconds of `2ms`, `30s`, `1m` or `1h`: one whole number and one unit.
pub fn duration_ms(text: &str) -> Option<u64> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    matches!(unit, "ms" | "s" | "m" | "h").then(|| tidegate_text::duration_ms(text)).flatten()
}

/// One spelling for one duration, so that `60s` instead of `1m` is no change. What is no duration stays, to be refused as it is.
fn spelled(text: String) -> String {
    duration_ms(&text).map_or(text, tidegate_text::duration_text)
}

/// For a field that is a duration.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(spelled)
}

/// For a field that may be a duration.
pub(crate) fn maybe_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(spelled))
}
