//! The one table from [`RequestError`] to HTTP: status, OpenAI error shape, headers. Nothing else in the API picks a status.
use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tidegate_limiter::admission::Refusal;
use tidegate_proto::contract::HEADER_RETRY;

use super::observe::Code;
use crate::error::RequestError;

/// How an error looks from outside.
struct Row {
    status: StatusCode,
    kind: &'static str,
    /// A code that OpenAI clients know; else the stable code is sent.
    known_as: Option<&'static str>,
    /// The request did not begin here: another worker may take it.
    elsewhere: bool,
    retry_after_ms: Option<u64>,
}

/// Longest time that a busy worker asks its clients to stay away.
const MAX_RETRY_AFTER_MS: u64 = 60_000;

const INVALID: &str = "invalid_request_error";

fn row(error: &RequestError) -> Row {
    let plain = |status, kind| Row { status, kind, known_as: None, elsewhere: false, retry_after_ms: None };
    let elsewhere =
        |kind| Row { elsewhere: true, retry_after_ms: Some(1_000), ..plain(StatusCode::SERVICE_UNAVAILABLE, kind) };
    match error {
        RequestError::NotJson { .. }
        | RequestError::UnknownField { .. }
        | RequestError::Unsupported { .. }
        | RequestError::Invalid { .. }
        | RequestError::Missing { .. }
        | RequestError::WrongTask { .. }
        | RequestError::PromptRefused { .. }
        // Not 408: clients send that again by themselves, and what is malformed stays so.
        | RequestError::BodyBroken { .. } => plain(StatusCode::BAD_REQUEST, INVALID),
        RequestError::ContextLength { .. } | RequestError::SurelyTooLong { .. } => {
            Row { known_as: Some("context_length_exceeded"), ..plain(StatusCode::BAD_REQUEST, INVALID) }
        }
        RequestError::BodyTooLarge { .. } => plain(StatusCode::PAYLOAD_TOO_LARGE, INVALID),
        RequestError::UnsupportedMedia { .. } => plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID),
        RequestError::BodyLate { .. } => plain(StatusCode::REQUEST_TIMEOUT, INVALID),
        RequestError::ModelNotFound { .. } => {
            Row { known_as: Some("model_not_found"), ..plain(StatusCode::NOT_FOUND, INVALID) }
        }
        RequestError::NoSuchPath => plain(StatusCode::NOT_FOUND, INVALID),
        RequestError::MethodNotAllowed => plain(StatusCode::METHOD_NOT_ALLOWED, INVALID),
        RequestError::VersionNotHere { .. } | RequestError::Draining | RequestError::NotReady => {
            elsewhere("service_unavailable_error")
        }
        RequestError::QueueFull { .. } | RequestError::BodiesFull { .. } => {
            Row { retry_after_ms: Some(1_000), ..plain(StatusCode::TOO_MANY_REQUESTS, "overloaded_error") }
        }
        RequestError::TooBusy { retry_after_ms, .. } => Row {
            retry_after_ms: Some((*retry_after_ms).min(MAX_RETRY_AFTER_MS)),
            ..plain(StatusCode::TOO_MANY_REQUESTS, "overloaded_error")
        },
        RequestError::TooMuch { .. } => plain(StatusCode::PAYLOAD_TOO_LARGE, INVALID),
        RequestError::Limited { refusal } => Row {
            retry_after_ms: Some(refusal.retry_after_ms),
            ..plain(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error")
        },
        RequestError::TimedOut { .. } => plain(StatusCode::GATEWAY_TIMEOUT, "timeout_error"),
        RequestError::Engine { .. } | RequestError::ModelFiles { .. } => {
            plain(StatusCode::INTERNAL_SERVER_ERROR, "server_error")
        }
        RequestError::SlowClient { .. } => plain(StatusCode::REQUEST_TIMEOUT, "timeout_error"),
        // Not `elsewhere`: it may have begun.
        RequestError::Cut => plain(StatusCode::SERVICE_UNAVAILABLE, "service_unavailable_error"),
    }
}

/// The OpenAI error object, used as a body and as an SSE `error` event.
pub fn body(error: &RequestError, model_id: Option<&str>) -> Value {
    let row = row(error);
    let mut object = json!({
        "message": error.to_string(),
        "type": row.kind,
        "param": error.param(),
        "code": row.known_as.unwrap_or(error.code()),
        "tidegate_code": error.code(),
    });
    if let (Some(model_id), Some(object)) = (model_id, object.as_object_mut()) {
        object.insert("model_id".to_owned(), model_id.into());
    }
    if let (RequestError::Limited { refusal }, Some(object)) = (error, object.as_object_mut()) {
        object.insert("limit".to_owned(), refusal.limit.as_str().into());
    }
    json!({ "error": object })
}

/// An error on its way to the client, with what is known about the request by then.
#[derive(Debug)]
pub struct Refuse {
    pub error: RequestError,
    pub model_id: Option<Arc<str>>,
    /// `RateLimit` and `RateLimit-Policy`, where a limit refused.
    pub headers: Vec<(&'static str, String)>,
}

impl From<RequestError> for Refuse {
    fn from(error: RequestError) -> Self {
        Self { error, model_id: None, headers: Vec::new() }
    }
}

impl Refuse {
    /// Names the model that the request was for.
    pub fn about(error: RequestError, model_id: &Arc<str>) -> Self {
        Self { error, model_id: Some(model_id.clone()), headers: Vec::new() }
    }
}

impl IntoResponse for Refuse {
    fn into_response(self) -> Response {
        let row = row(&self.error);
        let mut response = (row.status, Json(body(&self.error, self.model_id.as_deref()))).into_response();
        response.extensions_mut().insert(Code(self.error.code()));
        let headers = response.headers_mut();
        if row.elsewhere {
            headers.insert(HEADER_RETRY, HeaderValue::from_static("1"));
        }
        if let Some(ms) = row.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds_up(ms)));
        }
        if matches!(self.error, RequestError::UnsupportedMedia { .. }) {
            // RFC 9110 §15.5.16: which type and coding would do.
            headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        for (name, value) in &self.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(*name, value);
            }
        }
        response
    }
}

/// Whole seconds, rounded up, at least 1: what `Retry-After` can say.
pub fn seconds_up(ms: u64) -> u64 {
    ms.div_ceil(1_000).max(1)
}

/// `RateLimit` of a refusal (draft-ietf-httpapi-ratelimit-headers-10).
pub fn refused_header(refusal: &Refusal) -> (&'static str, String) {
    ("ratelimit", format!("{};r=0;t={}", quoted(&refusal.limit), seconds_up(refusal.retry_after_ms)))
}

/// A structured-field string; limit ids are ASCII, anything else is dropped.
pub fn quoted(text: &str) -> String {
    let clean: String = text.chars().filter(|c| (' '..='~').contains(c) && *c != '"' && *c != '\\').collect();
    format!("\"{clean}\"")
}
