//! `WorkerPool`: what may be asked of workers.
use super::bounds;
use crate::{
    kinds::{
        WorkerPoolSpec,
        bounds::{BATCH, DELAY, MAX_DECLARED, QUEUE, REPLICAS, TIMEOUT},
    },
    reject::{Sink, quoted},
};

pub(super) fn check(spec: &WorkerPoolSpec, sink: &mut Sink) {
    sink.at("modelRef", |s| s.at("name", |s| bounds::name(&spec.model_ref.name, s)));
    sink.at("versions", |s| {
        bounds::length(spec.versions.len(), 1..=MAX_DECLARED, s);
        bounds::unique(&spec.versions, |v| quoted(v), s);
        for (i, version) in spec.versions.iter().enumerate() {
            s.index(i, |s| bounds::version(version, s));
        }
    });
    sink.at("replicas", |s| bounds::number(spec.replicas.into(), 0..=REPLICAS.into(), s));
    if spec.devices.is_some() {
        sink.at("devices", |s| s.not_yet("`devices` (set them in the worker's own configuration)"));
    }
    sink.at("batching", |s| {
        s.at("maxBatch", |s| bounds::number(spec.batching.max_batch.into(), 1..=BATCH.into(), s));
        s.at("maxDelay", |s| bounds::duration(&spec.batching.max_delay, &DELAY, s));
        if !spec.batching.buckets.is_empty() {
            s.at("buckets", |s| s.not_yet("`buckets`"));
        }
    });
    sink.at("queue", |s| {
        s.at("maxRequests", |s| bounds::number(spec.queue.max_requests.into(), 1..=QUEUE.into(), s));
        if spec.queue.max_tokens.is_some() {
            s.at("maxTokens", |s| s.not_yet("`maxTokens`"));
        }
        if spec.queue.timeout.is_some() {
            s.at("timeout", |s| s.not_yet("`timeout` of a queue (the inference time-out covers the wait)"));
        }
    });
    sink.at("timeouts", |s| {
        s.at("inference", |s| bounds::duration(&spec.timeouts.inference, &TIMEOUT, s));
        s.at("drain", |s| bounds::duration(&spec.timeouts.drain, &TIMEOUT, s));
    });
    if !spec.labels.is_empty() {
        sink.at("labels", |s| s.not_yet("`labels` (nothing reads them; label the object under `metadata`)"));
    }
}
