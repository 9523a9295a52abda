//! The way of a request from its body to the lane's door: read, version, queue, limits. Each refusal leaves nothing behind.
use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Response,
};
use tidegate_engine::error::EngineError;
use tidegate_proto::contract::HEADER_MODEL_VERSION;

use super::{
    App, BODY_TIMEOUT, MAX_BODY,
    errors::{Refuse, quoted, refused_header, seconds_up},
    observe::Stopwatch,
};
use crate::{
    drain::Phase,
    error::RequestError,
    hotswap::table::Serving,
    lane::job::{Clock, Timing},
    limits::LimitPermit,
    queue::QueuePlace,
};

/// Texts longer than this are tokenised off the async threads.
const INLINE_TEXT: usize = 4_096;
const VERSION: HeaderName = HeaderName::from_static(HEADER_MODEL_VERSION);

/// An admitted request. Dropping it gives back its place and its permit.
pub struct Admitted {
    pub serving: Arc<Serving>,
    pub clock: Clock,
    pub guards: Guards,
    /// `RateLimit` headers of the tightest limit.
    pub limit_headers: Vec<(&'static str, String)>,
}

/// What a request holds until its answer has ended or its client has gone.
pub struct Guards {
    _place: QueuePlace,
    _permit: LimitPermit,
    _watch: Stopwatch,
}

/// Reads the whole body, within size and time.
pub async fn read_body(headers: &HeaderMap, body: Body) -> Result<Bytes, RequestError> {
    let declared =
        headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > MAX_BODY) {
        return Err(RequestError::BodyTooLarge { max: MAX_BODY });
    }
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_large(&error) => Err(RequestError::BodyTooLarge { max: MAX_BODY }),
        Ok(Err(error)) => Err(RequestError::BodyBroken { reason: error.to_string() }),
        Err(_) => Err(RequestError::BodyBroken { reason: format!("not within {} s", BODY_TIMEOUT.as_secs()) }),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// Finds the version, a place in the queue and a permit under the limits; or consumes nothing.
pub fn admit(app: &App, headers: &HeaderMap, model: &str, endpoint: &'static str) -> Result<Admitted, Refuse> {
    if app.phases.now() == Phase::Draining {
        return Err(RequestError::Draining.into());
    }
    let table = app.table.load();
    let named = match headers.get(VERSION) {
        Some(value) => Some(value.to_str().map_err(|_| RequestError::VersionNotHere { version: "?".to_owned() })?),
        None => None,
    };
    let serving = table.pick(named, model)?.clone();
    let about = |error: RequestError| Refuse::about(error, &serving.model_id);
    let place = app.queue.enter().map_err(|error| {
        app.metrics.bound_hit("queue");
        about(error)
    })?;
    let permit = app.limits.admit(headers).map_err(|refusal| {
        app.metrics.limit_refused(&refusal.limit);
        let mut headers = vec![refused_header(&refusal)];
        if let Some(quota) = app.limits.quota(&refusal.limit) {
            headers.push(("ratelimit-policy", policy(&refusal.limit, quota.rate, quota.window_ms)));
        }
        Refuse { headers, ..about(RequestError::Limited { refusal }) }
    })?;
    for refusal in permit.shadow_refusals() {
        app.metrics.shadow_refused(&refusal.limit);
    }
    let limit_headers = permit.tightest().map_or_else(Vec::new, |standing| {
        let limit = format!("{};r={}", quoted(&standing.limit), standing.remaining);
        let quota = standing.quota;
        vec![("ratelimit", limit), ("ratelimit-policy", policy(&standing.limit, quota.rate, quota.window_ms))]
    });
    let guards = Guards { _place: place, _permit: permit, _watch: Stopwatch::start(endpoint, &app.metrics) };
    Ok(Admitted { clock: Clock::start(table.pool.inference), serving, guards, limit_headers })
}

fn policy(limit: &str, rate: u64, window_ms: u64) -> String {
    format!("{};q={rate};w={}", quoted(limit), seconds_up(window_ms))
}

/// Runs a tokenisation: at once when short, off the async threads when long.
pub async fn tokenise<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, RequestError> {
    let result = if bytes <= INLINE_TEXT {
        work()
    } else {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(_) => return Err(RequestError::Engine { code: "TG-2046" }),
        }
    };
    result.map_err(|error| {
        if error.request_fault() {
            RequestError::PromptRefused { reason: error.report() }
        } else {
            RequestError::Engine { code: error.code() }
        }
    })
}

/// Headers of a good answer.
pub fn dress(response: &mut Response, serving: &Serving, timing: Timing, limit_headers: &[(&'static str, String)]) {
    let headers = response.headers_mut();
    headers.insert(VERSION, serving.header.clone());
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    let text = format!("queue;dur={:.2}, engine;dur={:.2}", ms(timing.queue), ms(timing.engine));
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert("server-timing", value);
    }
    for (name, value) in limit_headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(*name, value);
        }
    }
}

/// Seconds since 1970, for `created`.
pub fn unix_seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
