//! What goes into a lane and what comes out. Plain data and channels; no decision is made here.
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tidegate_engine::sampling::SamplingParams;
use tidegate_scheduler::Ticket;
use tokio::sync::Notify;

use super::reply::{ChatOut, EmbedOut};
use crate::error::RequestError;

/// Events that may wait for a slow client; a row with a full channel stands still, the others go on.
pub const OUTPUT_EVENTS: usize = 64;

/// How long beyond its deadline an engine call may run before its lane counts as stuck.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// When a request came, and when its answer must be complete.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub accepted: Instant,
    pub deadline: Instant,
}

impl Clock {
    /// Starts now.
    pub fn start(timeout: Duration) -> Self {
        let accepted = Instant::now();
        Self { accepted, deadline: accepted + timeout }
    }

    /// When nobody waits for an answer any more: the lane ends late requests by itself, unless its engine cannot be stopped.
    pub fn give_up(&self) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.deadline + PATIENCE)
    }

    /// The whole time that was allowed, milliseconds.
    pub fn allowed_ms(&self) -> u64 {
        millis(self.deadline.duration_since(self.accepted))
    }
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One chat completion.
pub struct ChatJob {
    pub prompt: Vec<u32>,
    /// Tokens of the answer at most; prompt and answer fit the model.
    pub max_tokens: usize,
    pub sampling: SamplingParams,
    pub stop: Vec<String>,
    pub clock: Clock,
    /// Closed by the client's leaving: then the work stops between two steps.
    pub out: ChatOut,
    /// Parent of the engine's spans.
    pub span: tracing::Span,
    /// Open from now until the prefill begins.
    pub queued: tracing::Span,
}

/// One embeddings request.
pub struct EmbedJob {
    pub rows: Vec<Vec<u32>>,
    /// Who takes turns with whom.
    pub tenant: Option<Arc<str>>,
    pub clock: Clock,
    pub out: EmbedOut,
    pub span: tracing::Span,
    pub queued: tracing::Span,
}

/// The vectors of one request, in order.
#[derive(Debug)]
pub struct Embedded {
    pub vectors: Vec<Vec<f32>>,
    pub timing: Timing,
}

/// How long the first parts of a request took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timing {
    pub queue: Duration,
    /// Prefill of a chat, all runs of an embedding.
    pub engine: Duration,
}

/// What a chat completion sends, in this order: one `Started`, any number of `Text`, then `Done` or `Failed`.
#[derive(Debug)]
pub enum Event {
    /// The prefill succeeded; from here on a 200 may be sent.
    Started(Timing),
    Text(String),
    Done {
        finish: Finish,
        completion_tokens: usize,
    },
    Failed(RequestError),
}

/// Why an answer ended well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    Stop,
    Length,
}

impl Finish {
    /// The OpenAI `finish_reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// What a lane is told.
pub enum Command {
    Chat(Box<ChatJob>),
    /// With its place among those who take turns.
    Embed(Ticket, Box<EmbedJob>),
    /// Finish what is here and what still arrives until all handles are gone, but not longer than this.
    Drain(Instant),
}

/// Numbers that a lane shares with the outside; may change while it runs.
#[derive(Debug)]
pub struct Tuning {
    /// Rows in one step; the engine's own bound holds as well.
    pub max_batch: AtomicU32,
    /// Longest wait for a batch of embeddings to fill.
    pub max_delay_ms: AtomicU64,
    /// How long a row may stand still because its client does not read.
    pub slow_client: Duration,
}

impl Tuning {
    pub fn rows(&self, engine: usize) -> usize {
        let wanted = usize::try_from(self.max_batch.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        wanted.clamp(1, engine.max(1))
    }

    pub fn max_delay(&self) -> Duration {
        Duration::from_millis(self.max_delay_ms.load(Ordering::Relaxed))
    }
}

/// What a lane is doing now.
#[derive(Default, Debug)]
pub struct LaneStats {
    pub running: AtomicU32,
    /// An engine call runs on although it was told to stop; set and cleared by the lane's watchdog.
    pub stuck: AtomicBool,
}

impl LaneStats {
    /// Whether requests would only wait here.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }
}

/// Shared by the lane and its handle.
#[derive(Clone)]
pub struct LaneShared {
    pub stats: Arc<LaneStats>,
    pub tuning: Arc<Tuning>,
    pub metrics: Arc<crate::telemetry::Metrics>,
    /// Told when a lane becomes stuck, and when it no longer is.
    pub stuck_changed: Arc<Notify>,
    /// Set once, when the process shuts down: what still runs then is cut.
    pub stop_at: Arc<OnceLock<Instant>>,
}

impl LaneShared {
    /// The earlier of a drain's deadline and the shutdown's.
    pub fn deadline(&self, drain: Option<Instant>) -> Option<Instant> {
        let stop = self.stop_at.get().copied();
        drain.map_or(stop, |drain| Some(stop.map_or(drain, |stop| stop.min(drain))))
    }
}
