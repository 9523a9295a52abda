//! The way of a request from its body to the lane's door: read, version, queue, limits. Each refusal leaves nothing behind.
use std::{num::NonZero, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Response,
};
use http_body_util::BodyExt;
use tidegate_engine::error::EngineError;
use tidegate_proto::contract::HEADER_MODEL_VERSION;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    App, BODY_TIMEOUT, MAX_BODIES, MAX_BODY,
    errors::{Refuse, quoted, refused_header, seconds_up},
    media,
    observe::Stopwatch,
};
use crate::{
    drain::Phase,
    error::RequestError,
    hotswap::table::Serving,
    lane::{
        job::{Clock, Timing},
        reply::Held,
    },
};

/// Texts longer than this are tokenised off the async threads.
const INLINE_TEXT: usize = 4_096;
const VERSION: HeaderName = HeaderName::from_static(HEADER_MODEL_VERSION);

/// An admitted request. Dropping it gives back its place and its permit.
pub struct Admitted {
    pub serving: Arc<Serving>,
    pub clock: Clock,
    /// Its place in the queue and its permits; shared with the lane.
    pub held: Held,
    /// `RateLimit` headers of the tightest limit.
    pub limit_headers: Vec<(&'static str, String)>,
}

/// Bounds on the work that is done for requests before they are in a lane.
pub struct Intake {
    /// Bytes of bodies that may still arrive.
    bodies: Arc<Semaphore>,
    /// Long texts that may be tokenised at a time.
    tokenisers: Arc<Semaphore>,
}

impl Default for Intake {
    fn default() -> Self {
        Self::new(MAX_BODIES, std::thread::available_parallelism().map_or(2, NonZero::get).max(2))
    }
}

/// A text that is to be tokenised.
#[derive(Clone, Copy)]
pub struct Text {
    pub bytes: usize,
    /// The field that it came in.
    pub param: &'static str,
}

/// A body, and its part of [`MAX_BODIES`], which is given back with it.
pub struct Arrived {
    pub bytes: Vec<u8>,
    part: OwnedSemaphorePermit,
}

/// Reads the whole body, if it says that it is JSON, within size and time.
pub async fn read_body(app: &App, headers: &HeaderMap, body: Body) -> Result<Arrived, RequestError> {
    media::check(headers)?;
    let declared =
        headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > MAX_BODY) {
        return Err(RequestError::BodyTooLarge { max: MAX_BODY });
    }
    let late = |_| RequestError::BodyLate { seconds: BODY_TIMEOUT.as_secs() };
    let read = tokio::time::timeout(BODY_TIMEOUT, app.intake.read(body)).await.map_err(late)?;
    read.inspect_err(|error| {
        if matches!(error, RequestError::BodiesFull { .. }) {
            app.metrics.bound_hit("bodies");
        }
    })
}

impl Intake {
    pub fn new(bodies: usize, tokenisers: usize) -> Self {
        Self { bodies: Arc::new(Semaphore::new(bodies)), tokenisers: Arc::new(Semaphore::new(tokenisers)) }
    }

    /// Each body counts with the bytes that have arrived, not with those that it announces: a slow sender keeps others out with
    /// what it has sent, until its time ([`BODY_TIMEOUT`]) is over.
    async fn read(&self, mut body: Body) -> Result<Arrived, RequestError> {
        let full = |_| RequestError::BodiesFull { max: MAX_BODIES };
        let mut arrived =
            Arrived { bytes: Vec::new(), part: self.bodies.clone().try_acquire_many_owned(0).map_err(full)? };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| RequestError::BodyBroken { reason: causes(&error) })?;
            let Ok(data) = frame.into_data() else { continue };
            if arrived.bytes.len() + data.len() > MAX_BODY {
                return Err(RequestError::BodyTooLarge { max: MAX_BODY });
            }
            let part = u32::try_from(data.len()).unwrap_or(u32::MAX);
            arrived.part.merge(self.bodies.clone().try_acquire_many_owned(part).map_err(full)?);
            arrived.bytes.extend_from_slice(&data);
        }
        Ok(arrived)
    }

    /// Runs a tokenisation: at once when short, off the async threads when long, and then only a few at a time. One that has begun
    /// keeps its place until it ends, also when its client has gone meanwhile.
    pub async fn tokenise<T: Send + 'static>(
        &self,
        text: Text,
        clock: Clock,
        work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, RequestError> {
        let result = if text.bytes <= INLINE_TEXT {
            work()
        } else {
            let failed = RequestError::Engine { code: "TG-2046" };
            let place = tokio::time::timeout_at(clock.deadline.into(), self.tokenisers.clone().acquire_owned()).await;
            let place =
                place.map_err(|_| RequestError::TimedOut { ms: clock.allowed_ms() })?.map_err(|_| failed.clone())?;
            let work = move || {
                let _place = place;
                work()
            };
            tokio::task::spawn_blocking(work).await.map_err(|_| failed)?
        };
        result.map_err(|error| {
            let (code, reason) = (error.code(), error.report());
            if error.request_fault() {
                RequestError::PromptRefused { param: text.param, reason: error.bare().to_string() }
            } else if error.file_fault() {
                tracing::warn!(code, error = reason, "a file of the model version failed on a request");
                RequestError::ModelFiles { code, reason }
            } else {
                RequestError::Engine { code }
            }
        })
    }
}

/// What broke a body: the innermost cause says it, the outer ones only that something did.
fn causes(error: &axum::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
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
    if serving.lane.stats.is_stuck() {
        return Err(about(RequestError::NotReady));
    }
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
    let held = Held::new((place, permit, Stopwatch::start(endpoint, &app.metrics)));
    Ok(Admitted { clock: Clock::start(table.pool.inference), serving, held, limit_headers })
}

fn policy(limit: &str, rate: u64, window_ms: u64) -> String {
    format!("{};q={rate};w={}", quoted(limit), seconds_up(window_ms))
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

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::{Arrived, Clock, Intake, RequestError, Text};

    fn text(bytes: usize) -> Text {
        Text { bytes, param: "messages" }
    }

    fn body(bytes: usize) -> axum::body::Body {
        axum::body::Body::from(vec![b'x'; bytes])
    }

    #[tokio::test]
    async fn bodies_that_have_arrived_share_one_budget_and_give_it_back() {
        let intake = Intake::new(1_000, 1);
        let first: Arrived = intake.read(body(600)).await.unwrap();
        assert_eq!(first.bytes.len(), 600);
        assert!(matches!(intake.read(body(401)).await, Err(RequestError::BodiesFull { .. })));
        let second = intake.read(body(400)).await.unwrap();
        drop((first, second));
        assert!(intake.read(body(1_000)).await.is_ok());
        assert_eq!(intake.bodies.available_permits(), 1_000);
    }

    #[tokio::test]
    async fn a_tokenisation_keeps_its_place_until_it_ends_even_when_its_client_has_gone() {
        let intake = std::sync::Arc::new(Intake::new(1, 1));
        let clock = Clock::start(Duration::from_secs(20));
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go, wait) = mpsc::channel::<()>();
        let client = {
            let intake = intake.clone();
            tokio::spawn(async move {
                let work = move || {
                    begun.send(()).unwrap();
                    wait.recv().unwrap();
                    Ok(())
                };
                intake.tokenise(text(1 << 20), clock, work).await
            })
        };
        has_begun.await.unwrap();
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        assert_eq!(intake.tokenisers.available_permits(), 0, "the work goes on");
        let soon = Clock::start(Duration::ZERO);
        assert!(matches!(intake.tokenise(text(1 << 20), soon, || Ok(())).await, Err(RequestError::TimedOut { .. })));
        assert!(intake.tokenise(text(1), soon, || Ok(())).await.is_ok(), "a short text waits for nobody");
        go.send(()).unwrap();
        assert_eq!(intake.tokenise(text(1 << 20), clock, || Ok(7)).await.unwrap(), 7);
    }
}
