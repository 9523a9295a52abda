//! What ties a request in a lane to who waits for its answer: the way back, and the place and permits that both can give back.
//! Whoever lets go first frees them; a way back that is dropped before its request began says that another worker may take it.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::job::{Embedded, Event, LaneStats};
use crate::error::RequestError;

/// What a request holds from its admission to the end of its answer: its place in the queue, its permits. Shared by the lane and
/// who waits for the answer; freed once, at the latest with the last of them.
#[derive(Clone, Default)]
pub struct Held(Arc<Mutex<Holding>>);

#[derive(Default)]
struct Holding {
    what: Option<Box<dyn Send>>,
    /// The engine has seen the request, or it was answered.
    begun: bool,
}

impl Held {
    /// Holds `what` until it is freed.
    pub fn new(what: impl Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Holding { what: Some(Box::new(what)), begun: false })))
    }

    fn lock(&self) -> MutexGuard<'_, Holding> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_begun(&self) -> bool {
        self.lock().begun
    }

    fn begin(&self) {
        self.lock().begun = true;
    }

    /// What was held is dropped outside the lock, because it takes locks of its own.
    fn free(&self) {
        let what = self.lock().what.take();
        drop(what);
    }
}

/// Who waits for an answer. Dropped while the request still waits, or while its lane is stuck, it frees what the request holds;
/// else the lane does, once the work has ended.
pub struct Waiter {
    held: Held,
    lane: Arc<LaneStats>,
}

impl Waiter {
    /// Waits for the request that holds `held` in this lane.
    pub fn new(held: &Held, lane: &Arc<LaneStats>) -> Self {
        Self { held: held.clone(), lane: lane.clone() }
    }

    /// Nobody waits any more, whatever the lane does: its engine does not stop.
    pub fn give_up(&self) {
        self.held.free();
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if !self.held.has_begun() || self.lane.is_stuck() {
            self.held.free();
        }
    }
}

/// Where the events of a chat go.
pub struct ChatOut {
    events: mpsc::Sender<Event>,
    held: Held,
}

impl ChatOut {
    /// The sending end, and what is freed before the last event is sent.
    pub fn new(events: mpsc::Sender<Event>, held: Held) -> Self {
        Self { events, held }
    }

    /// The engine sees the request from now on.
    pub fn begin(&self) {
        self.held.begin();
    }

    /// Whether the client has gone.
    pub fn is_closed(&self) -> bool {
        self.events.is_closed()
    }

    /// Events that can be sent now.
    pub fn room(&self) -> usize {
        self.events.capacity()
    }

    /// There is always room: a row without room is not stepped, and its last event has its place kept. A closed channel means
    /// that the client has gone, which the lane sees before the next step.
    pub fn send(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    /// Sends the last event, after what the request held is free.
    pub fn end(&self, event: Event) {
        self.held.begin();
        self.held.free();
        self.send(event);
    }
}

impl Drop for ChatOut {
    fn drop(&mut self) {
        if !self.held.has_begun() {
            self.end(Event::Failed(RequestError::Draining));
        }
    }
}

/// Where the vectors of an embeddings request go.
pub struct EmbedOut {
    /// None once it is answered.
    reply: Option<oneshot::Sender<Result<Embedded, RequestError>>>,
    held: Held,
}

impl EmbedOut {
    /// The sending end, and what is freed before the answer is sent.
    pub fn new(reply: oneshot::Sender<Result<Embedded, RequestError>>, held: Held) -> Self {
        Self { reply: Some(reply), held }
    }

    /// The engine sees the request from now on.
    pub fn begin(&self) {
        self.held.begin();
    }

    /// Whether the client has gone.
    pub fn is_closed(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Answers, after what the request held is free.
    pub fn end(mut self, answer: Result<Embedded, RequestError>) {
        self.answer(answer);
    }

    fn answer(&mut self, answer: Result<Embedded, RequestError>) {
        self.held.begin();
        self.held.free();
        if let Some(reply) = self.reply.take() {
            // A closed channel means that the client has gone.
            let _ = reply.send(answer);
        }
    }
}

impl Drop for EmbedOut {
    fn drop(&mut self) {
        if !self.held.has_begun() {
            self.answer(Err(RequestError::Draining));
        }
    }
}
