//! What the workers of one pool are told: the weights to keep loaded and the limits to hold. Named `<namespace>/<pool>`.
use prost::Message;
use tidegate_limiter::matching::{Condition, ValueTest};
use tidegate_policy::{
    kinds::{self, ModelVersion},
    snapshot::{Counter, Limit, PlannedVersion, PoolPlan, Snapshot},
    units,
};
use tidegate_proto::{
    contract::{TYPE_LIMIT_SET, TYPE_MODEL_SET},
    worker as wire,
};
use tidegate_xds::resources::ResourceSet;

use crate::table::path_of;

pub(crate) fn add(set: &mut ResourceSet, snapshot: &Snapshot, plan: &PoolPlan) {
    let name = path_of(&plan.pool);
    if !plan.versions.is_empty() {
        set.insert(TYPE_MODEL_SET, name.clone(), model_set(&name, plan).encode_to_vec());
    }
    let limits = plan.limits.iter().filter_map(|id| snapshot.limits.get(id)).map(limit).collect();
    set.insert(TYPE_LIMIT_SET, name.clone(), wire::LimitSet { name, limits }.encode_to_vec());
}

fn model_set(name: &str, plan: &PoolPlan) -> wire::ModelSet {
    let spec = &plan.spec;
    wire::ModelSet {
        name: name.to_owned(),
        generation: plan.generation,
        model_ref: path_of(&plan.model),
        model_id: plan.model_id.clone(),
        versions: plan.versions.iter().map(version).collect(),
        batching: Some(wire::Batching {
            max_batch: spec.batching.max_batch,
            max_delay_ms: duration_ms(&spec.batching.max_delay),
        }),
        queue: Some(wire::Queue { max_requests: spec.queue.max_requests }),
        timeouts: Some(wire::Timeouts {
            inference_ms: duration_ms(&spec.timeouts.inference),
            drain_ms: duration_ms(&spec.timeouts.drain),
        }),
    }
}

/// Zero, which stands for the worker's default, only for what validation would have refused.
fn duration_ms(text: &str) -> u32 {
    units::duration_ms(text).and_then(|ms| u32::try_from(ms).ok()).unwrap_or(0)
}

fn version(planned: &PlannedVersion) -> wire::ModelVersion {
    let ModelVersion { name, uri, files, signature: _, task, quantization, tokenizer, chat_template } =
        &planned.version;
    wire::ModelVersion {
        name: name.clone(),
        uri: uri.clone(),
        files: files
            .iter()
            .map(|f| wire::ModelFile { path: f.path.clone(), sha256: f.sha256.to_ascii_lowercase(), size: f.size })
            .collect(),
        task: match task {
            kinds::Task::Chat => wire::Task::Chat,
            kinds::Task::Embedding => wire::Task::Embedding,
        }
        .into(),
        quantization: match quantization {
            kinds::Quantization::None => wire::Quantization::None,
            kinds::Quantization::Int8 => wire::Quantization::Int8,
            kinds::Quantization::Int4 => wire::Quantization::Int4,
        }
        .into(),
        tokenizer: tokenizer.clone(),
        chat_template: chat_template.clone().unwrap_or_default(),
        retained: planned.retained,
    }
}

fn limit(limit: &Limit) -> wire::Limit {
    wire::Limit {
        id: limit.id.clone(),
        generation: limit.owner_generation,
        conditions: limit.conditions.iter().map(condition).collect(),
        counters: limit.counters.iter().map(counter).collect(),
        requests: limit.requests.map(|r| wire::RequestRate { rate: r.rate, window_ms: r.window_ms, burst: r.burst }),
        concurrency: limit.concurrency,
        shadow: limit.shadow,
    }
}

fn counter(counter: &Counter) -> wire::Counter {
    let kind = match counter {
        Counter::Tenant => wire::counter::Kind::Tenant(true),
        Counter::Header(name) => wire::counter::Kind::Header(name.clone()),
    };
    wire::Counter { kind: Some(kind) }
}

fn condition(condition: &Condition) -> wire::Condition {
    let kind = match condition {
        Condition::Tenant(tenant) => wire::condition::Kind::Tenant(tenant.clone()),
        Condition::Header { name, test } => {
            wire::condition::Kind::Header(wire::HeaderCondition { name: name.clone(), op: Some(op(test)) })
        }
        Condition::Bucket { header, seed, from, to } => {
            let header = header.clone();
            wire::condition::Kind::Bucket(wire::BucketCondition { header, seed: *seed, from: *from, to: *to })
        }
    };
    wire::Condition { kind: Some(kind) }
}

fn op(test: &ValueTest) -> wire::header_condition::Op {
    match test {
        ValueTest::Exact(value) => wire::header_condition::Op::Exact(value.clone()),
        ValueTest::Prefix(value) => wire::header_condition::Op::Prefix(value.clone()),
        ValueTest::Regex { source, .. } => wire::header_condition::Op::Regex(source.clone()),
        ValueTest::Present => wire::header_condition::Op::Present(true),
    }
}
