//! One look at everything: objects before, requests through the gateway, objects after. It judges nothing.
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use system_tests::{client::Client, tidegate::Tidegate};

/// Requests that are under way at a time.
const AT_A_TIME: usize = 6;
/// Kinds, as in a URL.
const PLURALS: [&str; 4] = ["models", "workerpools", "releasepolicies", "ratelimitpolicies"];

/// A request and what became of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The value of `X-Gray-Tag`; empty for none.
    pub tag: String,
    /// 0 when no answer came.
    pub status: u16,
    pub version: String,
    /// When it came, or was no longer waited for.
    pub at: Instant,
}

impl std::fmt::Display for Answer {
    /// Without the time: what happened again reads the same.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tag {:?} was answered {} by version {:?}", self.tag, self.status, self.version)
    }
}

/// What is asked of a model at each look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Eight users, and one request with the tag of the candidate.
    Chat,
    /// So many requests at once by one user: more than the limit of the namespace admits.
    Burst(usize),
    Nothing,
}

/// The objects of one namespace, by `<plural>/<name>`.
pub type Objects = BTreeMap<String, Value>;

/// What one look saw of one namespace.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub before: Objects,
    pub answers: Vec<Answer>,
    pub after: Objects,
    /// Workers of its pools.
    pub nodes: Vec<Value>,
}

/// Asks on behalf of many namespaces.
pub struct Looker<'a> {
    pub tidegate: &'a Tidegate,
    pub client: &'a Client,
}

impl Looker<'_> {
    /// A look at all these namespaces: `(namespace, what is asked)`. The model is `<namespace>/m`.
    ///
    /// # Errors
    /// When the admin API does not answer.
    pub async fn look(&self, namespaces: &[(String, Ask)]) -> Result<Vec<Seen>> {
        let before = self.objects().await?;
        let asked = namespaces.iter().flat_map(|(namespace, ask)| questions(namespace, *ask));
        let answers: Vec<(String, Answer)> =
            stream::iter(asked).map(|(ns, tag, user)| self.ask(ns, tag, user)).buffered(AT_A_TIME).collect().await;
        let (after, nodes) = (self.objects().await?, self.nodes().await?);
        let at = Instant::now();
        let of = |all: &BTreeMap<String, Objects>, ns: &str| all.get(ns).cloned().unwrap_or_default();
        let seen = namespaces.iter().map(|(ns, _)| Seen {
            at,
            before: of(&before, ns),
            answers: answers.iter().filter(|(of, _)| of == ns).map(|(_, answer)| answer.clone()).collect(),
            after: of(&after, ns),
            nodes: nodes.iter().filter(|n| belongs(n, ns)).cloned().collect(),
        });
        Ok(seen.collect())
    }

    /// Every object, by namespace.
    async fn objects(&self) -> Result<BTreeMap<String, Objects>> {
        let mut all: BTreeMap<String, Objects> = BTreeMap::new();
        for plural in PLURALS {
            for item in self.list(&format!("/api/v1/{plural}?limit=500")).await? {
                let (ns, name) = (text(&item["metadata"]["namespace"]), text(&item["metadata"]["name"]));
                all.entry(ns).or_default().insert(format!("{plural}/{name}"), item);
            }
        }
        Ok(all)
    }

    /// Every node.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub async fn nodes(&self) -> Result<Vec<Value>> {
        self.list("/api/v1/nodes").await
    }

    async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let (status, body) = self.tidegate.admin("GET", path, None).await?;
        ensure!(status == 200, "{path}: {status} {body}");
        Ok(body["items"].as_array().context("items")?.clone())
    }

    async fn ask(&self, namespace: String, tag: String, user: usize) -> (String, Answer) {
        let model = if namespace == "default" { "m".to_owned() } else { format!("{namespace}/m") };
        let body = json!({
            "model": model, "max_tokens": 2, "temperature": 0, "messages": [{"role": "user", "content": "What is assert?"}],
        });
        let user = format!("user-{user}");
        let mut headers = vec![("x-user-id", user.as_str())];
        if !tag.is_empty() {
            headers.push(("x-gray-tag", &tag));
        }
        let sent = self.client.send("/v1/chat/completions", &body, &headers);
        let (status, version) = match tokio::time::timeout(Duration::from_secs(10), sent).await {
            Ok(Ok(a)) => (a.status, a.version().to_owned()),
            Ok(Err(_)) | Err(_) => (0, String::new()),
        };
        (namespace, Answer { tag, status, version, at: Instant::now() })
    }
}

fn questions(namespace: &str, ask: Ask) -> Vec<(String, String, usize)> {
    let one = |tag: &str, user: usize| (namespace.to_owned(), tag.to_owned(), user);
    match ask {
        Ask::Chat => (0..8).map(|user| one("", user)).chain([one("v2", 9)]).collect(),
        Ask::Burst(requests) => (0..requests).map(|_| one("", 0)).collect(),
        Ask::Nothing => Vec::new(),
    }
}

fn belongs(node: &Value, namespace: &str) -> bool {
    node["pool"].as_str().and_then(|p| p.split_once('/')).is_some_and(|(ns, _)| ns == namespace)
}

/// A string member; empty when there is none.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Status of a condition, and since when: `("True", "2026-…")`; empty when there is none.
pub fn condition(object: &Value, name: &str) -> (String, String) {
    let mut all = object["status"]["conditions"].as_array().into_iter().flatten();
    all.find(|c| c["type"] == name)
        .map_or_else(Default::default, |c| (text(&c["status"]), text(&c["lastTransitionTime"])))
}
