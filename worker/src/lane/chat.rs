//! The loop of a chat lane: one thread owns the engine; requests join and leave between two steps, so a long answer never
//! makes a short one wait for its end. Nothing here waits for a client: a row whose client does not read stands still.
use std::{
    collections::VecDeque,
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

use super::{
    job::{Command, LaneShared},
    row::{MAX_REBUILDS, Progress, Row, show},
    watchdog::Watchdog,
};
use crate::error::RequestError;

/// An engine call may last this long, whatever the deadline of its most impatient row.
const SHORTEST_CALL: Duration = Duration::from_millis(100);
/// How long the lane sleeps when every row waits for its client.
const STILL: Duration = Duration::from_millis(5);

/// One chat model and its requests.
pub struct ChatLane {
    pub engine: Box<dyn ChatEngine>,
    pub codec: Arc<dyn TextCodec>,
    pub commands: Receiver<Command>,
    pub shared: LaneShared,
    pub watchdog: Watchdog,
    waiting: VecDeque<Row>,
    running: Vec<Row>,
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
        let (waiting, running) = (VecDeque::new(), Vec::new());
        Self { engine, codec, commands, shared, watchdog, waiting, running, drain: None, closed: false }
    }

    /// Runs until drained, or until the engine is broken (why).
    pub fn run(mut self) -> Result<(), String> {
        while self.receive() {
            let now = Instant::now();
            self.expire(now);
            let result = self.admit(now).and_then(|()| self.step());
            show(&self.shared, self.running.len(), self.waiting.len());
            if let Err(error) = result {
                self.fail_all(&RequestError::Engine { code: error.code() });
                return Err(format!("{}: {}", error.code(), error.report()));
            }
        }
        self.fail_all(&RequestError::Cut);
        Ok(())
    }

    fn idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Takes what has arrived; sleeps only when there is nothing to do. False when the lane is to end.
    fn receive(&mut self) -> bool {
        let now = Instant::now();
        if self.shared.deadline(self.drain).is_some_and(|deadline| now >= deadline) || (self.closed && self.idle()) {
            return false;
        }
        if self.idle() {
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

    fn all_still(&mut self, now: Instant) -> bool {
        let room = self.running.len() < self.rows();
        let can_join = room && !self.waiting.is_empty();
        !can_join && self.running.iter_mut().all(|row| !row.can_send(now))
    }

    fn rows(&self) -> usize {
        self.shared.tuning.rows(self.engine.info().max_batch)
    }

    fn accept(&mut self, command: Command) {
        match command {
            Command::Chat(job) => self.waiting.push_back(Row::new(*job, self.codec.as_ref())),
            // The API gives embeddings to embedding lanes only; the dropped reply tells the caller.
            Command::Embed(_) => {}
            Command::Drain(deadline) => self.drain = Some(self.drain.map_or(deadline, |old| old.min(deadline))),
        }
    }

    /// Ends rows that are late, too slow, or whose client has gone.
    fn expire(&mut self, now: Instant) {
        let slow = self.shared.tuning.slow_client;
        let must_end = |row: &Row| row.is_gone() || row.overdue(now, slow).is_some();
        let mut ended: Vec<Row> = Vec::new();
        let mut at = 0;
        while at < self.running.len() {
            if must_end(&self.running[at]) { ended.push(self.running.swap_remove(at)) } else { at += 1 }
        }
        if self.waiting.iter().any(must_end) {
            let (late, kept): (Vec<Row>, Vec<Row>) = self.waiting.drain(..).partition(must_end);
            self.waiting = kept.into();
            ended.extend(late);
        }
        for row in ended {
            self.release(&row);
            match row.overdue(now, slow) {
                Some(error) if !row.is_gone() => row.fail(error, &self.shared),
                Some(_) | None => row.abandon(&self.shared),
            }
        }
    }

    fn release(&mut self, row: &Row) {
        if let Some(sequence) = row.sequence {
            self.engine.release(sequence);
        }
    }

    /// When a call over these rows is ended.
    fn until(rows: &[Row]) -> Instant {
        let soonest = Instant::now() + SHORTEST_CALL;
        rows.iter().map(|row| row.job.clock.deadline).min().map_or(soonest, |deadline| deadline.max(soonest))
    }

    /// Waiting rows join, as many as there is room for.
    fn admit(&mut self, now: Instant) -> Result<(), EngineError> {
        let room = self.rows().saturating_sub(self.running.len());
        let batch: Vec<Row> = self.waiting.drain(..room.min(self.waiting.len())).collect();
        if batch.is_empty() { Ok(()) } else { self.prefill(batch, now) }
    }

    fn prefill(&mut self, mut batch: Vec<Row>, now: Instant) -> Result<(), EngineError> {
        for row in &mut batch {
            row.leave_queue(now);
        }
        let prompts: Vec<Vec<u32>> = batch.iter().map(Row::prefix).collect();
        let spans: Vec<tracing::Span> = batch
            .iter()
            .map(|row| tracing::debug_span!(parent: &row.job.span, "engine.prefill", rows = batch.len(), tokens = row.job.prompt.len()))
            .collect();
        let begun = Instant::now();
        let result = self.watchdog.guard(Self::until(&batch), || self.engine.prefill(&prompts));
        drop(spans);
        let took = begun.elapsed();
        match result {
            Ok(answers) => {
                let eos = self.engine.info().eos_token_ids.clone();
                for (mut row, (sequence, logits)) in batch.into_iter().zip(answers) {
                    row.begin(sequence, took, &self.shared);
                    let progress = row.advance(&logits, &eos);
                    self.settle(row, progress);
                }
                Ok(())
            }
            Err(error) if error.terminated() => {
                self.after_stop(batch);
                Ok(())
            }
            // One bad prompt must not fail its neighbours: each alone.
            Err(_) if batch.len() > 1 => batch.into_iter().try_for_each(|row| self.prefill(vec![row], now)),
            Err(error) => self.after_failure(batch, error),
        }
    }

    /// One token for every row whose client keeps up.
    fn step(&mut self) -> Result<(), EngineError> {
        let now = Instant::now();
        let limit = self.rows();
        let (mut ready, still): (Vec<Row>, Vec<Row>) =
            std::mem::take(&mut self.running).into_iter().partition(|row| row.sequence.is_some());
        self.running = still;
        let mut stepped = Vec::new();
        for mut row in ready.drain(..) {
            if stepped.len() < limit && row.can_send(now) { stepped.push(row) } else { self.running.push(row) }
        }
        if stepped.is_empty() {
            return Ok(());
        }
        let input: Vec<_> = stepped
            .iter()
            .filter_map(|row| Some((row.sequence?, row.generated.last().copied()?)))
            .collect();
        let begun = Instant::now();
        let result = self.watchdog.guard(Self::until(&stepped), || self.engine.step(&input));
        match result {
            Ok(answers) => {
                self.shared.metrics.step(begun.elapsed(), stepped.len());
                let eos = self.engine.info().eos_token_ids.clone();
                for (mut row, logits) in stepped.into_iter().zip(answers) {
                    let progress = row.advance(&logits, &eos);
                    self.settle(row, progress);
                }
                Ok(())
            }
            Err(error) if error.terminated() => {
                self.after_stop(stepped);
                Ok(())
            }
            Err(error) => self.after_failure(stepped, error),
        }
    }

    fn settle(&mut self, row: Row, progress: Result<Progress, EngineError>) {
        match progress {
            Ok(Progress::Going) => self.running.push(row),
            Ok(Progress::Ended) => {
                self.release(&row);
                self.shared.metrics.completed(row.generated.len());
            }
            Err(error) => {
                self.release(&row);
                row.fail(RequestError::Engine { code: error.code() }, &self.shared);
            }
        }
    }

    /// A call was ended because a row was late: that row times out, the others are prefilled again.
    fn after_stop(&mut self, rows: Vec<Row>) {
        let now = Instant::now();
        for mut row in rows {
            self.release(&row);
            row.sequence = None;
            row.rebuilds += 1;
            if let Some(error) = row.overdue(now, self.shared.tuning.slow_client) {
                row.fail(error, &self.shared);
            } else if row.rebuilds > MAX_REBUILDS {
                row.fail(RequestError::Engine { code: EngineError::Terminated.code() }, &self.shared);
            } else {
                self.waiting.push_front(row);
            }
        }
    }

    /// A call failed: its requests get an error; the lane goes on if the engine still answers a trivial prompt.
    fn after_failure(&mut self, rows: Vec<Row>, error: EngineError) -> Result<(), EngineError> {
        tracing::warn!(code = error.code(), rows = rows.len(), error = error.report(), "an engine call failed");
        for row in rows {
            self.release(&row);
            let refused = RequestError::PromptRefused { reason: error.to_string() };
            let answer = if error.request_fault() { refused } else { RequestError::Engine { code: error.code() } };
            row.fail(answer, &self.shared);
        }
        if error.request_fault() {
            return Ok(());
        }
        let until = Instant::now() + Duration::from_secs(10);
        let probe = self.watchdog.guard(until, || self.engine.prefill(&[vec![0]]));
        for (sequence, _) in probe? {
            self.engine.release(sequence);
        }
        Ok(())
    }

    fn fail_all(&mut self, error: &RequestError) {
        let rows: Vec<Row> = self.running.drain(..).chain(self.waiting.drain(..)).collect();
        for row in rows {
            self.release(&row);
            row.fail(error.clone(), &self.shared);
        }
        show(&self.shared, 0, 0);
    }
}
