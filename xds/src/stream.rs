//! One ADS stream of a server as a state machine: requests, publications and time go in, actions come out.
//! It never sends by itself, never sleeps and never looks at a clock; the adapter performs the actions in order.
use std::{collections::BTreeMap, collections::BTreeSet, sync::Arc};

use crate::{
    answer::{InFlight, Verdict},
    delivery::Delivery,
    log::GroupState,
    selection::{Form, Selected},
    status::TypeStatus,
    types::{self, Tier},
    warming::Warming,
    wire::Response,
};

/// State-of-the-world or incremental.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Variant {
    Sotw,
    Delta,
}

/// What one stream may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Types on one stream.
    pub max_types: usize,
    /// Names subscribed of one type.
    pub max_names: usize,
    /// Bytes of one name or type URL.
    pub max_name_bytes: usize,
    /// Bytes of resources in one response, except a full state-of-the-world CDS or LDS, which cannot be cut.
    pub max_response_bytes: usize,
    /// How long one phase waits for an answer before the next goes ahead, milliseconds.
    pub phase_timeout_ms: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_types: 32,
            max_names: 65_536,
            max_name_bytes: 1024,
            max_response_bytes: 1 << 20,
            phase_timeout_ms: 5_000,
        }
    }
}

/// What the adapter has to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Write this response.
    Send(Response),
    /// End the stream with a status.
    Close { code: CloseCode, message: String },
    /// Nothing to do; worth counting or logging.
    Observe(Event),
}

/// gRPC status of a [`Action::Close`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseCode {
    InvalidArgument,
    ResourceExhausted,
}

/// What happened on a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// `published_ms`: when the newest change in it was published; None for the answer to a subscription.
    Acked {
        type_url: Arc<str>,
        resources: usize,
        published_ms: Option<u64>,
    },
    Nacked(Nack),
    /// No answer came in time; later phases go ahead.
    GaveUp {
        type_url: Arc<str>,
    },
}

/// A refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nack {
    pub type_url: Arc<str>,
    /// The node's words, bounded.
    pub error: String,
    /// Put aside now, until they change. Empty while the culprit is still looked for.
    pub refused: Vec<Arc<str>>,
}

/// See the module.
#[derive(Debug)]
pub struct Stream {
    pub(crate) variant: Variant,
    pub(crate) bounds: Bounds,
    pub(crate) opened_ms: u64,
    /// The newest published state.
    pub(crate) latest: Arc<GroupState>,
    /// The state whose routes are on their way: see `phases`.
    pub(crate) checkpoint: Arc<GroupState>,
    pub(crate) types: BTreeMap<Arc<str>, Delivery>,
    /// Clusters that were sent and whose endpoints were not answered since.
    pub(crate) warming: Warming,
    /// Those of them that are new to the client: no route may name them yet.
    pub(crate) gating: BTreeSet<Arc<str>>,
    /// When the newest of them began to hold up routes: when its cluster was written.
    pub(crate) gated_since_ms: u64,
    /// The stream is old enough that its types can be taken as known.
    pub(crate) grace_over: bool,
    pub(crate) nonce: u64,
}

/// What one call of the machine came to so far.
#[derive(Debug)]
pub(crate) struct Turn {
    pub now_ms: u64,
    pub actions: Vec<Action>,
}

impl Turn {
    pub fn new(now_ms: u64) -> Self {
        Self { now_ms, actions: Vec::new() }
    }
}

impl Stream {
    /// A stream that was opened at `now_ms` by a node of the group with this state.
    pub fn new(variant: Variant, bounds: Bounds, state: Arc<GroupState>, now_ms: u64) -> Self {
        Self {
            variant,
            bounds,
            opened_ms: now_ms,
            checkpoint: state.clone(),
            latest: state,
            types: BTreeMap::new(),
            warming: Warming::default(),
            gating: BTreeSet::new(),
            gated_since_ms: now_ms,
            grace_over: false,
            nonce: 0,
        }
    }

    /// Something was published. Calls may be merged: only the newest state counts. O(changed).
    pub fn on_update(&mut self, state: &Arc<GroupState>, now_ms: u64) -> Vec<Action> {
        if state.seq() <= self.latest.seq() {
            return Vec::new();
        }
        self.latest = state.clone();
        let mut turn = Turn::new(now_ms);
        self.pump(&mut turn);
        turn.actions
    }

    /// Time went on. Call it at [`Self::deadline_ms`].
    pub fn on_tick(&mut self, now_ms: u64) -> Vec<Action> {
        let timeout = self.bounds.phase_timeout_ms;
        let mut turn = Turn::new(now_ms);
        for delivery in self.types.values_mut() {
            if delivery.give_up(now_ms, timeout) {
                turn.actions.push(Action::Observe(Event::GaveUp { type_url: delivery.type_url.clone() }));
            }
        }
        if now_ms >= self.gated_since_ms.saturating_add(timeout) {
            self.gating.clear();
        }
        self.pump(&mut turn);
        turn.actions
    }

    /// The response of this type that waited to be written is on its way now: the time for its answer begins, and for clusters
    /// the time for which they hold up routes. Not needed where actions are performed at once.
    pub fn on_written(&mut self, type_url: &str, now_ms: u64) {
        let waiting = self.types.get_mut(type_url).and_then(|delivery| delivery.in_flight.as_mut());
        if let Some(response) = waiting {
            response.sent_ms = response.sent_ms.max(now_ms);
            let mut sent = response.group.adds.iter();
            if types::tier(type_url) == Tier::Clusters && sent.any(|entry| self.gating.contains(entry.name())) {
                self.gated_since_ms = self.gated_since_ms.max(now_ms);
            }
        }
    }

    /// When [`Self::on_tick`] has something to do; None when only a request or a publication can change anything.
    pub fn deadline_ms(&self) -> Option<u64> {
        let timeout = self.bounds.phase_timeout_ms;
        let answers = self.types.values().filter_map(|d| d.in_flight.as_ref()).map(|f| f.sent_ms);
        let gated = (!self.gating.is_empty()).then_some(self.gated_since_ms);
        let grace = self.waits_for_routing_types().then_some(self.opened_ms);
        answers.chain(gated).chain(grace).min().map(|since| since.saturating_add(timeout))
    }

    /// The newest state that this stream was told of.
    pub fn state(&self) -> &GroupState {
        &self.latest
    }

    /// Where every type of this stream stands.
    pub fn status(&mut self, now_ms: u64) -> Vec<TypeStatus> {
        self.types.values_mut().map(|delivery| delivery.status(now_ms)).collect()
    }

    /// The client's answer to an earlier response, if the request is one.
    pub(crate) fn answer(&mut self, delivery: &mut Delivery, answer: &Answer<'_>, turn: &mut Turn) {
        let Ok(nonce) = u64::from_str_radix(answer.nonce, 16) else { return };
        let error = answer.error.map(bounded);
        match delivery.answer(nonce, error.as_deref()) {
            Verdict::Stale => {}
            Verdict::Acked { answered } => {
                for response in answered {
                    self.warmed(delivery, &response);
                    let event = Event::Acked {
                        type_url: delivery.type_url.clone(),
                        resources: response.group.adds.len(),
                        published_ms: response.published_ms,
                    };
                    turn.actions.push(Action::Observe(event));
                }
            }
            Verdict::Nacked { answered, refused } => {
                delivery.forgive_outdated(&refused, &self.view_for(&delivery.type_url));
                answered.iter().for_each(|response| self.warmed(delivery, response));
                let nack = Nack { type_url: delivery.type_url.clone(), error: error.unwrap_or_default(), refused };
                turn.actions.push(Action::Observe(Event::Nacked(nack)));
            }
        }
    }

    /// Endpoints that were sent after their cluster were answered, or the cluster is gone: nothing to wait for. Nor does
    /// a refused cluster hold up routes.
    fn warmed(&mut self, delivery: &Delivery, answered: &InFlight) {
        let tier = types::tier(&delivery.type_url);
        if tier == Tier::Clusters {
            answered.group.removes.iter().for_each(|name| self.stop_warming(name));
        }
        for entry in &answered.group.adds {
            let Some(nonce) = self.warming.nonce(entry.name()) else { continue };
            if tier == Tier::Clusters && delivery.refused.get(entry.name()).is_some() {
                self.gating.remove(entry.name());
            } else if tier == Tier::Endpoints && answered.first_nonce > nonce {
                self.stop_warming(entry.name());
            }
        }
    }

    fn stop_warming(&mut self, name: &str) {
        self.warming.remove(name);
        self.gating.remove(name);
    }

    /// The client gave these names up. Endpoints that were given up may be of a cluster before the one that is on its way now.
    pub(crate) fn dropped(&mut self, type_url: &str, names: &BTreeSet<Arc<str>>) {
        if types::tier(type_url) == Tier::Clusters {
            names.iter().for_each(|name| self.stop_warming(name));
        }
    }

    /// A type that is asked for the first time.
    pub(crate) fn begin(&self, type_url: &str, now_ms: u64) -> Delivery {
        let form = match self.variant {
            Variant::Delta => Form::Delta,
            Variant::Sotw if types::is_full_state(type_url) => Form::Full,
            Variant::Sotw => Form::Changed,
        };
        Delivery::new(type_url, form, now_ms)
    }

    /// Clusters whose endpoints were not answered when the stream ended. Give them to the node's next stream: the client
    /// counts endpoints that it had before as held, and a cluster that it was warming would wait for them in vain.
    /// O(1), and the same `Arc` as before, while nothing changes.
    pub fn unfinished(&mut self) -> Arc<BTreeSet<Arc<str>>> {
        self.warming.all()
    }

    /// See [`Self::unfinished`]; before the first request.
    pub fn resume(&mut self, unfinished: BTreeSet<Arc<str>>) {
        self.warming.inherit(unfinished);
    }

    /// Turns a selection into a response and remembers it.
    pub(crate) fn send(&mut self, delivery: &mut Delivery, selected: Selected, now_ms: u64) -> Action {
        self.nonce += 1;
        let Selected { group, covers, push } = selected;
        let (resources, version) = match self.variant {
            // Debugging only, the protocol gives it no meaning.
            Variant::Delta => (group.adds.clone(), self.latest.seq().to_string()),
            Variant::Sotw => delivery.state_after(&group),
        };
        let response = Response {
            variant: self.variant,
            type_url: delivery.type_url.clone(),
            version,
            nonce: format!("{:x}", self.nonce),
            resources,
            removed: if self.variant == Variant::Delta { group.removes.clone() } else { Vec::new() },
        };
        delivery.newest = Some(self.nonce);
        delivery.in_flight = Some(InFlight {
            nonce: self.nonce,
            first_nonce: self.nonce,
            group,
            covers,
            sent_ms: now_ms,
            published_ms: push.then_some(self.latest.published_ms()),
            tainted: false,
        });
        Action::Send(response)
    }

    pub(crate) fn close(code: CloseCode, message: impl Into<String>) -> Vec<Action> {
        vec![Action::Close { code, message: message.into() }]
    }

    /// Checks a request against the bounds: the names in it, and how many of the type there will be with it. The answer
    /// closes the stream.
    pub(crate) fn check<'a>(
        &self,
        type_url: &str,
        mut names: impl Iterator<Item = &'a String>,
        count: usize,
    ) -> Result<(), Vec<Action>> {
        let Bounds { max_types, max_names, max_name_bytes, .. } = self.bounds;
        if type_url.is_empty() {
            return Err(Self::close(CloseCode::InvalidArgument, "type_url is empty; an aggregated stream needs it"));
        }
        if type_url.len() > max_name_bytes {
            let text = format!("type_url is longer than {max_name_bytes} bytes");
            return Err(Self::close(CloseCode::InvalidArgument, text));
        }
        if !self.types.contains_key(type_url) && self.types.len() >= max_types {
            let text = format!("more than {max_types} types on one stream");
            return Err(Self::close(CloseCode::ResourceExhausted, text));
        }
        if names.any(|name| name.len() > max_name_bytes) {
            let text = format!("a name is longer than {max_name_bytes} bytes");
            return Err(Self::close(CloseCode::InvalidArgument, text));
        }
        if count > max_names {
            let text = format!("more than {max_names} names of {type_url} on one stream");
            return Err(Self::close(CloseCode::ResourceExhausted, text));
        }
        Ok(())
    }
}

/// The answering half of a request.
pub(crate) struct Answer<'a> {
    pub nonce: &'a str,
    /// Presence alone makes it a NACK; nothing is read out of versions.
    pub error: Option<&'a str>,
}

/// A node's error text, cut to 1 KiB and without control characters.
fn bounded(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1024).collect()
}
