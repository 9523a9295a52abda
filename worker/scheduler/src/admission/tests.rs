//! Chats that cannot begin in time, and those of which nothing is known.
use super::{Admission, Ask, Line};
use crate::fair::Late;

fn learnt() -> Admission {
    let mut learnt = Admission::default();
    for call in 0..4 {
        learnt.prompts_ran(1_000, 500.0, call);
    }
    for answer in 0..20 {
        learnt.answered(2_000.0, answer);
    }
    learnt
}

#[test]
fn nobody_is_refused_for_what_is_not_known() {
    let line = Line { waiting: 1_000, places: 1 };
    assert_eq!(Admission::default().late(Ask { prompt: 100_000, allowed_ms: 1_000 }, line, 0), None);
    assert_eq!(
        learnt().late(Ask { prompt: 1_000, allowed_ms: 1_000 }, line, 100_000),
        None,
        "what was learnt is too old"
    );
}

#[test]
fn a_prompt_that_takes_longer_than_allowed_is_refused_with_a_size_that_fits() {
    let late =
        learnt().late(Ask { prompt: 1_000, allowed_ms: 400 }, Line::default(), 30).expect("half a second is too long");
    let Late::TooLarge { fits } = late else { panic!("{late:?}") };
    assert!((400..600).contains(&fits), "{fits}");
    assert_eq!(learnt().late(Ask { prompt: fits, allowed_ms: 400 }, Line::default(), 30), None);
}

#[test]
fn a_line_that_is_too_long_is_refused_with_the_time_to_come_back() {
    let line = |waiting| Line { waiting, places: 8 };
    assert_eq!(learnt().late(Ask { prompt: 100, allowed_ms: 30_000 }, line(100), 30), None, "25 s");
    let late = learnt().late(Ask { prompt: 100, allowed_ms: 30_000 }, line(200), 30).expect("50 s");
    let Late::Busy { retry_after_ms } = late else { panic!("{late:?}") };
    assert!((19_000..22_000).contains(&retry_after_ms), "{retry_after_ms}");
}
