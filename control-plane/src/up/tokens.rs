//! Node tokens of the parts of `up`: getting one, and asking whether it is still good. Tokens go into files, never into a log.
use serde_json::json;

use crate::{
    cli::{Client, Shown},
    error::Error,
};

/// A new token for a node of `up`, with `pool` (`<namespace>/<name>`) for a worker. Others of the node are taken for `grace` seconds yet;
/// None: as long as the server finds right.
///
/// # Errors
/// When the server refuses or does not answer.
pub async fn fresh(client: &Client, node_id: &str, pool: Option<&str>, grace: Option<u64>) -> Result<String, Error> {
    let mut wanted = json!({"nodeId": node_id, "role": "Gateway", "rotate": true});
    if let Some(pool) = pool {
        wanted["role"] = json!("Worker");
        wanted["pool"] = json!(pool);
    }
    if let Some(grace) = grace {
        wanted["graceSeconds"] = json!(grace);
    }
    let answer = client.post(&["api", "v1", "node-tokens"], &[], &wanted).await?;
    match answer.get("token").and_then(|t| t.as_str()) {
        Some(token) if !token.is_empty() => Ok(token.to_owned()),
        Some(_) | None => {
            Err(Error::Answer { url: client.shown_url(), reason: "no node token in the answer".to_owned() })
        }
    }
}

/// Whether the server answers and is ours: only then does its word count.
pub async fn is_ours(client: &Client) -> bool {
    matches!(client.ask_for_proof(client.token().reveal()).await, Ok(Shown::Knows))
}

/// Whether the server says that it does not know `token`; None when it says nothing.
pub async fn has_ended(client: &Client, token: &str) -> Option<bool> {
    client.ask_for_proof(token).await.ok().map(|shown| shown == Shown::Unknown)
}
