//! `POST /v1/chat/completions`, plain and streamed. The lane gives place and permits back with the last event, whether or not the
//! client reads; when the client goes, the channel closes and the lane frees the sequence between two steps. A request that still
//! waits, or whose lane does not stop, gives them back as soon as nobody waits for it.
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::Stream;
use tidegate_engine::{EngineError, sampling::SamplingParams};
use tokio::{
    sync::mpsc,
    time::{Sleep, sleep_until, timeout_at},
};

use super::{
    App,
    admit::{Admitted, Text, admit, dress, read_body, unix_seconds},
    chat_request::{ValidChatRequest, parse_chat},
    chat_response::{Choice, Completion, Identity, Message, Piece, Usage},
    errors::{self, Refuse},
    sse,
};
use crate::{
    error::RequestError,
    hotswap::table::Serving,
    lane::{
        Abilities,
        job::{ChatJob, Clock, Event, Finish, OUTPUT_EVENTS, Timing},
        reply::{ChatOut, Waiter},
    },
};

/// The handler.
pub async fn completions(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Refuse> {
    let body = read_body(&app, &headers, body).await?;
    let request = parse_chat(&body.bytes)?;
    let admitted = admit(&app, &headers, &request.model, "chat")?;
    drop(body);
    let model_id = admitted.serving.model_id.clone();
    let about = |error| Refuse::about(error, &model_id);
    let begun = begin(&app, request, admitted).await.map_err(about)?;
    if begun.stream { Ok(streamed(begun)) } else { plain(begun).await.map_err(about) }
}

/// An answer whose prefill succeeded.
struct Begun {
    events: mpsc::Receiver<Event>,
    waiter: Waiter,
    serving: Arc<Serving>,
    clock: Clock,
    limit_headers: Vec<(&'static str, String)>,
    identity: Identity,
    timing: Timing,
    prompt_tokens: usize,
    stream: bool,
    include_usage: bool,
}

/// Tokenises, checks the length, queues, and waits for the prefill.
async fn begin(app: &App, request: ValidChatRequest, admitted: Admitted) -> Result<Begun, RequestError> {
    let Admitted { serving, clock, held, limit_headers } = admitted;
    let Abilities::Chat { max_sequence } = serving.lane.abilities else {
        return Err(RequestError::WrongTask { model: request.model, wanted: "chat completions" });
    };
    let (codec, messages) = (serving.lane.codec.clone(), request.messages);
    let bytes = messages.iter().map(|message| message.content.len()).sum();
    // One token of an answer must fit behind the prompt.
    let most = max_sequence.saturating_sub(1);
    let encode = move || within(max_sequence, codec.encode_chat_within(&messages, most));
    let prompt = app.intake.tokenise(Text { bytes, param: "messages" }, clock, encode).await??;
    let prompt_tokens = prompt.len();
    let too_long = |asked| RequestError::ContextLength { max: max_sequence, prompt: prompt_tokens, asked };
    let room = max_sequence
        .checked_sub(prompt_tokens)
        .filter(|room| *room > 0)
        .ok_or(too_long(request.max_tokens.unwrap_or(1)))?;
    let max_tokens = request.max_tokens.unwrap_or(room);
    if max_tokens > room {
        return Err(too_long(max_tokens));
    }
    let (out, mut events) = mpsc::channel(OUTPUT_EVENTS);
    let span = tracing::Span::current();
    let queued = tracing::debug_span!(parent: &span, "queue");
    let sampling = SamplingParams {
        temperature: request.temperature,
        top_p: request.top_p,
        presence_penalty: request.presence_penalty,
        frequency_penalty: request.frequency_penalty,
        seed: request.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0),
    };
    let waiter = Waiter::new(&held, &serving.lane.stats);
    let (stop, out) = (request.stop, ChatOut::new(out, held));
    serving.lane.chat(ChatJob { prompt, max_tokens, sampling, stop, clock, out, span, queued })?;
    let timing = match timeout_at(clock.give_up(), events.recv()).await.map_err(|_| too_late(clock, &waiter))? {
        Some(Event::Started(timing)) => timing,
        Some(Event::Failed(error)) => return Err(error),
        Some(Event::Text(_) | Event::Done { .. }) | None => return Err(BROKEN),
    };
    let identity = Identity {
        id: format!("chatcmpl-{}", uuid::Uuid::new_v4().simple()),
        created: unix_seconds(),
        model: serving.model_id.clone(),
        fingerprint: serving.fingerprint.clone(),
    };
    let (stream, include_usage) = (request.stream, request.include_usage);
    Ok(Begun { events, waiter, serving, clock, limit_headers, identity, timing, prompt_tokens, stream, include_usage })
}

/// A prompt that is too long by its length alone is the request's affair, not the engine's.
fn within(max: usize, encoded: Result<Vec<u32>, EngineError>) -> Result<Result<Vec<u32>, RequestError>, EngineError> {
    match encoded.as_ref().map_err(EngineError::too_long) {
        Err(Some(least)) => Ok(Err(RequestError::SurelyTooLong { max, least })),
        Ok(_) | Err(None) => encoded.map(Ok),
    }
}

/// A lane that went away with the request. No other worker is asked: the request may be what broke it.
pub const BROKEN: RequestError = RequestError::Engine { code: "TG-2113" };

/// The lane did not end a late request: its engine does not stop. What the request holds is free from now on.
pub fn too_late(clock: Clock, waiter: &Waiter) -> RequestError {
    waiter.give_up();
    RequestError::TimedOut { ms: clock.allowed_ms() }
}

async fn plain(mut begun: Begun) -> Result<Response, RequestError> {
    let mut text = String::new();
    let (finish, completion_tokens) = loop {
        let event = timeout_at(begun.clock.give_up(), begun.events.recv()).await;
        match event.map_err(|_| too_late(begun.clock, &begun.waiter))? {
            Some(Event::Text(piece)) => text.push_str(&piece),
            Some(Event::Done { finish, completion_tokens }) => break (finish, completion_tokens),
            Some(Event::Failed(error)) => return Err(error),
            Some(Event::Started(_)) | None => return Err(BROKEN),
        }
    };
    let identity = &begun.identity;
    let message = Message { role: "assistant", content: &text, refusal: None };
    let completion = Completion {
        id: &identity.id,
        object: "chat.completion",
        created: identity.created,
        model: &identity.model,
        choices: [Choice { index: 0, message, logprobs: None, finish_reason: finish.as_str() }],
        usage: Usage::new(begun.prompt_tokens, completion_tokens),
        system_fingerprint: &identity.fingerprint,
    };
    let mut response = axum::Json(completion).into_response();
    dress(&mut response, &begun.serving, begun.timing, &begun.limit_headers);
    Ok(response)
}

fn streamed(begun: Begun) -> Response {
    let Begun { events, waiter, serving, clock, limit_headers, identity, timing, prompt_tokens, include_usage, .. } =
        begun;
    let mut first = Vec::with_capacity(512);
    // Plain data of ours always serialises.
    let _ = identity.event(&mut first, &Piece::Role, include_usage);
    let give_up = Box::pin(sleep_until(clock.give_up()));
    let state = Streaming { events, waiter, clock, give_up, identity, prompt_tokens, include_usage };
    let stream = SseStream { pending: Some(first), state: Some(state) };
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    dress(&mut response, &serving, timing, &limit_headers);
    response
}

struct Streaming {
    events: mpsc::Receiver<Event>,
    waiter: Waiter,
    clock: Clock,
    give_up: Pin<Box<Sleep>>,
    identity: Identity,
    prompt_tokens: usize,
    include_usage: bool,
}

/// The body of a stream. `state` is given up with the last event.
struct SseStream {
    pending: Option<Vec<u8>>,
    state: Option<Streaming>,
}

impl Stream for SseStream {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.pending.take() {
            return Poll::Ready(Some(Ok(first.into())));
        }
        let Some(state) = &mut self.state else { return Poll::Ready(None) };
        let event = match state.events.poll_recv(cx) {
            Poll::Pending if state.give_up.as_mut().poll(cx).is_ready() => {
                Some(Event::Failed(too_late(state.clock, &state.waiter)))
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(event) => event,
        };
        let mut out = Vec::with_capacity(256);
        let ended = state.write(&mut out, event);
        if ended {
            self.state = None;
        }
        Poll::Ready(Some(Ok(out.into())))
    }
}

impl Streaming {
    /// Writes an event and what else is there already; several texts become one delta. True after the last one.
    fn write(&mut self, out: &mut Vec<u8>, event: Option<Event>) -> bool {
        let mut next = event;
        if let Some(Event::Text(mut text)) = next {
            next = loop {
                match self.events.try_recv() {
                    Ok(Event::Text(more)) => text.push_str(&more),
                    Ok(other) => break Some(other),
                    Err(mpsc::error::TryRecvError::Empty) => {
                        self.put(out, &Piece::Text(&text));
                        return false;
                    }
                    Err(mpsc::error::TryRecvError::Disconnected) => break None,
                }
            };
            self.put(out, &Piece::Text(&text));
        }
        match next {
            Some(Event::Done { finish, completion_tokens }) => self.last(out, finish, completion_tokens),
            Some(Event::Failed(error)) => self.error(out, &error),
            Some(Event::Started(_) | Event::Text(_)) | None => self.error(out, &BROKEN),
        }
        true
    }

    fn put(&self, out: &mut Vec<u8>, piece: &Piece<'_>) {
        // Plain data of ours always serialises.
        let _ = self.identity.event(out, piece, self.include_usage);
    }

    fn last(&self, out: &mut Vec<u8>, finish: Finish, completion_tokens: usize) {
        self.put(out, &Piece::Finish(finish));
        if self.include_usage {
            self.put(out, &Piece::Usage(Usage::new(self.prompt_tokens, completion_tokens)));
        }
        out.extend_from_slice(sse::DONE);
    }

    fn error(&self, out: &mut Vec<u8>, error: &RequestError) {
        let body = errors::body(error, Some(&self.identity.model));
        // Plain data of ours always serialises.
        let _ = sse::error(out, &body);
    }
}
