//! Server-sent events as bytes: one line of JSON each. Many clients cut a stream at every character that Unicode calls a line
//! end, so none of them ever stands in a line. Knows nothing of what it writes.
use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// The event that ends a stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// Writes one event without a name.
pub fn data<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<(), serde_json::Error> {
    out.extend_from_slice(b"data: ");
    value.serialize(&mut Serializer::with_formatter(&mut *out, OneLine))?;
    out.extend_from_slice(b"\n\n");
    Ok(())
}

/// Writes one `error` event.
pub fn error<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<(), serde_json::Error> {
    out.extend_from_slice(b"event: error\n");
    data(out, value)
}

/// JSON escapes the control characters below U+0020 in any case; these are the line ends that it leaves as they are.
const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// Compact JSON in which [`LINE_ENDS`] are escaped too.
struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut compact = CompactFormatter;
        let mut rest = fragment;
        while let Some(at) = rest.find(LINE_ENDS) {
            let (before, from) = rest.split_at(at);
            compact.write_string_fragment(writer, before)?;
            let mut following = from.chars();
            if let Some(end) = following.next() {
                write!(writer, "\\u{:04x}", u32::from(end))?;
            }
            rest = following.as_str();
        }
        compact.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    /// What Python's `str.splitlines` cuts at (Unicode's line ends and the separators of ASCII).
    const CUTS: &str = "\n\r\u{b}\u{c}\u{1c}\u{1d}\u{1e}\u{85}\u{2028}\u{2029}";

    #[test]
    fn no_line_end_of_any_kind_stands_in_a_line_and_the_text_is_the_same() {
        let every: String = (0..=0x2fff).filter_map(char::from_u32).collect();
        for text in [CUTS, &every, "", "\u{2028}", "a\u{85}", "\u{2029}b\u{2028}\u{2028}", "😀\u{7f}"] {
            let value = json!({ text: [text, {"a": text}] });
            for (write, name) in [(super::data as fn(&mut Vec<u8>, &Value) -> _, ""), (super::error, "event: error\n")]
            {
                let mut out = Vec::new();
                write(&mut out, &value).unwrap();
                let line = String::from_utf8(out).unwrap();
                let line =
                    line.strip_prefix(name).unwrap().strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
                assert!(!line.contains(|c| CUTS.contains(c)), "{line:?}");
                assert_eq!(serde_json::from_str::<Value>(line).unwrap(), value);
            }
        }
    }
}
