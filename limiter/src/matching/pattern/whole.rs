//! A regular expression that matches whole values and is built when it is first asked, so that compiling thousands of
//! policies builds none. All clones share the one that was built.
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use regex::bytes::{Regex, RegexBuilder};

/// Built from text that this crate printed; see [`super::Pattern`].
#[derive(Clone)]
pub struct WholeRegex {
    text: Arc<str>,
    built: Arc<OnceLock<Option<Regex>>>,
}

impl WholeRegex {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.into(), built: Arc::default() }
    }

    /// Whether the whole of `value` matches.
    pub fn is_match(&self, value: &[u8]) -> bool {
        self.get().is_some_and(|regex| regex.is_match(value))
    }

    /// Builds it now. `None` if it is too large, which the limit on the program's size rules out.
    pub(super) fn get(&self) -> Option<&Regex> {
        let build = || {
            let mut builder = RegexBuilder::new(&format!(r"\A(?:{})\z", self.text));
            builder.unicode(false).size_limit(1 << 20).dfa_size_limit(1 << 20).build().ok()
        };
        self.built.get_or_init(build).as_ref()
    }
}

impl fmt::Debug for WholeRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WholeRegex").field(&self.text).finish()
    }
}
