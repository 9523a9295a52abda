//! The loop of an embedding lane: rows of several requests share a run, in turn from tenant to tenant and from request to request.
//! A request is answered when all its rows are done, and ended when it cannot be done in time any more.
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Instant,
};

use tidegate_engine::{engine::EmbeddingEngine, error::EngineError};
use tidegate_scheduler::{Ticket, fair::Share};

use super::{
    entry::{EmbedEntry, refusal},
    job::{Command, EmbedJob, Embedded, LaneShared, Timing},
    row::show,
    watchdog::{PROBE, SHORTEST_CALL, Watchdog},
};
use crate::error::RequestError;

/// One embedding model and its requests. The commands and the tasks are dropped first: who has not begun need not wait for the end
/// of the engine to hear that another worker may take it.
pub struct EmbedLane {
    commands: Receiver<Command>,
    tasks: BTreeMap<Ticket, Task>,
    engine: Box<dyn EmbeddingEngine>,
    entry: Arc<EmbedEntry>,
    shared: LaneShared,
    watchdog: Watchdog,
    drain: Option<Instant>,
}

/// A request and the vectors that it has so far.
struct Task {
    job: EmbedJob,
    vectors: Vec<Vec<f32>>,
    begun: Option<Instant>,
}

impl EmbedLane {
    pub fn new(
        engine: Box<dyn EmbeddingEngine>,
        (commands, entry): (Receiver<Command>, Arc<EmbedEntry>),
        shared: LaneShared,
        watchdog: Watchdog,
    ) -> Self {
        Self { commands, tasks: BTreeMap::new(), engine, entry, shared, watchdog, drain: None }
    }

    /// Runs until drained, or until the engine is broken (why).
    pub fn run(mut self) -> Result<(), String> {
        while self.receive() {
            self.expire(Instant::now());
            let result = self.run_batch();
            show(&self.shared, 0);
            if let Err(error) = result {
                self.fail_all(&RequestError::Engine { code: error.code() });
                return Err(format!("{}: {}", error.code(), error.report()));
            }
        }
        self.fail_all(&RequestError::Cut);
        Ok(())
    }

    fn receive(&mut self) -> bool {
        let now = Instant::now();
        if self.shared.deadline(self.drain).is_some_and(|deadline| now >= deadline) {
            return false;
        }
        if self.tasks.is_empty() {
            self.watchdog.busy(false);
            let command = match self.drain {
                None => self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(deadline) => self.commands.recv_timeout(deadline.duration_since(now)),
            };
            let Ok(command) = command else { return false };
            self.accept(command);
            self.watchdog.busy(true);
            self.fill();
        }
        while let Ok(command) = self.commands.try_recv() {
            self.accept(command);
        }
        true
    }

    /// Waits a little for a batch to fill; only after an idle time, never between two batches.
    fn fill(&mut self) {
        let until = Instant::now() + self.shared.tuning.max_delay();
        while !self.tasks.is_empty() && self.rows_waiting() < self.rows() {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(command) = self.commands.recv_timeout(left) else { return };
            self.accept(command);
        }
    }

    fn rows(&self) -> usize {
        self.shared.tuning.rows(self.engine.max_batch())
    }

    fn rows_waiting(&self) -> usize {
        self.tasks.values().map(|task| task.job.rows.len() - task.vectors.len()).sum()
    }

    fn accept(&mut self, command: Command) {
        match command {
            Command::Embed(ticket, job) => drop(self.tasks.insert(ticket, Task::new(*job))),
            // The API gives chats to chat lanes only; the dropped channel tells the caller.
            Command::Chat(_) => {}
            Command::Drain(deadline) => self.drain = Some(self.drain.map_or(deadline, |old| old.min(deadline))),
        }
    }

    /// Takes a request out, whatever its end will be.
    fn take(&mut self, ticket: Ticket) -> Option<Task> {
        self.entry.turns().remove(ticket);
        self.tasks.remove(&ticket)
    }

    fn expire(&mut self, now: Instant) {
        let over = |task: &Task| task.job.out.is_closed() || now >= task.job.clock.deadline;
        let late: Vec<Ticket> = self.tasks.iter().filter(|(_, task)| over(task)).map(|(ticket, _)| *ticket).collect();
        for task in late.into_iter().filter_map(|ticket| self.take(ticket)).collect::<Vec<_>>() {
            if task.job.out.is_closed() {
                self.shared.metrics.cancelled(0);
            }
            let ms = task.job.clock.allowed_ms();
            task.fail(RequestError::TimedOut { ms });
        }
    }

    /// Ends what cannot be done in time any more, before it takes others' time.
    fn give_up(&mut self) {
        let hopeless = self.entry.turns().hopeless(self.entry.now());
        for (ticket, late) in hopeless {
            // Its command still waits in the channel: it is judged again after the next run.
            if !self.tasks.contains_key(&ticket) {
                continue;
            }
            if let Some(task) = self.take(ticket) {
                let error = refusal(late, "texts", task.job.clock, &self.shared.metrics);
                task.fail(error);
            }
        }
    }

    /// One run over the next rows of everybody in turn.
    fn run_batch(&mut self) -> Result<(), EngineError> {
        let (limit, now) = (self.rows(), Instant::now());
        let shares = {
            let mut turns = self.entry.turns();
            turns.set_limit(limit);
            turns.next(|ticket| self.tasks.contains_key(&ticket))
        };
        let mut rows: Vec<Vec<u32>> = Vec::new();
        let mut spans = Vec::new();
        let mut until = None;
        for share in &shares {
            let Some(task) = self.tasks.get_mut(&share.ticket) else { continue };
            task.begin(now);
            spans.push(tracing::debug_span!(parent: &task.job.span, "engine.embed", rows = share.rows));
            rows.extend(task.next(share.rows));
            until = Some(until.map_or(task.job.clock.deadline, |u: Instant| u.min(task.job.clock.deadline)));
        }
        let Some(until) = until else { return Ok(()) };
        show(&self.shared, shares.len());
        let begun = Instant::now();
        let result = self.watchdog.guard(until.max(now + SHORTEST_CALL), || self.engine.embed(&rows));
        drop(spans);
        match result {
            Ok(vectors) => {
                self.shared.metrics.step(begun.elapsed(), rows.len());
                self.entry.measured(&rows, begun.elapsed(), true);
                let mut vectors = vectors.into_iter();
                for share in shares {
                    self.hand_out(share, vectors.by_ref().take(share.rows).collect());
                }
                self.give_up();
                Ok(())
            }
            // The next round times out who is late; the others run again.
            Err(error) if error.terminated() => {
                self.entry.measured(&rows, begun.elapsed(), false);
                Ok(())
            }
            Err(error) => self.after_failure(&shares, error),
        }
    }

    fn hand_out(&mut self, share: Share, vectors: Vec<Vec<f32>>) {
        self.entry.turns().done(share.ticket, share.rows);
        let Some(task) = self.tasks.get_mut(&share.ticket) else { return };
        task.vectors.extend(vectors);
        if task.vectors.len() >= task.job.rows.len()
            && let Some(task) = self.take(share.ticket)
        {
            task.finish(&self.shared);
        }
    }

    /// A run failed. Alone, its request gets the error; among others, the rows of each are run alone to find the culprit.
    fn after_failure(&mut self, shares: &[Share], error: EngineError) -> Result<(), EngineError> {
        tracing::warn!(code = error.code(), requests = shares.len(), error = error.report(), "an engine call failed");
        for share in shares {
            let result = if shares.len() == 1 { Err(fault(&error)) } else { self.run_alone(*share) };
            match result {
                Ok(vectors) => self.hand_out(*share, vectors),
                Err(error) => {
                    if let Some(task) = self.take(share.ticket) {
                        task.fail(error);
                    }
                }
            }
        }
        self.watchdog.guard(Instant::now() + PROBE, || self.engine.embed(&[vec![0]])).map(drop)
    }

    fn run_alone(&mut self, share: Share) -> Result<Vec<Vec<f32>>, RequestError> {
        let Some(task) = self.tasks.get(&share.ticket) else { return Ok(Vec::new()) };
        let (rows, clock) = (task.next(share.rows), task.job.clock);
        let until = clock.deadline.max(Instant::now() + SHORTEST_CALL);
        self.watchdog.guard(until, || self.engine.embed(&rows)).map_err(|error| match error.terminated() {
            true => RequestError::TimedOut { ms: clock.allowed_ms() },
            false => fault(&error),
        })
    }

    /// Ends the requests that have begun. The others, here and still in the channel, may be taken by another worker: they are told
    /// so when they are dropped.
    fn fail_all(&mut self, error: &RequestError) {
        for task in std::mem::take(&mut self.tasks).into_values().filter(|task| task.begun.is_some()) {
            task.fail(error.clone());
        }
        show(&self.shared, 0);
    }
}

/// What a request has to do with a failed call was checked before it came here.
fn fault(error: &EngineError) -> RequestError {
    RequestError::Engine { code: error.code() }
}

impl Task {
    fn new(job: EmbedJob) -> Self {
        Self { job, vectors: Vec::new(), begun: None }
    }

    fn begin(&mut self, now: Instant) {
        if self.begun.is_none() {
            self.begun = Some(now);
            self.job.out.begin();
            self.job.queued = tracing::Span::none();
        }
    }

    /// Its next rows.
    fn next(&self, rows: usize) -> Vec<Vec<u32>> {
        self.job.rows.iter().skip(self.vectors.len()).take(rows).cloned().collect()
    }

    fn finish(self, shared: &LaneShared) {
        let begun = self.begun.unwrap_or(self.job.clock.accepted);
        let timing = Timing { queue: begun.duration_since(self.job.clock.accepted), engine: begun.elapsed() };
        shared.metrics.prefill(timing, self.job.rows.iter().map(Vec::len).sum());
        self.job.out.end(Ok(Embedded { vectors: self.vectors, timing }));
    }

    fn fail(self, error: RequestError) {
        self.job.out.end(Err(error));
    }
}
