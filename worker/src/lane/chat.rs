//! The loop of a chat lane: one thread owns the engine; requests join and leave between two steps, so a long answer never
//! makes a short one wait for its end. Nothing here waits for a client: a row whose client does not read stands still.
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use tidegate_engine::{
    engine::{ChatEngine, TextCodec},
    error::EngineError,
};
use tidegate_scheduler::{Config, Line, Scheduler};

use super::{
    entry::ChatEntry,
    job::{Command, LaneShared, millis},
    row::{MAX_REBUILDS, Row, show},
    watchdog::Watchdog,
};
use crate::error::RequestError;

/// How long the lane sleeps when every row waits for its client.
const STILL: Duration = Duration::from_millis(5);

/// One chat model and its requests. The commands and the rows are dropped first: who has not begun need not wait for the end of
/// the engine to hear that another worker may take it.
pub struct ChatLane {
    pub commands: Receiver<Command>,
    /// Who waits, and who may run.
    pub(super) scheduler: Scheduler<Row>,
    pub(super) running: Vec<Row>,
    /// Running rows whose call was ended for another row's sake; prefilled again before anybody joins.
    pub(super) rebuild: Vec<Row>,
    pub engine: Box<dyn ChatEngine>,
    pub codec: Arc<dyn TextCodec>,
    pub(super) entry: Arc<ChatEntry>,
    pub shared: LaneShared,
    pub watchdog: Watchdog,
    epoch: Instant,
    drain: Option<Instant>,
    /// All handles are gone.
    closed: bool,
}

/// The parts of a lane before it runs.
pub struct ChatParts {
    pub engine: Box<dyn ChatEngine>,
    pub codec: Arc<dyn TextCodec>,
    pub commands: Receiver<Command>,
    pub entry: Arc<ChatEntry>,
    pub shared: LaneShared,
    pub watchdog: Watchdog,
}

impl ChatLane {
    pub fn new(parts: ChatParts) -> Self {
        let ChatParts { engine, codec, commands, entry, shared, watchdog } = parts;
        let scheduler = Scheduler::new(Config { max_requests: super::COMMANDS, max_batch: 1 });
        Self {
            commands,
            scheduler,
            running: Vec::new(),
            rebuild: Vec::new(),
            engine,
            codec,
            entry,
            shared,
            watchdog,
            epoch: Instant::now(),
            drain: None,
            closed: false,
        }
    }

    /// Runs until drained, or until the engine is broken (why).
    pub fn run(mut self) -> Result<(), String> {
        while self.receive() {
            let now = Instant::now();
            self.expire(now);
            let result = self.admit(now).and_then(|()| self.step());
            let load = self.scheduler.load();
            show(&self.shared, load.running);
            self.entry.line(Line { waiting: load.waiting, places: self.places() });
            if let Err(error) = result {
                self.fail_all(&RequestError::Engine { code: error.code() });
                return Err(format!("{}: {}", error.code(), error.report()));
            }
        }
        self.fail_all(&RequestError::Cut);
        Ok(())
    }

    fn at(&self, time: Instant) -> u64 {
        millis(time.saturating_duration_since(self.epoch))
    }

    /// Takes what has arrived; sleeps only when there is nothing to do. False when the lane is to end.
    fn receive(&mut self) -> bool {
        let now = Instant::now();
        if self.shared.deadline(self.drain).is_some_and(|deadline| now >= deadline)
            || (self.closed && self.scheduler.is_idle())
        {
            return false;
        }
        if self.scheduler.is_idle() {
            show(&self.shared, 0);
            self.watchdog.busy(false);
            let command = match self.drain {
                None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(deadline) => self.commands.recv_timeout(deadline.duration_since(now)),
            };
            match command {
                Ok(command) => self.accept(command),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
            self.watchdog.busy(true);
        } else if !self.closed && !self.running.is_empty() && self.all_still(now) {
            match self.commands.recv_timeout(STILL) {
                Ok(command) => self.accept(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.closed = true,
            }
        } else if self.closed && self.all_still(now) {
            std::thread::sleep(STILL);
        }
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.accept(command),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => {
                    self.closed = true;
                    return true;
                }
            }
        }
    }

    /// Nothing can be done before a client reads or a command comes.
    fn all_still(&mut self, now: Instant) -> bool {
        let load = self.scheduler.load();
        let can_join = load.waiting > 0 && load.running < self.places();
        self.rebuild.is_empty() && !can_join && self.running.iter_mut().all(|row| !row.can_send(now))
    }

    /// Requests that may be open: rows that stand still do not take the place of others, up to as many again.
    fn places(&self) -> usize {
        let still = self.running.iter().filter(|row| row.is_still()).count();
        self.rows() + still.min(self.rows())
    }

    pub(super) fn rows(&self) -> usize {
        self.shared.tuning.rows(self.engine.info().max_batch)
    }

    fn accept(&mut self, command: Command) {
        match command {
            Command::Chat(job) => {
                let deadline = self.at(job.clock.deadline);
                let row = Row::new(*job, self.codec.as_ref());
                // The queue's bound is kept where requests are admitted; the row dropped here would tell its client.
                if self.scheduler.push(row, Some(deadline)).is_err() {
                    self.shared.metrics.bound_hit("lane");
                }
            }
            // The API gives embeddings to embedding lanes only; the dropped reply tells the caller.
            Command::Embed(..) => {}
            Command::Drain(deadline) => self.drain = Some(self.drain.map_or(deadline, |old| old.min(deadline))),
        }
    }

    /// Ends running rows that are late, too slow, or whose client has gone.
    fn expire(&mut self, now: Instant) {
        let slow = self.shared.tuning.slow_client;
        let mut ended: Vec<Row> = Vec::new();
        let mut at = 0;
        while let Some(row) = self.running.get(at) {
            if row.is_gone() || row.overdue(now, slow).is_some() {
                ended.push(self.running.swap_remove(at))
            } else {
                at += 1
            }
        }
        for row in ended {
            self.release(&row);
            match row.overdue(now, slow) {
                Some(error) if !row.is_gone() => row.fail(error, &self.shared),
                Some(_) | None => row.abandon(&self.shared),
            }
        }
    }

    /// Frees what the row has in the engine and its place in the lane.
    pub(super) fn release(&mut self, row: &Row) {
        self.scheduler.finish(row.ticket);
        if let Some(sequence) = row.sequence {
            self.engine.release(sequence);
        }
    }

    /// Waiting rows join, as many as there is room for; those whose client has gone take none of it.
    fn admit(&mut self, now: Instant) -> Result<(), EngineError> {
        for row in self.scheduler.discard(Row::is_gone) {
            row.abandon(&self.shared);
        }
        let (alone, together): (Vec<Row>, Vec<Row>) =
            std::mem::take(&mut self.rebuild).into_iter().partition(|row| row.rebuilds >= MAX_REBUILDS);
        for row in alone {
            self.prefill(vec![row], now)?;
        }
        self.prefill_all(together, now)?;
        self.scheduler.configure(Config { max_requests: super::COMMANDS, max_batch: self.places() });
        let turn = self.scheduler.next(self.at(now));
        for row in turn.expired {
            let ms = row.job.clock.allowed_ms();
            row.fail(RequestError::TimedOut { ms }, &self.shared);
        }
        let joined = turn.admitted.into_iter().map(|admitted| {
            let mut row = admitted.request;
            row.ticket = admitted.ticket;
            row
        });
        self.prefill_all(joined.collect(), now)
    }

    /// Prefills in calls of as many rows as one may have.
    fn prefill_all(&mut self, mut rows: Vec<Row>, now: Instant) -> Result<(), EngineError> {
        let limit = self.rows();
        while !rows.is_empty() {
            let rest = rows.split_off(limit.min(rows.len()));
            self.prefill(std::mem::replace(&mut rows, rest), now)?;
        }
        Ok(())
    }

    /// Ends the rows that have begun. The others, here and still in the channel, may be taken by another worker: they are told so
    /// when they are dropped with the lane.
    fn fail_all(&mut self, error: &RequestError) {
        let rows: Vec<Row> = self.running.drain(..).chain(self.rebuild.drain(..)).collect();
        for row in rows {
            self.release(&row);
            row.fail(error.clone(), &self.shared);
        }
        show(&self.shared, 0);
    }
}
