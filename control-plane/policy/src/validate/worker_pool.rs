//! `WorkerPool`: what may be asked of workers.
use super::bounds;
use crate::{
    documents::{is_label_key, is_label_part},
    kinds::WorkerPoolSpec,
    reject::{Code, Sink, quoted},
};

const HOUR: u64 = 3_600_000;

pub(super) fn check(spec: &WorkerPoolSpec, sink: &mut Sink) {
    sink.at("modelRef", |s| s.at("name", |s| bounds::name(&spec.model_ref.name, s)));
    sink.at("versions", |s| {
        bounds::length(spec.versions.len(), 1..=16, s);
        bounds::unique(&spec.versions, |v| quoted(v), s);
        for (i, version) in spec.versions.iter().enumerate() {
            s.index(i, |s| bounds::version(version, s));
        }
    });
    sink.at("replicas", |s| bounds::number(spec.replicas.into(), 0..=64, s));
    if spec.devices.is_some() {
        sink.at("devices", |s| s.not_yet("`devices` (set them in the worker's own configuration)"));
    }
    sink.at("batching", |s| {
        s.at("maxBatch", |s| bounds::number(spec.batching.max_batch.into(), 1..=64, s));
        s.at("maxDelay", |s| bounds::duration(&spec.batching.max_delay, 0..=1000, "0ms and 1s", s));
        if !spec.batching.buckets.is_empty() {
            s.at("buckets", |s| s.not_yet("`buckets`"));
        }
    });
    sink.at("queue", |s| {
        s.at("maxRequests", |s| bounds::number(spec.queue.max_requests.into(), 1..=10_000, s));
        if spec.queue.max_tokens.is_some() {
            s.at("maxTokens", |s| s.not_yet("`maxTokens`"));
        }
        if spec.queue.timeout.is_some() {
            s.at("timeout", |s| s.not_yet("`timeout` of a queue (the inference time-out covers the wait)"));
        }
    });
    sink.at("timeouts", |s| {
        s.at("inference", |s| bounds::duration(&spec.timeouts.inference, 1..=HOUR, "1ms and 1h", s));
        s.at("drain", |s| bounds::duration(&spec.timeouts.drain, 0..=HOUR, "0ms and 1h", s));
    });
    sink.at("labels", |s| {
        bounds::length(spec.labels.len(), 0..=64, s);
        for (key, value) in &spec.labels {
            if !is_label_key(key) || !(value.is_empty() || is_label_part(value)) {
                s.at(key, |s| {
                    s.reject(Code::Metadata, "not a label: ASCII letters, digits, `-`, `_`, `.`, at most 63")
                });
            }
        }
    });
}
