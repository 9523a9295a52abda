//! The engine calls of a chat lane and what their outcomes mean for the rows in them. One row's failure or lateness never costs
//! another row its answer. Waits for nobody.
use std::time::Instant;

use tidegate_engine::error::EngineError;

use super::{
    chat::ChatLane,
    row::{MAX_REBUILDS, Progress, Row},
    watchdog::{PROBE, SHORTEST_CALL},
};
use crate::error::RequestError;

impl ChatLane {
    /// When a call over these rows is ended.
    fn until(rows: &[Row]) -> Instant {
        let soonest = Instant::now() + SHORTEST_CALL;
        rows.iter().map(|row| row.job.clock.deadline).min().map_or(soonest, |deadline| deadline.max(soonest))
    }

    pub(super) fn prefill(&mut self, mut batch: Vec<Row>, now: Instant) -> Result<(), EngineError> {
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
                self.entry.prompts_ran(&prompts, took, true);
                let eos = self.engine.info().eos_token_ids.clone();
                for (mut row, (sequence, logits)) in batch.into_iter().zip(answers) {
                    row.begin(sequence, took, &self.shared);
                    let progress = row.advance(&logits, &eos);
                    self.settle(row, progress);
                }
                Ok(())
            }
            Err(error) if error.terminated() => {
                self.entry.prompts_ran(&prompts, took, false);
                self.after_stop(batch);
                Ok(())
            }
            // One bad prompt must not fail its neighbours: each alone.
            Err(_) if batch.len() > 1 => batch.into_iter().try_for_each(|row| self.prefill(vec![row], now)),
            Err(error) => self.after_failure(batch, error),
        }
    }

    /// One token for every row whose client keeps up.
    pub(super) fn step(&mut self) -> Result<(), EngineError> {
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
        let input: Vec<_> =
            stepped.iter().filter_map(|row| Some((row.sequence?, row.generated.last().copied()?))).collect();
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
                self.entry.answered(row.ran());
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
            let too_often = row.rebuilds >= MAX_REBUILDS;
            let ended = RequestError::Engine { code: EngineError::Terminated.code() };
            let error = row.overdue(now, self.shared.tuning.slow_client).or(too_often.then_some(ended));
            if let Some(error) = error {
                self.release(&row);
                row.fail(error, &self.shared);
            } else {
                if let Some(sequence) = row.sequence.take() {
                    self.engine.release(sequence);
                }
                row.rebuilds += 1;
                self.rebuild.push(row);
            }
        }
    }

    /// A call failed: its requests get an error; the lane goes on if the engine still answers a trivial prompt.
    fn after_failure(&mut self, rows: Vec<Row>, error: EngineError) -> Result<(), EngineError> {
        tracing::warn!(code = error.code(), rows = rows.len(), error = error.report(), "an engine call failed");
        for row in rows {
            self.release(&row);
            row.fail(RequestError::Engine { code: error.code() }, &self.shared);
        }
        let probe = self.watchdog.guard(Instant::now() + PROBE, || self.engine.prefill(&[vec![0]]));
        for (sequence, _) in probe? {
            self.engine.release(sequence);
        }
        Ok(())
    }
}
