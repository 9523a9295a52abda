//! Whether a change of keys is in force where keys are checked: at the gateways. It waits for what they answer, for a bounded time, and
//! says who has not answered; it never claims what it does not know.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tidegate_policy::{
    ports::{CredentialStore, NodeRole},
    snapshot::Snapshot,
};
use tidegate_xds::Hub;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use utoipa::{IntoParams, ToSchema};

use super::{AdminState, ApiError};
use crate::{
    ads::GATEWAY_GROUP,
    nodes::{NodeRegistry, RefusedResource},
};

/// Longest that a request may ask to wait.
pub const LONGEST_WAIT: u64 = 10;
/// When it does not say.
const USUAL_WAIT: u64 = 5;
/// Longest that the list of tokens is waited for, when the request waits no longer itself.
const TOKENS_WAIT: Duration = Duration::from_secs(2);
/// Page of the list of tokens.
const PAGE: u32 = 500;

/// What is published to the gateways, and what they answered.
#[derive(Clone)]
pub struct Gateways {
    pub nodes: Arc<NodeRegistry>,
    pub hub: watch::Receiver<Arc<Hub>>,
    /// Whether a resource carries the API keys.
    pub of_keys: fn(&RefusedResource) -> bool,
}

/// How long to wait until a change is in force.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Seconds to wait until every gateway has the change, 0 to 10; 5 when absent. The change is made whatever comes of it.
    #[param(minimum = 0, maximum = 10)]
    pub wait_seconds: Option<u64>,
}

impl WaitQuery {
    /// The moment at which the answer is given.
    pub fn deadline(&self) -> Result<Instant, ApiError> {
        match self.wait_seconds.unwrap_or(USUAL_WAIT) {
            seconds @ 0..=LONGEST_WAIT => Ok(Instant::now() + Duration::from_secs(seconds)),
            more => Err(ApiError::BadQuery { what: format!("waitSeconds is 0 to {LONGEST_WAIT}, not {more}") }),
        }
    }
}

/// Where a change of keys is in force.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InForce {
    /// Every gateway that is known has confirmed it. False while any has not, or cannot: then the lists say which.
    pub in_force: bool,
    /// Gateways that have it.
    pub confirmed: Vec<String>,
    /// Gateways that are connected and have not confirmed it yet, or refuse it.
    pub pending: Vec<String>,
    /// Gateways with a token that are not connected to this control plane: they go on with what they have until they are back.
    pub disconnected: Vec<String>,
}

/// Waits until every gateway has what `done` finds in a snapshot, and says how far they are then.
pub async fn confirmed(state: &AdminState, deadline: Instant, done: impl Fn(&Snapshot) -> bool + Send) -> InForce {
    let mut snapshot = state.snapshot.clone();
    let compiled = snapshot.wait_for(|s| s.as_ref().is_some_and(|s| done(s)));
    let compiled = matches!(timeout_at(deadline, compiled).await, Ok(Ok(_)));
    // What is in the snapshot was published before it.
    let from = compiled.then(|| state.gateways.hub.borrow().group(GATEWAY_GROUP).seq());
    // What is not known in time is not claimed; the change itself is done.
    let tokens = timeout_at(deadline.max(Instant::now() + TOKENS_WAIT), gateway_tokens(&*state.credentials));
    let tokens = tokens.await.ok().and_then(Result::ok);
    let mut answers = state.gateways.nodes.subscribe();
    loop {
        answers.borrow_and_update();
        let found = look(&state.gateways, from, tokens.as_ref());
        if found.in_force || (found.pending.is_empty() && from.is_some()) {
            return found;
        }
        match timeout_at(deadline, answers.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return look(&state.gateways, from, tokens.as_ref()),
        }
    }
}

/// How far the gateways are. Without the tokens nobody knows which others there are: then every gateway that was ever here counts as
/// one, and nothing is claimed.
fn look(gateways: &Gateways, from: Option<u64>, tokens: Option<&Tokens>) -> InForce {
    let progress = match from {
        Some(from) => gateways.nodes.answers(GATEWAY_GROUP).progress(from, gateways.of_keys),
        // Not even published yet: nobody has it.
        None => gateways.nodes.answers(GATEWAY_GROUP).progress(u64::MAX, |_| false),
    };
    let refusing: BTreeSet<&String> = progress.refused.iter().map(|(node, _)| node).collect();
    let mut pending: Vec<String> = progress.pending.clone();
    pending.extend(progress.acked.iter().filter(|node| refusing.contains(node)).cloned());
    let confirmed: Vec<String> = progress.acked.iter().filter(|node| !refusing.contains(node)).cloned().collect();
    let here: BTreeSet<&String> = pending.iter().chain(&confirmed).collect();
    let known = gateways.nodes.list().into_iter().filter(|n| n.group == GATEWAY_GROUP).map(|n| n.node_id);
    let used = tokens.into_iter().flatten().filter(|(_, used)| **used).map(|(id, _)| id.clone());
    let known: BTreeSet<String> =
        known.filter(|id| tokens.is_none_or(|tokens| tokens.contains_key(id))).chain(used).collect();
    let disconnected: Vec<String> = known.into_iter().filter(|id| !here.contains(id)).collect();
    let in_force = pending.is_empty() && disconnected.is_empty() && from.is_some() && tokens.is_some();
    InForce { in_force, confirmed, pending, disconnected }
}

/// Gateways that can connect, and whether they ever did. One that is gone for good is one whose token is revoked.
type Tokens = BTreeMap<String, bool>;

async fn gateway_tokens(credentials: &dyn CredentialStore) -> Result<Tokens, ApiError> {
    let mut all = Tokens::new();
    let mut after: Option<String> = None;
    loop {
        let page = credentials.list_node_tokens(PAGE, after.as_deref()).await?;
        for token in page.items.into_iter().filter(|token| token.identity.role == NodeRole::Gateway) {
            *all.entry(token.identity.node_id).or_default() |= token.last_used_at.is_some();
        }
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}
