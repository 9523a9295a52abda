//! Every number that a worker tells: one instrument per question an operator asks. Names are stable; see docs/reference/worker.md.
//! Labels are bounded: no request id, no tenant, no prompt ever becomes one.
use std::time::Duration;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter},
};

use crate::lane::job::Timing;

/// Upper bounds of the time histograms, seconds.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// Upper bounds of the rows of a step.
const ROWS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// The instruments; cheap to share.
#[derive(Debug)]
pub struct Metrics {
    requests: Counter<u64>,
    request_seconds: Histogram<f64>,
    queue_seconds: Histogram<f64>,
    prefill_seconds: Histogram<f64>,
    first_token_seconds: Histogram<f64>,
    step_seconds: Histogram<f64>,
    step_rows: Histogram<f64>,
    tokens: Counter<u64>,
    cancelled: Counter<u64>,
    limit_refusals: Counter<u64>,
    shadow_refusals: Counter<u64>,
    bound_hits: Counter<u64>,
    late: Counter<u64>,
    pace: Gauge<f64>,
    pushes: Counter<u64>,
    loads: Counter<u64>,
    load_seconds: Histogram<f64>,
    connected: Gauge<u64>,
    model_info: Gauge<u64>,
    generation: Gauge<i64>,
}

fn label(key: &'static str, value: impl Into<opentelemetry::Value>) -> KeyValue {
    KeyValue::new(key, value.into())
}

impl Metrics {
    pub fn new(meter: &Meter) -> Self {
        let counter = |name: &'static str, what: &'static str| meter.u64_counter(name).with_description(what).build();
        let seconds = |name: &'static str, what: &'static str| {
            meter.f64_histogram(name).with_unit("s").with_boundaries(SECONDS.to_vec()).with_description(what).build()
        };
        Self {
            requests: counter("tidegate_requests", "Answered requests by endpoint, status and code"),
            request_seconds: seconds("tidegate_request_duration", "From the request's head to the end of its answer"),
            queue_seconds: seconds("tidegate_queue_duration", "From admission to the first engine call"),
            prefill_seconds: seconds(
                "tidegate_prefill_duration",
                "Prefill of a chat, or all runs of an embeddings request",
            ),
            first_token_seconds: seconds("tidegate_time_to_first_token", "From admission to the first token"),
            step_seconds: seconds("tidegate_step_duration", "One engine step"),
            step_rows: meter
                .f64_histogram("tidegate_step_rows")
                .with_boundaries(ROWS.to_vec())
                .with_description("Requests that shared one engine step")
                .build(),
            tokens: counter("tidegate_tokens", "Tokens by kind: prompt, completion, wasted (answered to nobody)"),
            cancelled: counter(
                "tidegate_cancelled_requests",
                "Requests whose client left before the answer was complete",
            ),
            limit_refusals: counter("tidegate_limit_refusals", "Requests refused by a limit"),
            shadow_refusals: counter(
                "tidegate_limit_shadow_refusals",
                "Requests that a limit in shadow mode would have refused",
            ),
            bound_hits: counter("tidegate_bound_hits", "Times that a bound of this process was hit"),
            late: counter(
                "tidegate_deadline_refusals",
                "Requests refused or ended because they could not end in time, by reason: busy, too_large",
            ),
            pace: meter
                .f64_gauge("tidegate_pace_tokens_per_second")
                .with_description(
                    "Tokens in a second by the largest calls of the last minute, padding included; by task",
                )
                .build(),
            pushes: counter("tidegate_pushes", "Resources pushed by the control plane, by type and outcome"),
            loads: counter("tidegate_model_loads", "Loads of model versions by outcome"),
            load_seconds: seconds("tidegate_model_load_duration", "From the start of a load to a warmed-up version"),
            connected: meter
                .u64_gauge("tidegate_control_plane_connected")
                .with_description("1 while the stream (ads, fleet) is up; at 0 the last good configuration goes on")
                .build(),
            model_info: meter
                .u64_gauge("tidegate_model_info")
                .with_description("1 for each version that answers requests; 0 once it does not any more")
                .build(),
            generation: meter
                .i64_gauge("tidegate_config_generation")
                .with_description("Generation of the pool object that is in force")
                .build(),
        }
    }

    pub fn request(&self, endpoint: &'static str, status: u16, code: &'static str) {
        let labels = [label("endpoint", endpoint), label("status", i64::from(status)), label("code", code)];
        self.requests.add(1, &labels);
    }

    pub fn request_ended(&self, endpoint: &'static str, took: Duration) {
        self.request_seconds.record(took.as_secs_f64(), &[label("endpoint", endpoint)]);
    }

    /// A prefill succeeded.
    pub fn prefill(&self, timing: Timing, prompt_tokens: usize) {
        self.queue_seconds.record(timing.queue.as_secs_f64(), &[]);
        self.prefill_seconds.record(timing.engine.as_secs_f64(), &[]);
        self.first_token_seconds.record((timing.queue + timing.engine).as_secs_f64(), &[]);
        self.tokens.add(prompt_tokens as u64, &[label("kind", "prompt")]);
    }

    pub fn step(&self, took: Duration, rows: usize) {
        self.step_seconds.record(took.as_secs_f64(), &[]);
        #[allow(clippy::cast_precision_loss)]
        self.step_rows.record(rows as f64, &[]);
    }

    pub fn completed(&self, tokens: usize) {
        self.tokens.add(tokens as u64, &[label("kind", "completion")]);
    }

    /// Tokens of an answer that ended with an error.
    pub fn wasted(&self, tokens: usize) {
        self.tokens.add(tokens as u64, &[label("kind", "wasted")]);
    }

    /// The client left; these tokens were for nobody.
    pub fn cancelled(&self, tokens: usize) {
        self.cancelled.add(1, &[]);
        self.wasted(tokens);
    }

    pub fn limit_refused(&self, limit: &str) {
        self.limit_refusals.add(1, &[label("limit", limit.to_owned())]);
    }

    pub fn shadow_refused(&self, limit: &str) {
        self.shadow_refusals.add(1, &[label("limit", limit.to_owned())]);
    }

    pub fn bound_hit(&self, bound: &'static str) {
        self.bound_hits.add(1, &[label("bound", bound)]);
    }

    /// A request that could not end in time. `reason`: `busy` or `too_large`.
    pub fn late(&self, reason: &'static str) {
        self.late.add(1, &[label("reason", reason)]);
    }

    /// `task`: `chat` (prompts) or `embedding`.
    pub fn pace(&self, task: &'static str, tokens_per_second: Option<f64>) {
        if let Some(pace) = tokens_per_second {
            self.pace.record(pace, &[label("task", task)]);
        }
    }

    /// `outcome`: `ack` or `nack`.
    pub fn pushed(&self, kind: &'static str, outcome: &'static str) {
        self.pushes.add(1, &[label("type", kind), label("outcome", outcome)]);
    }

    /// `code`: empty when the load succeeded.
    pub fn loaded(&self, code: &str, took: Duration) {
        let outcome = if code.is_empty() { "ok" } else { "failed" };
        self.loads.add(1, &[label("outcome", outcome), label("code", code.to_owned())]);
        self.load_seconds.record(took.as_secs_f64(), &[label("outcome", outcome)]);
    }

    /// `stream`: `ads` or `fleet`.
    pub fn connected(&self, stream: &'static str, up: bool) {
        self.connected.record(u64::from(up), &[label("stream", stream)]);
    }

    pub fn version_answers(&self, key: &crate::hotswap::plan::VersionKey, answers: bool) {
        let labels = [
            label("model_id", key.model_id.clone()),
            label("version", key.name.clone()),
            label("sha256", key.digest.clone()),
        ];
        self.model_info.record(u64::from(answers), &labels);
    }

    pub fn generation(&self, generation: i64) {
        self.generation.record(generation, &[]);
    }
}
