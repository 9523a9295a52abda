//! Cuts an answer at a stop text. Pure. Text that could still become a stop text is held back, so no part of one is ever sent.

/// Watches the text of one answer.
#[derive(Debug)]
pub struct StopFilter {
    stops: Vec<String>,
    held: String,
}

/// What a piece of text led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Passed {
    /// Certain not to be part of a stop text.
    pub text: String,
    /// A stop text was found; nothing after it counts.
    pub stopped: bool,
}

impl StopFilter {
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: String) -> Passed {
        if self.stops.is_empty() {
            return Passed { text: piece, stopped: false };
        }
        self.held.push_str(&piece);
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = first {
            let text = self.held.get(..at).unwrap_or_default().to_owned();
            self.held.clear();
            return Passed { text, stopped: true };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let cut = self.held.len() - keep;
        let rest = self.held.split_off(cut);
        Passed { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// What was held back, when the answer ends without a stop text.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` that are a beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = stop.len().saturating_sub(1).min(text.len());
    (1..=longest)
        .rev()
        .find(|&n| {
            text.is_char_boundary(text.len() - n) && stop.as_bytes().starts_with(&text.as_bytes()[text.len() - n..])
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::StopFilter;

    fn check(stops: &[&str], pieces: &[&str], expect: &str, stopped: bool) {
        let mut filter = StopFilter::new(stops.iter().map(|s| (*s).to_owned()).collect());
        let (mut out, mut hit) = (String::new(), false);
        for piece in pieces {
            let passed = filter.push((*piece).to_owned());
            out.push_str(&passed.text);
            if passed.stopped {
                hit = true;
                break;
            }
        }
        if !hit {
            out.push_str(&filter.finish());
        }
        assert_eq!((out.as_str(), hit), (expect, stopped), "{stops:?} {pieces:?}");
    }

    #[test]
    fn an_answer_ends_before_the_first_stop_text_however_it_is_cut() {
        check(&[], &["a", "b"], "ab", false);
        check(&["END"], &["one E", "N", "D two"], "one ", true);
        check(&["END"], &["one E", "N", "ough"], "one ENough", false);
        check(&["aab"], &["a", "a", "a", "b"], "a", true);
        check(&["b", "ab"], &["xab"], "x", true);
        check(&["é!"], &["caf", "é", "?"], "café?", false);
        check(&["é!"], &["caf", "é", "!"], "caf", true);
    }

    #[test]
    fn every_way_to_cut_a_text_gives_the_same_answer() {
        let text = "the sea, the seal, the sealed é letter";
        let chars: Vec<char> = text.chars().collect();
        for mask in 0..1_u32 << 12 {
            let mut pieces = vec![String::new()];
            for (i, c) in chars.iter().enumerate() {
                if mask >> (i % 12) & 1 == 1 {
                    pieces.push(String::new());
                }
                pieces.last_mut().unwrap().push(*c);
            }
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            check(&["sealed", "é l"], &pieces, "the sea, the seal, the ", true);
        }
    }
}
