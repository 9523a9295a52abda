//! Whether a chat can begin to be answered in time: its prompt must be run, and those before it must make place. How long an answer
//! gets is not known before, so nobody is refused for the tokens that he asks for. Pure: times are arguments.
use crate::fair::{ADVISE, Late, REFUSE};
use crate::pace::Pace;

/// Weight of the newest answer in the mean.
const NEWEST: f64 = 0.1;
/// Answers before their mean counts.
const ANSWERS: u32 = 16;
/// The mean counts for so long after the last answer.
const FRESH_MS: u64 = 60_000;

/// What a new chat asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Tokens of its prompt.
    pub prompt: usize,
    /// From now.
    pub allowed_ms: u64,
}

/// Who is before a new request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Line {
    pub waiting: usize,
    /// Requests that run at a time.
    pub places: usize,
}

/// What was learnt from the chats of a lane.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    prompts: Pace,
    answer_ms: f64,
    answers: u32,
    last_ms: u64,
}

impl Admission {
    /// A call over prompts, padded to `tokens` together, ended at `now` after `ms`.
    pub fn prompts_ran(&mut self, tokens: usize, ms: f64, now: u64) {
        self.prompts.record(tokens as u64, ms, now);
    }

    /// Such a call was ended after `ms`.
    pub fn prompts_ended(&mut self, tokens: usize, ms: f64, now: u64) {
        self.prompts.record_ended(tokens as u64, ms, now);
    }

    /// An answer ended at `now`, `ms` after its prompt began.
    pub fn answered(&mut self, ms: f64, now: u64) {
        if self.answers == 0 || now.saturating_sub(self.last_ms) > FRESH_MS {
            (self.answer_ms, self.answers) = (ms, 0);
        }
        self.answer_ms += NEWEST * (ms - self.answer_ms);
        self.answers = self.answers.saturating_add(1);
        self.last_ms = now;
    }

    /// Prompt tokens in a second, as measured lately.
    pub fn tokens_per_second(&self, now: u64) -> Option<f64> {
        self.prompts.units_per_ms(now).map(|units| units * 1_000.0)
    }

    /// Why a chat cannot begin in time; None when it can, or when that is not known.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn late(&self, ask: Ask, line: Line, now: u64) -> Option<Late> {
        let Ask { prompt, allowed_ms } = ask;
        let allowed = allowed_ms as f64;
        let ran =
            |tokens: usize| self.prompts.call(tokens as u64, now).filter(|call| call.firm).map_or(0.0, |call| call.ms);
        if ran(prompt) > allowed * REFUSE {
            let (mut good, mut bad) = (0, prompt);
            while bad - good > 1 {
                let middle = good.midpoint(bad);
                if ran(middle) <= allowed * ADVISE { good = middle } else { bad = middle }
            }
            return Some(Late::TooLarge { fits: good });
        }
        let known = self.answers >= ANSWERS && now.saturating_sub(self.last_ms) <= FRESH_MS;
        let wait = if known { self.answer_ms * line.waiting as f64 / line.places.max(1) as f64 } else { 0.0 };
        let needed = wait + ran(prompt);
        (needed > allowed * REFUSE).then(|| Late::Busy { retry_after_ms: (needed - allowed).max(1.0) as u64 })
    }
}

#[cfg(test)]
mod tests;
