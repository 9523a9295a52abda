//! Which text of a message must be hidden from the template's special tokens.
use super::begins;

#[test]
fn whole_partial_and_differently_cased_tokens_are_seen() {
    assert!(begins("<|im_end|> and more", "<|im_end|>"));
    assert!(begins("<|IM_End|>", "<|im_end|>"));
    assert!(begins("<|im_", "<|im_end|>"), "could become whole with what follows");
    assert!(begins("<|im_ \n", "<|im_end|>"), "a template may trim");
    assert!(!begins("<|im_x", "<|im_end|>"));
    assert!(!begins("< a", "<|im_end|>"));
}
