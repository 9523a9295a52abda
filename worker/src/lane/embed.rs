//! The loop of an embedding lane: rows of several requests share a run. A request is answered when all its rows are done.
use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Instant,
};

use tidegate_engine::{engine::EmbeddingEngine, error::EngineError};

use super::{
    job::{Command, EmbedJob, Embedded, LaneShared, Timing},
    row::show,
    watchdog::{PROBE, SHORTEST_CALL, Watchdog},
};
use crate::error::RequestError;

/// One embedding model and its requests. The commands and the tasks are dropped first: who has not begun need not wait for the end
/// of the engine to hear that another worker may take it.
pub struct EmbedLane {
    commands: Receiver<Command>,
    waiting: VecDeque<Task>,
    engine: Box<dyn EmbeddingEngine>,
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
        commands: Receiver<Command>,
        shared: LaneShared,
        watchdog: Watchdog,
    ) -> Self {
        Self { commands, waiting: VecDeque::new(), engine, shared, watchdog, drain: None }
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
        if self.waiting.is_empty() {
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
        while !self.waiting.is_empty() && self.rows_waiting() < self.rows() {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(command) = self.commands.recv_timeout(left) else { return };
            self.accept(command);
        }
    }

    fn rows(&self) -> usize {
        self.shared.tuning.rows(self.engine.max_batch())
    }

    fn rows_waiting(&self) -> usize {
        self.waiting.iter().map(|task| task.job.rows.len() - task.vectors.len()).sum()
    }

    fn accept(&mut self, command: Command) {
        match command {
            Command::Embed(job) => self.waiting.push_back(Task::new(*job)),
            // The API gives chats to chat lanes only; the dropped channel tells the caller.
            Command::Chat(_) => {}
            Command::Drain(deadline) => self.drain = Some(self.drain.map_or(deadline, |old| old.min(deadline))),
        }
    }

    fn expire(&mut self, now: Instant) {
        let over = |task: &Task| task.job.out.is_closed() || now >= task.job.clock.deadline;
        if !self.waiting.iter().any(over) {
            return;
        }
        let (late, kept): (Vec<Task>, Vec<Task>) = self.waiting.drain(..).partition(over);
        self.waiting = kept.into();
        for task in late {
            if task.job.out.is_closed() {
                self.shared.metrics.cancelled(0);
            }
            let ms = task.job.clock.allowed_ms();
            task.fail(RequestError::TimedOut { ms });
        }
    }

    /// One run over the next rows, oldest requests first.
    fn run_batch(&mut self) -> Result<(), EngineError> {
        let (limit, now) = (self.rows(), Instant::now());
        let mut rows: Vec<Vec<u32>> = Vec::new();
        let mut shares: Vec<usize> = Vec::new();
        let mut spans = Vec::new();
        let mut until = None;
        for task in &mut self.waiting {
            if rows.len() >= limit {
                break;
            }
            task.begin(now);
            let next: Vec<_> =
                task.job.rows.iter().skip(task.vectors.len()).take(limit - rows.len()).cloned().collect();
            shares.push(next.len());
            spans.push(tracing::debug_span!(parent: &task.job.span, "engine.embed", rows = next.len()));
            rows.extend(next);
            until = Some(until.map_or(task.job.clock.deadline, |u: Instant| u.min(task.job.clock.deadline)));
        }
        let Some(until) = until else { return Ok(()) };
        show(&self.shared, shares.len());
        let result = self.watchdog.guard(until.max(now + SHORTEST_CALL), || self.engine.embed(&rows));
        drop(spans);
        match result {
            Ok(vectors) => {
                self.shared.metrics.step(now.elapsed(), rows.len());
                self.hand_out(vectors, &shares);
                Ok(())
            }
            // The next round times out who is late; the others run again.
            Err(error) if error.terminated() => Ok(()),
            Err(error) => self.after_failure(shares.len(), error),
        }
    }

    fn hand_out(&mut self, vectors: Vec<Vec<f32>>, shares: &[usize]) {
        let mut vectors = vectors.into_iter();
        for (task, share) in self.waiting.iter_mut().zip(shares) {
            task.vectors.extend(vectors.by_ref().take(*share));
        }
        while self.waiting.front().is_some_and(|task| task.vectors.len() >= task.job.rows.len()) {
            if let Some(task) = self.waiting.pop_front() {
                task.finish(&self.shared);
            }
        }
    }

    /// A run failed. Alone, its request gets the error; among others, each is run alone to find the culprit.
    fn after_failure(&mut self, shared_by: usize, error: EngineError) -> Result<(), EngineError> {
        tracing::warn!(code = error.code(), requests = shared_by, error = error.report(), "an engine call failed");
        let mut suspects: Vec<Task> = self.waiting.drain(..shared_by.min(self.waiting.len())).collect();
        for mut task in suspects.drain(..) {
            let result = if shared_by == 1 { Err(fault(&error)) } else { self.run_alone(&mut task) };
            match result {
                Ok(()) => task.finish(&self.shared),
                Err(error) => task.fail(error),
            }
        }
        if error.request_fault() {
            return Ok(());
        }
        self.watchdog.guard(Instant::now() + PROBE, || self.engine.embed(&[vec![0]])).map(drop)
    }

    fn run_alone(&mut self, task: &mut Task) -> Result<(), RequestError> {
        let limit = self.rows();
        while task.vectors.len() < task.job.rows.len() {
            let rows: Vec<_> = task.job.rows.iter().skip(task.vectors.len()).take(limit).cloned().collect();
            let until = task.job.clock.deadline.max(Instant::now() + SHORTEST_CALL);
            match self.watchdog.guard(until, || self.engine.embed(&rows)) {
                Ok(vectors) => task.vectors.extend(vectors),
                Err(error) if error.terminated() => {
                    return Err(RequestError::TimedOut { ms: task.job.clock.allowed_ms() });
                }
                Err(error) => return Err(fault(&error)),
            }
        }
        Ok(())
    }

    /// Ends the requests that have begun. The others, here and still in the channel, may be taken by another worker: they are told
    /// so when they are dropped.
    fn fail_all(&mut self, error: &RequestError) {
        for task in self.waiting.drain(..).filter(|task| task.begun.is_some()) {
            task.fail(error.clone());
        }
        show(&self.shared, 0);
    }
}

fn fault(error: &EngineError) -> RequestError {
    if error.request_fault() {
        RequestError::PromptRefused { param: "input", reason: error.report() }
    } else {
        RequestError::Engine { code: error.code() }
    }
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
