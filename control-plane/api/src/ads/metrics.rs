//! What the ADS server counts. Labels are bounded: the last part of a type URL that is really published, else `other`.
use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Histogram, UpDownCounter},
};
use tidegate_xds::{Event, GroupState, Response};

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub streams: UpDownCounter<i64>,
    responses: Counter<u64>,
    response_bytes: Counter<u64>,
    acks: Counter<u64>,
    nacks: Counter<u64>,
    gave_up: Counter<u64>,
    refusals: Counter<u64>,
    push_seconds: Histogram<f64>,
}

/// Bounds of the buckets of durations, seconds.
pub const SECONDS: [f64; 12] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

impl Metrics {
    pub fn new() -> Self {
        let meter = global::meter("tidegate");
        let counter = |name: &'static str, text: &'static str| meter.u64_counter(name).with_description(text).build();
        Self {
            streams: meter.i64_up_down_counter("tidegate_ads_streams").with_description("Open ADS streams").build(),
            responses: counter("tidegate_ads_responses", "Responses sent"),
            response_bytes: counter("tidegate_ads_response_bytes", "Bytes of responses sent"),
            acks: counter("tidegate_ads_acks", "Responses that a node accepted"),
            nacks: counter("tidegate_ads_nacks", "Responses that a node refused"),
            gave_up: counter("tidegate_ads_unanswered", "Responses whose answer was not waited for any longer"),
            refusals: counter("tidegate_ads_refusals", "Streams that were turned away or ended by the server"),
            push_seconds: meter
                .f64_histogram("tidegate_ads_push_duration")
                .with_unit("s")
                .with_boundaries(SECONDS.to_vec())
                .with_description("From the publication of a change to the ACK of a node")
                .build(),
        }
    }

    pub fn sent(&self, response: &Response, state: &GroupState) {
        let labels = [label(&response.type_url, state)];
        self.responses.add(1, &labels);
        self.response_bytes.add(response.encoded_len() as u64, &labels);
    }

    pub fn observed(&self, event: &Event, state: &GroupState, now_ms: u64) {
        match event {
            Event::Acked { type_url, published_ms, .. } => {
                let labels = [label(type_url, state)];
                self.acks.add(1, &labels);
                if let Some(published_ms) = published_ms.filter(|at| *at > 0) {
                    self.push_seconds.record(now_ms.saturating_sub(published_ms) as f64 / 1000.0, &labels);
                }
            }
            Event::Nacked(nack) => self.nacks.add(1, &[label(&nack.type_url, state)]),
            Event::GaveUp { type_url } => self.gave_up.add(1, &[label(type_url, state)]),
        }
    }

    pub fn refused(&self, code: &'static str) {
        self.refusals.add(1, &[KeyValue::new("code", code)]);
    }
}

fn label(type_url: &str, state: &GroupState) -> KeyValue {
    let known = state.count(type_url) > 0;
    let short = if known { type_url.rsplit('.').next().unwrap_or("other") } else { "other" };
    KeyValue::new("type", short.to_owned())
}
