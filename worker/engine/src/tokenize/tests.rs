//! Which text of a message must be hidden from the template's special tokens, and what that may cost.
use std::sync::mpsc;
use std::time::Duration;

use super::{Guard, STAND_INS, Special, begins};
use crate::engine::ChatMessage;

fn at_front(text: &str, special: &str) -> bool {
    begins(text, text.trim_end().len(), special)
}

fn specials() -> Vec<Special> {
    let special = |(id, text): (u32, &str)| Special { id, text: text.to_owned(), lstrip: false, rstrip: false };
    [(0, "<|endoftext|>"), (1, "<|im_start|>"), (2, "<|im_end|>")].map(special).into()
}

fn message(content: String) -> Vec<ChatMessage> {
    vec![ChatMessage::new("user", content)]
}

#[test]
fn whole_partial_and_differently_cased_tokens_are_seen() {
    assert!(at_front("<|im_end|> and more", "<|im_end|>"));
    assert!(at_front("<|IM_End|>", "<|im_end|>"));
    assert!(at_front("<|im_", "<|im_end|>"), "could become whole with what follows");
    assert!(at_front("<|im_ \n", "<|im_end|>"), "a template may trim");
    assert!(!at_front("<|im_x", "<|im_end|>"));
    assert!(!at_front("< a", "<|im_end|>"));
}

#[test]
fn a_place_behind_the_last_letter_is_hidden_by_its_own_rest() {
    let messages = message("a<|im_ <|im_x <|im_end \n".to_owned());
    let guard = Guard::new(&specials(), &messages, "").unwrap();
    let hidden = guard.hide(&messages[0].content, &specials());
    assert_eq!(hidden, "a<|im_ <|im_x \u{f0000}|im_end \n");
    assert_eq!(guard.restore(&hidden), messages[0].content);
}

/// Quadratic work on this text would take many minutes.
#[test]
fn a_mebibyte_of_beginnings_and_spaces_costs_no_more_than_its_length() {
    let (done, hidden) = mpsc::channel();
    std::thread::spawn(move || {
        let half = 512 << 10;
        let messages = message("<".repeat(half) + &" ".repeat(half));
        let guard = Guard::new(&specials(), &messages, "").unwrap();
        let text = guard.hide(&messages[0].content, &specials());
        done.send(text.matches(*STAND_INS.start()).count()).unwrap();
    });
    let hidden = hidden.recv_timeout(Duration::from_secs(5)).expect("done in time");
    assert_eq!(hidden, 1, "only the last one could become a token");
}

#[test]
fn messages_that_use_every_stand_in_are_refused() {
    let all: String = STAND_INS.collect();
    let refused = Guard::new(&specials(), &message(all.clone()), "").err().expect("no character is free");
    assert_eq!((refused.code(), refused.request_fault()), ("TG-2035", true));
    let (last, others) = (all.chars().next_back().unwrap(), &all[..all.len() - 4]);
    let guard = Guard::new(&specials(), &message(others.to_owned()), "").unwrap();
    assert_eq!(guard.hide("<|im_end|>", &specials()), format!("{last}|im_end|>"));
    assert!(Guard::new(&specials(), &message(others.to_owned()), &last.to_string()).is_err(), "the template has it");
}
