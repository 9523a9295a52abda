//! `POST /v1/embeddings`: one vector per input, as floats or as base64 of little-endian f32.
use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use tidegate_engine::{EngineError, engine::TextCodec};
use tidegate_proto::contract::HEADER_TENANT;
use tokio::{sync::oneshot, time::timeout_at};

use super::{
    App,
    admit::{Admitted, Text, admit, dress, read_body},
    chat::{BROKEN, too_late},
    embedding_request::{Encoding, Input, ValidEmbeddingRequest, parse_embedding},
    errors::Refuse,
    json::invalid,
};
use crate::{
    error::RequestError,
    lane::{
        Abilities,
        job::EmbedJob,
        reply::{EmbedOut, Waiter},
    },
};

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Item>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// The handler.
pub async fn embeddings(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Refuse> {
    let body = read_body(&app, &headers, body).await?;
    let request = parse_embedding(&body.bytes)?;
    let bytes = body.bytes.len();
    let admitted = admit(&app, &headers, &request.model, "embeddings")?;
    drop(body);
    let model_id = admitted.serving.model_id.clone();
    let tenant = headers.get(HEADER_TENANT).and_then(|value| value.to_str().ok()).map(Arc::from);
    answer(&app, request, (bytes, tenant), admitted).await.map_err(|error| Refuse::about(error, &model_id))
}

async fn answer(
    app: &App,
    request: ValidEmbeddingRequest,
    (bytes, tenant): (usize, Option<Arc<str>>),
    admitted: Admitted,
) -> Result<Response, RequestError> {
    let Admitted { serving, clock, held, limit_headers } = admitted;
    let Abilities::Embedding { max_sequence, dimensions, vocab_size } = serving.lane.abilities else {
        return Err(RequestError::WrongTask { model: request.model, wanted: "embeddings" });
    };
    if let Some(asked) = request.dimensions.filter(|asked| *asked != dimensions) {
        let reason = format!("this model gives {dimensions}; {asked} is not supported");
        return Err(RequestError::Unsupported { param: "dimensions".to_owned(), reason });
    }
    known_tokens(&request.inputs, vocab_size)?;
    let (codec, inputs) = (serving.lane.codec.clone(), request.inputs);
    let text = Text { bytes, param: "input" };
    let rows = app.intake.tokenise(text, clock, move || encode(codec.as_ref(), inputs, max_sequence)).await??;
    let prompt_tokens = rows.iter().map(Vec::len).sum();
    let (out, reply) = oneshot::channel();
    let span = tracing::Span::current();
    let queued = tracing::debug_span!(parent: &span, "queue");
    let waiter = Waiter::new(&held, &serving.lane.stats);
    serving.lane.embed(EmbedJob { rows, tenant, clock, out: EmbedOut::new(out, held), span, queued })?;
    let reply = timeout_at(clock.give_up(), reply).await.map_err(|_| too_late(clock, &waiter))?;
    let embedded = reply.map_err(|_| BROKEN)??;
    let data =
        embedded.vectors.into_iter().enumerate().map(|(index, vector)| item(index, vector, request.encoding)).collect();
    let usage = Usage { prompt_tokens, total_tokens: prompt_tokens };
    let mut response = axum::Json(List { object: "list", data, model: &serving.model_id, usage }).into_response();
    dress(&mut response, &serving, embedded.timing, &limit_headers);
    Ok(response)
}

/// Tokens that a client sends must be the model's.
fn known_tokens(inputs: &[Input], vocab_size: usize) -> Result<(), RequestError> {
    for (i, input) in inputs.iter().enumerate() {
        let Input::Tokens(tokens) = input else { continue };
        if let Some(at) = tokens.iter().position(|token| *token as usize >= vocab_size) {
            let reason = format!(
                "is {}, the tokens of this model are below {vocab_size}",
                tokens.get(at).copied().unwrap_or_default()
            );
            return Err(invalid(&format!("input[{i}][{at}]"), reason));
        }
    }
    Ok(())
}

/// The rows of all inputs; the first that is too long, by its tokens or already by its length, refuses the request.
fn encode(
    codec: &dyn TextCodec,
    inputs: Vec<Input>,
    most: usize,
) -> Result<Result<Vec<Vec<u32>>, RequestError>, EngineError> {
    let mut rows = Vec::with_capacity(inputs.len());
    for (i, input) in inputs.into_iter().enumerate() {
        let too_long =
            |found: String| invalid(&format!("input[{i}]"), format!("has {found} tokens, this model takes {most}"));
        let row = match input {
            Input::Text(text) => codec.encode_within(&text, most),
            Input::Tokens(tokens) => Ok(tokens),
        };
        match row {
            Ok(row) if row.len() <= most => rows.push(row),
            Ok(row) => return Ok(Err(too_long(row.len().to_string()))),
            Err(error) => match error.too_long() {
                Some(least) => return Ok(Err(too_long(format!("at least {least}")))),
                None => return Err(error),
            },
        }
    }
    Ok(Ok(rows))
}

fn item(index: usize, vector: Vec<f32>, encoding: Encoding) -> Item {
    let embedding = match encoding {
        Encoding::Float => Vector::Floats(vector),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            Vector::Base64(STANDARD.encode(bytes))
        }
    };
    Item { object: "embedding", index, embedding }
}
