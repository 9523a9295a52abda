//! What the gateway refuses before or besides the routes: who calls, which endpoint, which task. In the order in which the gateway
//! looks; a test asks both.
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use tidegate_limiter::matching::RequestView;

use super::{Answerer, ExplainRequest, Explanation, GatewayFacts, Verdict};
use crate::{
    kinds::Task,
    snapshot::{Snapshot, Target},
};

const CHAT: &str = "/v1/chat/completions";
const EMBEDDINGS: &str = "/v1/embeddings";
const MODELS: &str = "/v1/models";
/// How an API key begins behind its scheme; the rest is a JWT.
const KEY_PREFIXES: [&str; 3] = ["Bearer tg_", "bearer tg_", "BEARER tg_"];

/// A refusal of the gateway itself.
pub(super) fn refusal(status: u16, code: &str, why: impl Into<String>) -> Verdict {
    Verdict { status, code: Some(code.to_owned()), from: Answerer::Gateway, why: why.into() }
}

/// Whose request it is.
pub(super) enum Caller {
    Nobody,
    Tenant(String),
    /// A key, or something in its place, that the gateway does not know.
    Unknown(&'static str),
}

/// The tenant that was given, else the one of the key in `authorization`. The key's signature is not looked at.
pub(super) fn caller(
    request: &ExplainRequest,
    headers: &[(String, Vec<u8>)],
    (snapshot, notes): (&Snapshot, &mut Vec<String>),
) -> Caller {
    let key = RequestView { headers, tenant: None }.header("authorization");
    if let Some(tenant) = &request.tenant {
        if key.is_some() {
            notes.push("authorization is not looked at: the tenant is given".to_owned());
        }
        return Caller::Tenant(tenant.clone());
    }
    let Some(key) = key else { return Caller::Nobody };
    let text = String::from_utf8_lossy(&key);
    let Some(jwt) = KEY_PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) else {
        return Caller::Unknown("authorization holds no API key of Tidegate (`Bearer tg_...`)");
    };
    match key_id(jwt).and_then(|id| snapshot.api_keys.get(&id)) {
        Some(known) => {
            notes.push("the signature of the API key is checked by the gateway only".to_owned());
            Caller::Tenant(known.tenant.clone())
        }
        None => Caller::Unknown("the API key is unknown, expired or revoked"),
    }
}

/// `kid` of a JWT.
fn key_id(jwt: &str) -> Option<String> {
    let head = URL_SAFE_NO_PAD.decode(jwt.split('.').next()?).ok()?;
    Some(serde_json::from_slice::<Value>(&head).ok()?.get("kid")?.as_str()?.to_owned())
}

/// The gateway's word on the caller.
pub(super) fn key(caller: &Caller, gateway: GatewayFacts) -> Option<Verdict> {
    let missing = "the request has no API key; --tenant says as whose it would be explained";
    match caller {
        Caller::Tenant(_) => None,
        Caller::Nobody => gateway.require_api_key.then(|| refusal(401, "invalid_api_key", missing)),
        Caller::Unknown(why) => Some(refusal(401, "invalid_api_key", *why)),
    }
}

/// What a path asks for.
pub(super) enum Asked {
    /// No path was given: what fits the model.
    Whatever,
    Task(Task),
    Models,
    Nothing(String),
    /// The gateway does not take such a path.
    Bad(&'static str),
}

impl Asked {
    pub fn read(path: Option<&str>) -> Self {
        let Some(path) = path else { return Self::Whatever };
        if path.contains('#') {
            return Self::Bad("the path contains #");
        }
        let path = normal(path.split('?').next().unwrap_or_default());
        match path.as_str() {
            CHAT => Self::Task(Task::Chat),
            EMBEDDINGS => Self::Task(Task::Embedding),
            MODELS => Self::Models,
            other if other.starts_with(MODELS) && other[MODELS.len()..].starts_with('/') => Self::Models,
            _ => Self::Nothing(path),
        }
    }

    /// The gateway's word on a POST to this path.
    pub fn refused(&self) -> Option<Verdict> {
        let get = "explain is about a POST, and this path takes a GET";
        match self {
            Self::Whatever | Self::Task(_) | Self::Bad(_) => None,
            Self::Models => Some(refusal(405, "method_not_allowed", get)),
            Self::Nothing(path) => Some(refusal(404, "unknown_url", format!("there is nothing at {path}"))),
        }
    }

    /// The worker's word on the endpoint.
    pub fn fits(&self, snapshot: &Snapshot, target: &Target, answer: &Explanation) -> Option<Verdict> {
        let Self::Task(asked) = self else { return None };
        let (is, right) = match task_of(snapshot, target, answer.version.as_deref()) {
            task if task == *asked => return None,
            Task::Chat => ("a chat model", CHAT),
            Task::Embedding => ("an embedding model", EMBEDDINGS),
        };
        let why = format!("{} is {is}: its path is {right}", target.model_id);
        Some(Verdict { status: 400, code: Some("TG-2209".to_owned()), from: Answerer::Worker, why })
    }
}

/// As the gateway reads a path: without `.` and `..`, and each run of slashes as one.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut all = path.split('/').skip(1).peekable();
    let mut folder = false;
    while let Some(part) = all.next() {
        folder = false;
        match part {
            "" => folder = all.peek().is_none(),
            "." => folder = true,
            ".." => {
                parts.pop();
                folder = true;
            }
            other => parts.push(other),
        }
    }
    format!("/{}{}", parts.join("/"), if folder && !parts.is_empty() { "/" } else { "" })
}

/// The task of a version, as its pools have it; that of the model when chance decides.
fn task_of(snapshot: &Snapshot, target: &Target, version: Option<&str>) -> Task {
    let plans = snapshot.pools.values().filter(|plan| plan.model == target.model);
    let mut versions = plans.flat_map(|plan| &plan.versions).map(|planned| &planned.version);
    versions.find(|v| Some(v.name.as_str()) == version).map_or(target.task, |v| v.task)
}
