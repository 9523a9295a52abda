//! An embeddings request that is valid: the same rules as for chat. Pure.
use super::json::{Json, invalid, parse};
use crate::error::{RequestError, shortened};

/// Most inputs of one request (the same bound as the original API).
pub const MAX_INPUTS: usize = 2_048;
const MAX_ID_BYTES: usize = 512;

/// One text or its tokens.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    Text(String),
    /// Tokens of this model, special tokens included.
    Tokens(Vec<u32>),
}

/// How vectors are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    Float,
    /// Little-endian f32, base64; what the official Python client asks for.
    Base64,
}

/// Everything that an embedding needs to know.
#[derive(Clone, PartialEq, Debug)]
pub struct ValidEmbeddingRequest {
    pub model: String,
    pub inputs: Vec<Input>,
    pub encoding: Encoding,
    /// Must be what the model gives; checked where the model is known.
    pub dimensions: Option<usize>,
}

/// Reads a body.
pub fn parse_embedding(body: &[u8]) -> Result<ValidEmbeddingRequest, RequestError> {
    let (mut model, mut inputs, mut encoding, mut dimensions) = (None, None, Encoding::Float, None);
    for (name, value) in parse(body)? {
        match (name.as_str(), value) {
            ("model", value) => model = Some(value.text("model", MAX_ID_BYTES)?),
            ("input", value) => inputs = Some(self::inputs(value)?),
            ("encoding_format" | "dimensions" | "user", Json::Null) => {}
            ("encoding_format", value) => {
                encoding = match value.text("encoding_format", MAX_ID_BYTES)?.as_str() {
                    "float" => Encoding::Float,
                    "base64" => Encoding::Base64,
                    _ => return Err(invalid("encoding_format", "must be float or base64")),
                };
            }
            ("dimensions", value) => {
                dimensions = usize::try_from(value.integer("dimensions", 1, 1 << 20)?).ok();
            }
            // Only an end user's id: accepted because it changes no answer, and kept nowhere.
            ("user", value) => drop(value.text("user", MAX_ID_BYTES)?),
            (_, _) => return Err(RequestError::UnknownField { param: shortened(&name) }),
        }
    }
    let missing = |param: &str| RequestError::Missing { param: param.to_owned() };
    Ok(ValidEmbeddingRequest {
        model: model.ok_or_else(|| missing("model"))?,
        inputs: inputs.ok_or_else(|| missing("input"))?,
        encoding,
        dimensions,
    })
}

fn inputs(value: Json) -> Result<Vec<Input>, RequestError> {
    let items = match value {
        Json::Text(text) => return Ok(vec![one_text(text, "input")?]),
        other => other,
    };
    let Json::Array(items) = items else {
        return Err(invalid("input", format!("must be a string or an array, is {}", items.kind())));
    };
    if items.is_empty() {
        return Err(invalid("input", "must not be empty"));
    }
    if matches!(items.first(), Some(Json::Integer(_))) {
        return Ok(vec![Input::Tokens(tokens(items, "input")?)]);
    }
    if items.len() > MAX_INPUTS {
        return Err(invalid("input", format!("has {} items, {MAX_INPUTS} are allowed", items.len())));
    }
    let strings = matches!(items.first(), Some(Json::Text(_)));
    let mut out = Vec::with_capacity(items.len());
    for (i, item) in items.into_iter().enumerate() {
        let param = format!("input[{i}]");
        out.push(match item {
            Json::Text(text) if strings => one_text(text, &param)?,
            Json::Array(items) if !strings => Input::Tokens(tokens(items, &param)?),
            other => {
                return Err(invalid(
                    &param,
                    format!("is {}; all items must be strings, or all token arrays", other.kind()),
                ));
            }
        });
    }
    Ok(out)
}

fn one_text(text: String, param: &str) -> Result<Input, RequestError> {
    if text.is_empty() { Err(invalid(param, "must not be an empty string")) } else { Ok(Input::Text(text)) }
}

fn tokens(items: Vec<Json>, param: &str) -> Result<Vec<u32>, RequestError> {
    if items.is_empty() {
        return Err(invalid(param, "must not be empty"));
    }
    items
        .into_iter()
        .enumerate()
        .map(|(i, item)| {
            let param = format!("{param}[{i}]");
            let value = item.integer(&param, 0, i64::from(i32::MAX))?;
            u32::try_from(value).map_err(|_| invalid(&param, "is not a token"))
        })
        .collect()
}
