//! How often a failure that repeats is written.
use super::*;

#[test]
fn a_kind_is_written_at_once_and_then_every_ten_seconds_with_its_count() {
    let (quiet, start) = (Quiet::default(), Instant::now());
    let at = |ms| start + Duration::from_millis(ms);
    assert_eq!(quiet.due("unreachable", at(0)), Some(1));
    assert_eq!(quiet.due("unreachable", at(1)), None);
    assert_eq!(quiet.due("refused", at(2)), Some(1), "another kind has its own line");
    assert_eq!(quiet.due("unreachable", at(9_999)), None);
    assert_eq!(quiet.due("unreachable", at(10_000)), Some(3));
    assert_eq!(quiet.due("unreachable", at(10_001)), None);
}
