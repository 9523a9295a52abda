//! A lane: one operating-system thread that owns one loaded version and runs its requests. Handles are cheap to clone; the
//! lane ends when it was drained, when its deadline came, or when its engine broke. Never blocks the async runtime.
mod chat;
mod chat_calls;
mod embed;
mod entry;
pub mod job;
pub mod reply;
mod row;
mod stop;
mod watchdog;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    time::Instant,
};

use tidegate_engine::engine::{LoadedModel, ModelEngine, TextCodec};

use self::{
    chat::{ChatLane, ChatParts},
    embed::EmbedLane,
    entry::{ChatEntry, EmbedEntry},
    job::{ChatJob, Command, EmbedJob, LaneShared, LaneStats},
    watchdog::Watchdog,
};
use crate::error::{RequestError, WorkerError};

/// Commands that may wait for the lane's thread; as many as a pool's queue can be.
const COMMANDS: usize = 10_000;

/// What a version can do, as the API needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Abilities {
    /// Prompt and answer together have at most so many tokens.
    Chat { max_sequence: usize },
    Embedding {
        max_sequence: usize,
        dimensions: usize,
        /// Token ids are below this.
        vocab_size: usize,
    },
}

/// Where requests are refused that cannot end in time.
#[derive(Clone)]
enum Entry {
    Chat(Arc<ChatEntry>),
    Embed(Arc<EmbedEntry>),
}

/// Sends work to a lane. When all handles are gone, a lane that was told to drain ends as soon as its work is done.
#[derive(Clone)]
pub struct LaneHandle {
    commands: SyncSender<Command>,
    entry: Entry,
    pub codec: Arc<dyn TextCodec>,
    pub abilities: Abilities,
    pub stats: Arc<LaneStats>,
}

impl LaneHandle {
    /// Puts a chat in the queue, unless it cannot begin in time; never waits.
    pub fn chat(&self, job: ChatJob) -> Result<(), RequestError> {
        match &self.entry {
            Entry::Chat(entry) => entry.enter(&job)?,
            // The API gives chats to chat lanes only.
            Entry::Embed(_) => return Err(RequestError::NotReady),
        }
        self.send(Command::Chat(Box::new(job)))
    }

    /// Puts an embeddings request among the others, unless it cannot end in time; never waits.
    pub fn embed(&self, job: EmbedJob) -> Result<(), RequestError> {
        // The API gives embeddings to embedding lanes only.
        let Entry::Embed(entry) = &self.entry else { return Err(RequestError::NotReady) };
        let ticket = entry.enter(&job)?;
        self.send(Command::Embed(ticket, Box::new(job))).inspect_err(|_| entry.turns().remove(ticket))
    }

    /// No deadline later than this one counts any more. A lane that is gone needs no telling.
    pub fn drain(&self, deadline: Instant) {
        let _ = self.commands.try_send(Command::Drain(deadline));
    }

    fn send(&self, command: Command) -> Result<(), RequestError> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => RequestError::QueueFull { max: COMMANDS },
            // It had not begun here.
            TrySendError::Disconnected(_) => RequestError::Draining,
        })
    }
}

/// Starts the lane's thread. `on_end` is called once, after the model was dropped: None after a drain, else why it broke.
pub fn start(
    model: LoadedModel,
    shared: LaneShared,
    on_end: impl FnOnce(Option<String>) + Send + 'static,
) -> Result<LaneHandle, WorkerError> {
    let (commands, inbox) = sync_channel(COMMANDS);
    let name = format!("lane-{}", model.version);
    let codec = model.tokenizer.clone();
    let stats = shared.stats.clone();
    let metrics = shared.metrics.clone();
    let (terminator, abilities, entry) = match &model.engine {
        ModelEngine::Chat(engine) => {
            let abilities = Abilities::Chat { max_sequence: engine.info().max_sequence };
            (engine.terminator(), abilities, Entry::Chat(Arc::new(ChatEntry::new(metrics))))
        }
        ModelEngine::Embedding(engine) => {
            let abilities = Abilities::Embedding {
                max_sequence: engine.max_sequence(),
                dimensions: engine.dimensions(),
                vocab_size: engine.vocab_size(),
            };
            let limit = shared.tuning.rows(engine.max_batch());
            let entry = EmbedEntry::new(limit, &model.measured, metrics);
            (engine.terminator(), abilities, Entry::Embed(Arc::new(entry)))
        }
    };
    let door = entry.clone();
    let watchdog =
        Watchdog::start(&format!("watch-{}", model.version), terminator, &shared).map_err(WorkerError::Thread)?;
    let body = move || {
        let run = AssertUnwindSafe(move || match (model.engine, door) {
            (ModelEngine::Chat(engine), Entry::Chat(entry)) => {
                let codec = model.tokenizer;
                ChatLane::new(ChatParts { engine, codec, commands: inbox, entry, shared, watchdog }).run()
            }
            (ModelEngine::Embedding(engine), Entry::Embed(entry)) => {
                EmbedLane::new(engine, (inbox, entry), shared, watchdog).run()
            }
            (ModelEngine::Chat(_), Entry::Embed(_)) | (ModelEngine::Embedding(_), Entry::Chat(_)) => {
                Err("the lane has the door of another task".to_owned())
            }
        });
        let ended = catch_unwind(run).unwrap_or_else(|_| Err("the lane's thread panicked".to_owned()));
        on_end(ended.err());
    };
    std::thread::Builder::new().name(name).spawn(body).map_err(WorkerError::Thread)?;
    Ok(LaneHandle { commands, entry, codec, abilities, stats })
}
