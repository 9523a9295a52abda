//! `GET /v1/models`, answered by Envoy itself: the list is the snapshot's, so it cannot differ from what is routed.
use envoy_types::pb::envoy::config::route::v3::Route;
use serde::Serialize;
use tidegate_policy::snapshot::Snapshot;

use crate::{
    errors,
    route::{answer, get, method, path, refuse},
};

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

/// OpenAI's shape. `created` is 0: a model has no one time of creation here.
#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u32,
    owned_by: &'static str,
}

fn model(id: &str) -> Model<'_> {
    Model { id, object: "model", created: 0, owned_by: "tidegate" }
}

/// The routes, and the size of the largest body among them in bytes. As long as no worker serves anything, a list would be
/// one of models that do not answer, and an empty one would be taken for the whole.
pub(crate) fn routes(snapshot: &Snapshot) -> (Vec<Route>, usize) {
    if snapshot.arms.values().all(|arm| arm.endpoints.is_empty()) {
        let all = method(path(r"/v1/models(/\C*)?"), "GET");
        return (vec![refuse("models", all, &errors::NOT_SERVING)], 0);
    }
    let data = snapshot.targets.iter().map(|t| model(&t.model_id)).collect();
    let list = serde_json::to_string(&List { object: "list", data }).unwrap_or_default();
    let mut largest = list.len();
    let mut routes = vec![answer("models", get("/v1/models"), (200, list))];
    for target in &snapshot.targets {
        let body = serde_json::to_string(&model(&target.model_id)).unwrap_or_default();
        largest = largest.max(body.len());
        for id in spellings(&target.model_id) {
            routes.push(answer("model", get(&format!("/v1/models/{id}")), (200, body.clone())));
        }
    }
    (routes, largest)
}

/// A client may send the `/` of a namespace escaped.
fn spellings(model_id: &str) -> Vec<String> {
    if model_id.contains('/') {
        ["/", "%2F", "%2f"].map(|slash| model_id.replace('/', slash)).to_vec()
    } else {
        vec![model_id.to_owned()]
    }
}
