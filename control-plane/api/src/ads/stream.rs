//! One stream: feeds requests, publications and time to the machine, hands its responses to the connection, and reports.
//! It never looks at anything new while a response waits for the connection: that is what bounds its memory.
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use envoy_types::pb::envoy::config::core::v3::Node;
use tidegate_xds::{Action, CloseCode, Event, Hub, Response, Stream};
use tokio::{sync::mpsc, sync::watch, time::Instant};
use tonic::{Status, Streaming};

use super::{
    Authenticated,
    clock::now_ms,
    convert::{self, Incoming},
    drained, group_of,
    refusal::{Refusal, unreadable},
    service::Shared,
};
use crate::nodes::{AdsPeer, Answered, Door, Standing, StreamTicket};

/// What a stream begins with.
pub(crate) struct Conversation<R> {
    pub shared: Arc<Shared>,
    pub caller: Authenticated,
    pub inbound: Streaming<R>,
    pub outbound: mpsc::Sender<Result<Response, Status>>,
}

/// Why a stream ended.
enum End {
    /// The client closed it or is gone.
    Client,
    /// We close it.
    Server(Refusal),
}

impl End {
    /// Of a stream whose requests ended with this status.
    fn of(status: &Status) -> Self {
        unreadable(status).map_or(End::Client, |what| End::Server(Refusal::BadRequest { what }))
    }
}

/// Runs a stream to its end.
pub(crate) async fn run<R: Incoming>(conversation: Conversation<R>) {
    let Conversation { shared, caller, mut inbound, outbound } = conversation;
    shared.metrics.streams.add(1, &[]);
    let end = match first_request(&shared, &caller, &mut inbound).await {
        Ok((first, node)) => converse(Talk::new::<R>((&shared, &caller, &outbound), &node), first, &mut inbound).await,
        Err(end) => end,
    };
    shared.metrics.streams.add(-1, &[]);
    if let End::Server(refusal) = end {
        shared.metrics.refused(refusal.code());
        let node = &caller.identity.node_id;
        if shared.nodes.refused(&caller.identity, Door::Ads, &refusal) {
            tracing::warn!(%node, code = refusal.code(), %refusal, "ended an ADS stream");
        } else {
            tracing::debug!(%node, code = refusal.code(), %refusal, "ended an ADS stream");
        }
        // Waits only as long as the client may still read.
        let _ = tokio::time::timeout(Duration::from_secs(1), outbound.send(Err(refusal.into()))).await;
    }
}

async fn converse<R: Incoming>(mut talk: Talk<'_>, first: R, inbound: &mut Streaming<R>) -> End {
    let actions = talk.hear(first);
    if let Err(refusal) = talk.perform(actions) {
        return End::Server(refusal);
    }
    talk.report();
    let end = talk.run(inbound).await;
    talk.report();
    end
}

/// The request that says which node this is; its id must be the token's.
async fn first_request<R: Incoming>(
    shared: &Shared,
    caller: &Authenticated,
    inbound: &mut Streaming<R>,
) -> Result<(R, Node), End> {
    let patience = shared.settings.first_request;
    let mut drain = shared.drain.clone();
    let first = tokio::select! {
        first = tokio::time::timeout(patience, inbound.message()) => first,
        () = drained(&mut drain) => return Err(End::Server(Refusal::Draining)),
    };
    let mut first = match first {
        Err(_) => return Err(End::Server(Refusal::Silent { seconds: patience.as_secs() })),
        Ok(Ok(Some(first))) => first,
        Ok(Ok(None)) => return Err(End::Client),
        Ok(Err(status)) => return Err(End::of(&status)),
    };
    let node = first.take_node().unwrap_or_default();
    if node.id != caller.identity.node_id {
        let said = node.id.chars().take(128).collect();
        return Err(End::Server(Refusal::OtherNode { said }));
    }
    Ok((first, node))
}

struct Talk<'a> {
    shared: &'a Arc<Shared>,
    caller: &'a Authenticated,
    outbound: &'a mpsc::Sender<Result<Response, Status>>,
    hub: watch::Receiver<Arc<Hub>>,
    group: String,
    stream: Stream,
    /// At most one response per type: nothing is read while one waits here.
    queue: VecDeque<Response>,
    /// By type URL: how far the node has answered, refusals included.
    answered: BTreeMap<Arc<str>, Answered>,
    /// Nonce of the newest response of each type, until it is answered.
    unanswered: BTreeMap<Arc<str>, String>,
    /// As it was reported last; the same `Arc` while it does not change.
    unfinished: Arc<BTreeSet<Arc<str>>>,
    ticket: StreamTicket,
}

type Ends<'a> = (&'a Arc<Shared>, &'a Authenticated, &'a mpsc::Sender<Result<Response, Status>>);

impl<'a> Talk<'a> {
    fn new<R: Incoming>((shared, caller, outbound): Ends<'a>, node: &Node) -> Self {
        let mut hub = shared.hub.clone();
        let group = group_of(&caller.identity);
        let state = hub.borrow_and_update().group(&group);
        let peer = AdsPeer {
            identity: caller.identity.clone(),
            group: group.clone(),
            address: caller.peer,
            variant: R::VARIANT,
            build: convert::build(node),
        };
        tracing::debug!(node = %peer.identity.node_id, %group, build = %peer.build, "a node opened an ADS stream");
        let mut ticket = shared.nodes.connect(peer);
        let mut stream = Stream::new(R::VARIANT, shared.settings.stream, state, now_ms());
        stream.resume(std::mem::take(&mut ticket.inherited));
        let (queue, answered, unanswered, unfinished) = Default::default();
        Self { shared, caller, outbound, hub, group, stream, queue, answered, unanswered, unfinished, ticket }
    }

    fn hear<R: Incoming>(&mut self, request: R) -> Vec<Action> {
        let (type_url, nonce) = request.answers();
        if self.unanswered.get(type_url).is_some_and(|newest| newest == nonce) {
            self.unanswered.remove(type_url);
        }
        request.hand_to(&mut self.stream, now_ms())
    }

    async fn run<R: Incoming>(&mut self, inbound: &mut Streaming<R>) -> End {
        let mut drain = self.shared.drain.clone();
        let mut recheck = tokio::time::interval(self.shared.settings.recheck_token);
        loop {
            let idle = self.queue.is_empty();
            let deadline = self.stream.deadline_ms().filter(|_| idle);
            let sleep = Duration::from_millis(deadline.unwrap_or_default().saturating_sub(now_ms()));
            let actions = tokio::select! {
                biased;
                () = drained(&mut drain) => return End::Server(Refusal::Draining),
                // Before the traffic: a busy stream must not outlive its token.
                _ = recheck.tick() => {
                    if !self.caller.still_good() {
                        return End::Server(Refusal::Revoked);
                    }
                    continue;
                }
                permit = self.outbound.reserve(), if !idle => {
                    let Ok(permit) = permit else { return End::Client };
                    if let Some(response) = self.queue.pop_front() {
                        self.stream.on_written(&response.type_url, now_ms());
                        permit.send(Ok(response));
                    }
                    continue;
                }
                // Requests before publications: an ACK makes room for the next push.
                request = inbound.message(), if idle => match request {
                    Ok(Some(request)) => self.hear(request),
                    Ok(None) => return End::Client,
                    Err(status) => return End::of(&status),
                },
                changed = self.hub.changed(), if idle => {
                    if changed.is_err() {
                        return End::Server(Refusal::Draining);
                    }
                    let state = self.hub.borrow_and_update().group(&self.group);
                    self.stream.on_update(&state, now_ms())
                }
                () = tokio::time::sleep_until(Instant::now() + sleep), if deadline.is_some() => self.stream.on_tick(now_ms()),
            };
            if let Err(refusal) = self.perform(actions) {
                return End::Server(refusal);
            }
            self.report();
        }
    }

    fn perform(&mut self, actions: Vec<Action>) -> Result<(), Refusal> {
        let metrics = &self.shared.metrics;
        let state = self.stream.state();
        for action in actions {
            match action {
                Action::Send(response) => {
                    metrics.sent(&response, state);
                    self.unanswered.insert(response.type_url.clone(), response.nonce.clone());
                    self.queue.push_back(response);
                }
                Action::Close { code: CloseCode::InvalidArgument, message } => {
                    return Err(Refusal::BadRequest { what: message });
                }
                Action::Close { code: CloseCode::ResourceExhausted, message } => {
                    return Err(Refusal::OutOfBounds { what: message });
                }
                Action::Observe(event) => {
                    metrics.observed(&event, state, now_ms());
                    self.log(&event);
                }
            }
        }
        Ok(())
    }

    fn log(&self, event: &Event) {
        let node = &self.caller.identity.node_id;
        match event {
            Event::Nacked(nack) => {
                tracing::warn!(%node, type_url = %nack.type_url, refused = ?nack.refused, error = %nack.error, "a node refused its configuration");
            }
            Event::GaveUp { type_url } => {
                tracing::warn!(%node, %type_url, "a node does not answer; going on without its ACK");
            }
            Event::Acked { .. } => {}
        }
    }

    fn report(&mut self) {
        let (seq, types) = (self.stream.state().seq(), self.stream.status(now_ms()));
        // The machine sends whatever it can at once: a type with nothing on its way is answered up to the newest state.
        for status in &types {
            let answered = self.answered.entry(status.type_url.clone()).or_default();
            answered.waiting = self.unanswered.contains_key(&status.type_url);
            answered.up_to = if answered.waiting { answered.up_to } else { seq };
        }
        let (answered, unfinished) = (self.answered.clone(), self.stream.unfinished());
        if Arc::ptr_eq(&unfinished, &self.unfinished) {
            self.ticket.report_answers(types, answered);
            return;
        }
        self.ticket.report(Standing { types, answered, unfinished: BTreeSet::clone(&unfinished) });
        self.unfinished = unfinished;
    }
}
