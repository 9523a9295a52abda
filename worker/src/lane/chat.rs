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
use tidegate_scheduler::{Config, Scheduler};

use super::{
    job::{Command, LaneShared, millis},
    row::{Row, show},
    watchdog::Watchdog,
};
use crate::error::RequestError;

/// How long the lane sleeps when every row waits for its client.
const STILL: Duration = Duration::from_millis(5);

/// One chat model and its requests.
pub struct ChatLane {
    pub engine: Box<dyn ChatEngine>,
    pub codec: Arc<dyn TextCodec>,
    pub commands: Receiver<Command>,
    pub shared: LaneShared,
    pub watchdog: Watchdog,
    /// Who waits, and who may run.
    pub(super) scheduler: Scheduler<Row>,
    pub(super) running: Vec<Row>,
    /// Running rows whose call was ended for another row's sake; prefilled again before anybody joins.
    pub(super) rebuild: Vec<Row>,
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
    pub shared: LaneShared,
    pub watchdog: Watchdog,
}

impl ChatLane {
    pub fn new(parts: ChatParts) -> Self {
        let ChatParts { engine, codec, commands, shared, watchdog } = parts;
        let scheduler = Scheduler::new(Config { max_requests: super::COMMANDS, max_batch: 1 });
        Self {
            engine,
            codec,
            commands,
            shared,
            watchdog,
            scheduler,
            running: Vec::new(),
            rebuild: Vec::new(),
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
            self.show(now);
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

    fn show(&self, now: Instant) {
        let load = self.scheduler.load(self.at(now));
        show(&self.shared, load.running, load.waiting);
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
            show(&self.shared, 0, 0);
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
        let load = self.scheduler.load(self.at(now));
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
                let (now, deadline) = (self.at(Instant::now()), self.at(job.clock.deadline));
                let row = Row::new(*job, self.codec.as_ref());
                // The queue's bound is kept where requests are admitted; the row dropped here would tell its client.
                if self.scheduler.push(row, Some(deadline), now).is_err() {
                    self.shared.metrics.bound_hit("lane");
                }
            }
            // The API gives embeddings to embedding lanes only; the dropped reply tells the caller.
            Command::Embed(_) => {}
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

    /// Waiting rows join, as many as there is room for.
    fn admit(&mut self, now: Instant) -> Result<(), EngineError> {
        let rebuilt = std::mem::take(&mut self.rebuild);
        if !rebuilt.is_empty() {
            self.prefill(rebuilt, now)?;
        }
        self.scheduler.configure(Config { max_requests: super::COMMANDS, max_batch: self.places() });
        let turn = self.scheduler.next(self.at(now));
        for expired in turn.expired {
            let ms = expired.request.job.clock.allowed_ms();
            expired.request.fail(RequestError::TimedOut { ms }, &self.shared);
        }
        let mut batch = Vec::with_capacity(turn.admitted.len());
        for admitted in turn.admitted {
            let mut row = admitted.request;
            row.ticket = admitted.ticket;
            if row.is_gone() {
                self.release(&row);
                row.abandon(&self.shared);
            } else {
                batch.push(row);
            }
        }
        let rows = self.rows();
        while !batch.is_empty() {
            let rest = batch.split_off(rows.min(batch.len()));
            self.prefill(std::mem::replace(&mut batch, rest), now)?;
        }
        Ok(())
    }

    fn fail_all(&mut self, error: &RequestError) {
        let waiting = self.scheduler.drain_waiting().into_iter().map(|(_, row)| row);
        let rows: Vec<Row> = self.running.drain(..).chain(self.rebuild.drain(..)).chain(waiting).collect();
        for row in rows {
            self.release(&row);
            row.fail(error.clone(), &self.shared);
        }
        show(&self.shared, 0, 0);
    }
}
