//! Does the graph have the inputs and outputs that config.json promises? Checked before the first run, so that a wrong graph
//! is a clear refusal and not a failed request.
use ort::value::{Outlet, TensorElementType};

use crate::config::{ChatConfig, EmbeddingConfig};
use crate::error::EngineError;
use crate::onnx::session::MappedSession;

const ANY: i64 = -1;

struct Expected {
    name: String,
    ty: TensorElementType,
    shape: Vec<i64>,
}

fn expected(name: impl Into<String>, ty: TensorElementType, shape: &[i64]) -> Expected {
    Expected { name: name.into(), ty, shape: shape.to_vec() }
}

/// The name for a layer.
pub(crate) fn layered(pattern: &str, layer: usize) -> String {
    pattern.replace("{layer}", &layer.to_string())
}

pub(crate) fn chat(session: &MappedSession, config: &ChatConfig) -> Result<(), EngineError> {
    let size = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let (names, kv) = (&config.inputs, [ANY, size(config.kv_heads), ANY, size(config.head_dim)]);
    let mut inputs = vec![
        expected(&names.input_ids, TensorElementType::Int64, &[ANY, ANY]),
        expected(&names.seqlens_k, TensorElementType::Int32, &[ANY]),
        expected(&names.total_sequence_length, TensorElementType::Int32, &[]),
    ];
    let logits = [ANY, ANY, size(config.vocab_size)];
    let mut outputs = vec![expected(&config.outputs.logits, TensorElementType::Float32, &logits)];
    for layer in 0..config.layers {
        for pattern in [&names.past_key, &names.past_value] {
            inputs.push(expected(layered(pattern, layer), TensorElementType::Float32, &kv));
        }
        for pattern in [&config.outputs.present_key, &config.outputs.present_value] {
            outputs.push(expected(layered(pattern, layer), TensorElementType::Float32, &kv));
        }
    }
    compare(session, &inputs, &outputs)
}

pub(crate) fn embedding(session: &MappedSession, config: &EmbeddingConfig) -> Result<(), EngineError> {
    let dimensions = i64::try_from(config.dimensions).unwrap_or(i64::MAX);
    let inputs = [
        expected(&config.inputs.input_ids, TensorElementType::Int64, &[ANY, ANY]),
        expected(&config.inputs.attention_mask, TensorElementType::Int64, &[ANY, ANY]),
    ];
    let outputs = [expected(&config.outputs.embedding, TensorElementType::Float32, &[ANY, dimensions])];
    compare(session, &inputs, &outputs)
}

fn compare(session: &MappedSession, inputs: &[Expected], outputs: &[Expected]) -> Result<(), EngineError> {
    for want in inputs {
        find("input", session.inputs(), want)?;
    }
    for want in outputs {
        find("output", session.outputs(), want)?;
    }
    match session.inputs().iter().find(|have| inputs.iter().all(|want| want.name != have.name())) {
        Some(unknown) => differs(format!("the input {:?} is not known", unknown.name())),
        None => Ok(()),
    }
}

fn find(kind: &str, have: &[Outlet], want: &Expected) -> Result<(), EngineError> {
    let Some(outlet) = have.iter().find(|outlet| outlet.name() == want.name) else {
        return differs(format!("it has no {kind} {:?}", want.name));
    };
    let (Some(ty), Some(shape)) = (outlet.dtype().tensor_type(), outlet.dtype().tensor_shape()) else {
        return differs(format!("the {kind} {:?} is not a tensor", want.name));
    };
    let fits = |(have, want): (&i64, &i64)| *have < 0 || *want == ANY || have == want;
    if ty == want.ty && shape.len() == want.shape.len() && shape.iter().zip(&want.shape).all(fits) {
        return Ok(());
    }
    differs(format!("the {kind} {:?} is {ty} {shape:?}; {} {:?} is needed", want.name, want.ty, want.shape))
}

fn differs(reason: String) -> Result<(), EngineError> {
    Err(EngineError::GraphDiffers { reason })
}
