//! Characters come out whole, whatever the pieces.
use super::Utf8Buffer;

fn in_pieces(bytes: &[u8], size: usize) -> Vec<String> {
    let mut buffer = Utf8Buffer::default();
    let mut out: Vec<String> = bytes.chunks(size).map(|piece| buffer.push(piece)).collect();
    out.push(buffer.finish());
    out
}

#[test]
fn any_chunking_gives_the_same_text() {
    let text = "aé漢🦀z";
    for size in 1..=text.len() {
        assert_eq!(in_pieces(text.as_bytes(), size).concat(), text);
    }
}

#[test]
fn half_a_character_is_held_back() {
    let mut buffer = Utf8Buffer::default();
    assert_eq!(buffer.push(&"🦀".as_bytes()[..3]), "");
    assert_eq!(buffer.push(&"🦀".as_bytes()[3..]), "🦀");
    assert_eq!(buffer.finish(), "");
}

#[test]
fn an_unfinished_or_impossible_character_becomes_the_replacement() {
    assert_eq!(in_pieces(b"a\xf0\x9f", 1).concat(), "a\u{fffd}");
    assert_eq!(in_pieces(b"a\xffb", 1).concat(), "a\u{fffd}b");
}
