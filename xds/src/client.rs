//! The client's half of delta ADS as a state machine: what to ask, what is new in a response, what to answer, how long to
//! wait after a failure. It keeps versions, never resources: the application holds those, also while the server is away.
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{delta::DeltaRequest, subscription::WILDCARD};

/// A resource as received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    pub name: String,
    pub version: String,
    /// The encoded message, without its `Any`.
    pub body: Bytes,
}

/// `DeltaDiscoveryResponse`, without what a client does not need.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DeltaResponse {
    pub type_url: String,
    pub nonce: String,
    pub resources: Vec<Received>,
    pub removed: Vec<String>,
}

/// What the application has to judge. Nothing in it was applied before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update {
    pub type_url: String,
    pub nonce: String,
    /// New, or of a new version.
    pub changed: Vec<Received>,
    /// Gone, or asked for and not there.
    pub removed: Vec<String>,
}

/// A resource that the application refuses; it stays with what it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    pub name: String,
    pub error: String,
}

/// What a response means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing new in it: answer at once.
    Send(DeltaRequest),
    /// Ask the application, then call [`Client::on_applied`].
    Apply(Update),
}

/// Waits after failures, milliseconds. The longest bounds how late a client hears of what changed during an outage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    pub first_ms: u64,
    pub longest_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first_ms: 200, longest_ms: 1_000 }
    }
}

#[derive(Debug, Default)]
struct Kind {
    names: BTreeSet<String>,
    versions: BTreeMap<String, String>,
}

/// A delta client over any number of connections, one after the other.
#[derive(Debug)]
pub struct Client {
    kinds: BTreeMap<String, Kind>,
    backoff: Backoff,
    failures: u32,
}

impl Client {
    /// `subscriptions`: type URL and names; `*` means all of the type.
    pub fn new(subscriptions: impl IntoIterator<Item = (String, Vec<String>)>, backoff: Backoff) -> Self {
        let kind = |names: Vec<String>| Kind { names: names.into_iter().collect(), versions: BTreeMap::new() };
        let kinds = subscriptions.into_iter().map(|(url, names)| (url, kind(names))).collect();
        Self { kinds, backoff, failures: 0 }
    }

    /// The first requests of a new stream, one per type. What is held is named, so that it is not sent again.
    pub fn on_connected(&self) -> Vec<DeltaRequest> {
        let first = |(url, kind): (&String, &Kind)| DeltaRequest {
            type_url: url.clone(),
            subscribe: kind.names.iter().cloned().collect(),
            initial_versions: kind.versions.clone(),
            ..DeltaRequest::default()
        };
        self.kinds.iter().map(first).collect()
    }

    /// A response arrived. None: it is of a type that was never asked for, and is ignored.
    pub fn on_response(&mut self, response: DeltaResponse) -> Option<Step> {
        // The server answers: the next failure begins with a short wait again (gRFC A57).
        self.failures = 0;
        let kind = self.kinds.get(&response.type_url)?;
        let all = kind.names.contains(WILDCARD);
        let wanted = |name: &String| all || kind.names.contains(name);
        // The same version again (a part of a refused response, tried once more) is no news.
        let news = |r: &Received| wanted(&r.name) && kind.versions.get(&r.name) != Some(&r.version);
        let changed: Vec<_> = response.resources.into_iter().filter(news).collect();
        let removed: Vec<_> = response.removed.into_iter().filter(wanted).collect();
        if changed.is_empty() && removed.is_empty() {
            return Some(Step::Send(answer(response.type_url, response.nonce, None)));
        }
        Some(Step::Apply(Update { type_url: response.type_url, nonce: response.nonce, changed, removed }))
    }

    /// The application judged an update. The answer is a NACK if it refused anything; what it took is kept all the same.
    pub fn on_applied(&mut self, update: &Update, result: Result<(), Vec<Rejection>>) -> DeltaRequest {
        let rejections = result.err().unwrap_or_default();
        if let Some(kind) = self.kinds.get_mut(&update.type_url) {
            let refused: BTreeSet<_> = rejections.iter().map(|rejection| rejection.name.as_str()).collect();
            for resource in update.changed.iter().filter(|resource| !refused.contains(resource.name.as_str())) {
                kind.versions.insert(resource.name.clone(), resource.version.clone());
            }
            for name in update.removed.iter().filter(|name| !refused.contains(name.as_str())) {
                kind.versions.remove(name);
            }
        }
        let lines: Vec<_> = rejections.iter().map(|r| format!("{}: {}", r.name, r.error)).collect();
        let error = (!lines.is_empty()).then(|| lines.join("; "));
        answer(update.type_url.clone(), update.nonce.clone(), error)
    }

    /// The stream ended after it was open for `up_ms`, or could not be opened (0): how long to wait before the next attempt,
    /// milliseconds. The wait doubles from `first_ms` to `longest_ms`, and begins again after a response and after a stream
    /// that stood longer than the longest wait; `jitter` in 0..=1000 takes up to a half of it away.
    pub fn on_disconnected(&mut self, up_ms: u64, jitter: u16) -> u64 {
        // A server with nothing new to say is silent, and healthy.
        if up_ms > self.backoff.longest_ms {
            self.failures = 0;
        }
        let doubled = self.backoff.first_ms.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let wait = doubled.min(self.backoff.longest_ms);
        wait - wait * u64::from(jitter.min(1000)) / 2000
    }
}

fn answer(type_url: String, nonce: String, error: Option<String>) -> DeltaRequest {
    DeltaRequest { type_url, nonce, error, ..DeltaRequest::default() }
}
