//! `GET /v1/models` and `/v1/models/{id}`: the models that answer here now, with their versions.
use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use super::{App, errors::Refuse};
use crate::{
    error::{RequestError, shortened},
    hotswap::table::Table,
};

fn models(table: &Table) -> BTreeMap<String, Value> {
    let mut out: BTreeMap<String, (u64, Vec<&str>)> = BTreeMap::new();
    for serving in &table.versions {
        let entry = out.entry(serving.model_id.to_string()).or_insert((serving.loaded_at, Vec::new()));
        entry.0 = entry.0.min(serving.loaded_at);
        entry.1.push(&serving.key.name);
    }
    let describe = |(id, (created, versions)): (String, (u64, Vec<&str>))| {
        let value =
            json!({"id": id, "object": "model", "created": created, "owned_by": "tidegate", "versions": versions});
        (id, value)
    };
    out.into_iter().map(describe).collect()
}

/// The same, or "not yet": a client must not take a worker that is still loading for one without models.
fn loaded(app: &App) -> Result<BTreeMap<String, Value>, Refuse> {
    let models = models(&app.table.load());
    if models.is_empty() { Err(RequestError::NotReady.into()) } else { Ok(models) }
}

/// All of them.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Value>, Refuse> {
    let data: Vec<Value> = loaded(&app)?.into_values().collect();
    Ok(Json(json!({"object": "list", "data": data})))
}

/// One of them; an id may hold a slash.
pub async fn one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Value>, Refuse> {
    match loaded(&app)?.remove(&id) {
        Some(model) => Ok(Json(model)),
        None => Err(RequestError::ModelNotFound { model: shortened(&id) }.into()),
    }
}
