//! Why: what a request would get, what overlaps, what differs. Only calls into `policy`, which knows.
use std::collections::BTreeSet;

use axum::{Json, extract::State};
use serde_json::Value;
use tidegate_policy::{
    diff,
    explain::{ExplainRequest, Explanation, explain as answer},
    kinds::Kind,
    ports::StoredObject,
    snapshot::Target,
    status::{ConditionStatus, ObjectStatus, RESOLVED_REFS},
    warnings,
};

use super::{AdminState, ApiError, Problem, fresh::Made, input::JsonBody, render::intent};

/// What is allowed but probably not meant about each of `changed`, with all policies as in `made`: of the object itself, and of the
/// model that it serves or is. An object that is not there was deleted: then also what still names it. Nothing is said twice.
pub fn warnings(made: &Made, changed: &[StoredObject]) -> Vec<Vec<String>> {
    let Made { all, compiled } = made;
    let mut said = BTreeSet::new();
    let mut about = |object: &StoredObject| {
        let mut found = match compiled.statuses.get(&object.key) {
            Some(status) => of_itself(status),
            None => warnings::left_behind(&all.objects, object),
        };
        let model = match object.key.kind {
            Kind::Model => Some(object.key.object.name.as_str()),
            Kind::WorkerPool => object.spec.pointer("/modelRef/name").and_then(Value::as_str),
            Kind::ReleasePolicy => object.spec.pointer("/targetRef/name").and_then(Value::as_str),
            Kind::RateLimitPolicy => None,
        };
        let of_model =
            |t: &&Target| Some(t.model.name.as_str()) == model && t.model.namespace == object.key.object.namespace;
        let target = compiled.snapshot.targets.iter().find(of_model);
        // A model that comes before its pools is no mistake.
        let new_model = object.key.kind == Kind::Model && compiled.statuses.contains_key(&object.key);
        let arms = target.into_iter().flat_map(warnings::without_workers);
        found.extend(arms.filter(|(owner, _)| !new_model || owner.kind != Kind::Model).map(|(_, message)| message));
        found.retain(|message| said.insert(message.clone()));
        found
    };
    changed.iter().map(&mut about).collect()
}

fn of_itself(status: &ObjectStatus) -> Vec<String> {
    let mut found = status.warnings.clone();
    let unresolved = status.condition(RESOLVED_REFS).filter(|c| c.status == ConditionStatus::False);
    let new = unresolved.map(|c| &c.message).filter(|message| !found.iter().any(|said| said.contains(*message)));
    found.extend(new.cloned());
    found
}

/// How the written part of an object would change, as unified YAML; empty when it would not.
pub fn difference(old: Option<&StoredObject>, new: &StoredObject) -> String {
    diff::unified(&new.key, old.map(intent).as_ref(), Some(&intent(new)))
}

/// The written part of an object that would go, as unified YAML.
pub fn removal(old: &StoredObject) -> String {
    diff::unified(&old.key, Some(&intent(old)), None)
}

/// What a POST to the gateway would get and why, from the snapshot that is in force: status, arm, deciding rule, limits.
#[utoipa::path(post, path = "/api/v1/explain", tag = "explain",
    request_body(content = ref("#/components/schemas/ExplainRequest"), content_type = "application/json"),
    responses((status = 200, body = ref("#/components/schemas/Explanation")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn explain(
    State(state): State<AdminState>,
    JsonBody(request): JsonBody<ExplainRequest>,
) -> Result<Json<Explanation>, ApiError> {
    if request.path.as_deref().is_some_and(|path| !path.starts_with('/')) {
        return Err(ApiError::BadBody { what: "path: it must begin with /".to_owned() });
    }
    for header in &request.headers {
        header.bytes().map_err(|e| ApiError::BadBody { what: format!("header {:?}: {e}", header.name) })?;
    }
    let snapshot = state.snapshot.borrow().clone();
    let snapshot = snapshot.ok_or(ApiError::NotReady { what: "no snapshot is compiled yet" })?;
    let gateway = state.gateway;
    // Not on a thread that answers others: there may be many models and rules.
    let answered = tokio::task::spawn_blocking(move || answer(&snapshot, gateway, &request)).await;
    Ok(Json(answered.map_err(|_| ApiError::Internal)?))
}
