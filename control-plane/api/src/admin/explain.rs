//! Why: what a request would get, what overlaps, what differs. Only calls into `policy`, which knows.
use axum::{Json, extract::State};
use tidegate_policy::{
    compile::{CompileInput, compile},
    diff,
    explain::{ExplainRequest, Explanation, explain as answer},
    ports::{Everything, StoredObject},
    status::{ConditionStatus, RESOLVED_REFS},
};

use super::{AdminState, ApiError, Problem, input::JsonBody, render::intent};

/// What is allowed but probably not meant about each of `changed`, with all policies as in `all`.
pub fn overlaps(all: &Everything, changed: &[StoredObject]) -> Vec<Vec<String>> {
    let compiled = compile(&CompileInput { everything: all, now: chrono::Utc::now() });
    let about = |object: &StoredObject| {
        let Some(status) = compiled.statuses.get(&object.key) else { return Vec::new() };
        let mut warnings = status.warnings.clone();
        let unresolved = status.condition(RESOLVED_REFS).filter(|c| c.status == ConditionStatus::False);
        warnings.extend(unresolved.map(|c| c.message.clone()));
        warnings
    };
    changed.iter().map(about).collect()
}

/// How the written part of an object would change, as unified YAML; empty when it would not.
pub fn difference(old: Option<&StoredObject>, new: &StoredObject) -> String {
    diff::unified(&new.key, old.map(intent).as_ref(), Some(&intent(new)))
}

/// What a request would get and why, from the snapshot that is in force: arm, deciding rule, limits.
#[utoipa::path(post, path = "/api/v1/explain", tag = "explain",
    request_body(content = ref("#/components/schemas/ExplainRequest"), content_type = "application/json"),
    responses((status = 200, body = ref("#/components/schemas/Explanation")),
              (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn explain(
    State(state): State<AdminState>,
    JsonBody(request): JsonBody<ExplainRequest>,
) -> Result<Json<Explanation>, ApiError> {
    for header in &request.headers {
        header.bytes().map_err(|e| ApiError::BadBody { what: format!("header {:?}: {e}", header.name) })?;
    }
    let snapshot = state.snapshot.borrow().clone();
    let snapshot = snapshot.ok_or(ApiError::NotReady { what: "no snapshot is compiled yet" })?;
    Ok(Json(answer(&snapshot, &request)))
}
