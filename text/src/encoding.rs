//! Bytes to text. A byte order mark is taken off; what is not UTF-8 is named, with the remedy.
use crate::Mistake;

const REMEDY: &str = "save it as UTF-8 (in PowerShell: `Set-Content -Encoding utf8`)";

/// The text of a file or body: UTF-8, with or without a byte order mark, and without NUL.
///
/// # Errors
/// UTF-16 and UTF-32 by name, and where other bytes stop being UTF-8.
pub fn decode(bytes: &[u8]) -> Result<&str, Mistake> {
    if let Some(name) = other_encoding(bytes) {
        return Err(Mistake::new(format!("the text is {name}, not UTF-8; {REMEDY}")));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let (line, column) = place(bytes, e.valid_up_to());
        let byte = bytes.get(e.valid_up_to()).copied().unwrap_or_default();
        Mistake::at(line, column, format!("the byte 0x{byte:02x} is not UTF-8; {REMEDY}"))
    })?;
    match text.find('\0') {
        Some(at) => {
            let (line, column) = place(bytes, at);
            Err(Mistake::at(line, column, "there is a NUL character; this is not a text file, or it is damaged"))
        }
        None => Ok(text),
    }
}

/// The name of an encoding that is not ours: by its mark, or by where its zeros stand in ASCII text.
fn other_encoding(bytes: &[u8]) -> Option<&'static str> {
    let zeros = |pattern: [bool; 4]| {
        let whole = bytes.len() >= 4 && bytes.len().is_multiple_of(4);
        whole && bytes.iter().take(64).enumerate().all(|(i, b)| (*b == 0) == pattern[i % 4])
    };
    let pairs = |pattern: [bool; 2]| {
        let whole = bytes.len() >= 2 && bytes.len().is_multiple_of(2);
        let head = || bytes.iter().take(64).enumerate();
        // Text beyond ASCII has fewer zeros: a quarter of one side is enough, with none on the other.
        let on = head().filter(|(i, b)| pattern[i % 2] && **b == 0).count();
        let off = head().any(|(i, b)| !pattern[i % 2] && *b == 0);
        whole && !off && on * 8 >= head().count()
    };
    match bytes {
        [0xff, 0xfe, 0, 0, ..] => Some("UTF-32 (little-endian)"),
        [0, 0, 0xfe, 0xff, ..] => Some("UTF-32 (big-endian)"),
        [0xff, 0xfe, ..] => Some("UTF-16 (little-endian)"),
        [0xfe, 0xff, ..] => Some("UTF-16 (big-endian)"),
        _ if zeros([false, true, true, true]) => Some("UTF-32 (little-endian)"),
        _ if zeros([true, true, true, false]) => Some("UTF-32 (big-endian)"),
        _ if pairs([false, true]) => Some("UTF-16 (little-endian)"),
        _ if pairs([true, false]) => Some("UTF-16 (big-endian)"),
        [0x1f, 0x8b, ..] => Some("compressed by gzip"),
        _ => None,
    }
}

/// Line and column, from 1, of a byte.
fn place(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = &bytes[..at.min(bytes.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    (line, column)
}
