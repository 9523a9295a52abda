//! One sequence of a chat lane: from logits to events. Knows one request and no engine.
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tidegate_engine::{
    engine::{SequenceId, TextCodec, TokenDecoder},
    error::EngineError,
    sampling::Sampler,
};
use tidegate_scheduler::Ticket;

use super::{
    job::{ChatJob, Event, Finish, LaneShared, Timing, millis},
    stop::StopFilter,
};
use crate::error::RequestError;

/// Events that one step can send, the last one included; with less room a row stands still.
const STEP_EVENTS: usize = 4;
/// How often in a row a request may be prefilled again without a token gained, after calls were ended for others' sake; the last
/// time it is alone in its call.
pub const MAX_REBUILDS: u32 = 3;

/// A request in a lane, waiting (no sequence yet) or running.
pub struct Row {
    pub job: ChatJob,
    pub sequence: Option<SequenceId>,
    /// Its place in the scheduler, once it has one.
    pub ticket: Ticket,
    /// Tokens of the answer so far; the last one is fed next.
    pub generated: Vec<u32>,
    /// Since the last token.
    pub rebuilds: u32,
    decoder: Box<dyn TokenDecoder>,
    stop: StopFilter,
    sampler: Sampler,
    /// Since when the client has not read.
    still_since: Option<Instant>,
    timing: Timing,
    started: bool,
    decode_span: tracing::Span,
}

/// Whether a row goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    Going,
    Ended,
}

impl Row {
    pub fn new(mut job: ChatJob, codec: &dyn TextCodec) -> Self {
        let sampler = Sampler::new(job.sampling);
        let stop = StopFilter::new(std::mem::take(&mut job.stop));
        Self {
            job,
            sequence: None,
            ticket: Ticket(u64::MAX),
            generated: Vec::new(),
            rebuilds: 0,
            decoder: codec.decoder(),
            stop,
            sampler,
            still_since: None,
            timing: Timing::default(),
            started: false,
            decode_span: tracing::Span::none(),
        }
    }

    /// What the next prefill runs: the prompt, and what was already answered if this is not the first.
    pub fn prefix(&self) -> Vec<u32> {
        let mut tokens = self.job.prompt.clone();
        tokens.extend_from_slice(&self.generated);
        tokens
    }

    /// Whether its client does not read at the moment.
    pub fn is_still(&self) -> bool {
        self.still_since.is_some()
    }

    /// Whether the client has gone.
    pub fn is_gone(&self) -> bool {
        self.job.out.is_closed()
    }

    /// Whether there is room for what a step may send; remembers since when there is not.
    pub fn can_send(&mut self, now: Instant) -> bool {
        let room = self.job.out.room() >= STEP_EVENTS;
        if room {
            self.still_since = None;
        } else {
            self.still_since.get_or_insert(now);
        }
        room
    }

    /// Why this row must end before its next step.
    pub fn overdue(&self, now: Instant, slow_client: Duration) -> Option<RequestError> {
        if now >= self.job.clock.deadline {
            return Some(RequestError::TimedOut { ms: self.job.clock.allowed_ms() });
        }
        let still = self.still_since.is_some_and(|since| now.duration_since(since) >= slow_client);
        still.then(|| RequestError::SlowClient { ms: millis(slow_client) })
    }

    /// Since its prefill began.
    pub fn ran(&self) -> Duration {
        self.job.clock.accepted.elapsed().saturating_sub(self.timing.queue)
    }

    /// The prefill begins.
    pub fn leave_queue(&mut self, now: Instant) {
        self.job.out.begin();
        if !self.started {
            self.timing.queue = now.duration_since(self.job.clock.accepted);
            self.job.queued = tracing::Span::none();
        }
    }

    /// The prefill succeeded.
    pub fn begin(&mut self, sequence: SequenceId, took: Duration, shared: &LaneShared) {
        self.sequence = Some(sequence);
        if !self.started {
            self.started = true;
            self.timing.engine = took;
            shared.metrics.prefill(self.timing, self.job.prompt.len());
            self.decode_span =
                tracing::debug_span!(parent: &self.job.span, "engine.decode", tokens = tracing::field::Empty);
            self.job.out.send(Event::Started(self.timing));
        }
    }

    /// Chooses the next token and sends what became certain.
    pub fn advance(&mut self, logits: &[f32], eos: &[u32]) -> Result<Progress, EngineError> {
        let token = self.sampler.pick(logits)?;
        if eos.contains(&token) {
            return self.end(Finish::Stop);
        }
        self.generated.push(token);
        self.rebuilds = 0;
        let piece = self.decoder.push(token)?;
        let passed = self.stop.push(piece);
        self.send_text(passed.text);
        if passed.stopped {
            self.done(Finish::Stop);
            return Ok(Progress::Ended);
        }
        if self.generated.len() >= self.job.max_tokens {
            return self.end(Finish::Length);
        }
        Ok(Progress::Going)
    }

    fn end(&mut self, finish: Finish) -> Result<Progress, EngineError> {
        let tail = self.decoder.finish()?;
        let passed = self.stop.push(tail);
        self.send_text(passed.text);
        if passed.stopped {
            self.done(Finish::Stop);
        } else {
            let held = self.stop.finish();
            self.send_text(held);
            self.done(finish);
        }
        Ok(Progress::Ended)
    }

    fn done(&mut self, finish: Finish) {
        self.decode_span.record("tokens", self.generated.len());
        self.job.out.end(Event::Done { finish, completion_tokens: self.generated.len() });
    }

    fn send_text(&self, text: String) {
        if !text.is_empty() {
            self.job.out.send(Event::Text(text));
        }
    }

    /// Ends the row with an error.
    pub fn fail(self, error: RequestError, shared: &LaneShared) {
        shared.metrics.wasted(self.generated.len());
        self.job.out.end(Event::Failed(error));
    }

    /// Ends a row whose client has gone.
    pub fn abandon(self, shared: &LaneShared) {
        shared.metrics.cancelled(self.generated.len());
    }
}

/// Publishes how many rows run.
pub fn show(shared: &LaneShared, running: usize) {
    shared.stats.running.store(u32::try_from(running).unwrap_or(u32::MAX), Ordering::Relaxed);
}
