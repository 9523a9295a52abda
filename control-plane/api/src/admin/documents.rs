//! Documents of a request on their way to the store: read, checked, compared with what is there. It must never store
//! anything that is not a [`ValidObject`].
use std::time::Duration;

use tidegate_policy::{
    kinds::Kind,
    ports::{ANY_REVISION, Author, Everything, ObjectKey, Outcome, StoreError, StoredObject},
    validate::{self, ValidObject},
};

use super::{
    AdminState, ApiError,
    fresh::Change,
    input::{Precondition, Target},
};

/// Reads a body of one or more documents, with every mistake of every document.
pub fn read(bytes: &[u8]) -> Result<Vec<ValidObject>, ApiError> {
    validate::parse(bytes).map_err(ApiError::Rejected)
}

/// Reads the body of a PUT: one document, which must be the one that the address names; its namespace may be left out.
pub fn read_one(bytes: &[u8], key: &ObjectKey) -> Result<ValidObject, ApiError> {
    let mut all = validate::parse_in(bytes, &key.object.namespace).map_err(ApiError::Rejected)?;
    let (Some(object), 0) = (all.pop(), all.len()) else {
        let what = "a PUT takes one document; send several to POST /api/v1/apply".to_owned();
        return Err(ApiError::BadBody { what });
    };
    if object.key() != key {
        let what = format!("the address names {key}, the document {}", object.key());
        return Err(ApiError::Mismatch { what });
    }
    Ok(object)
}

/// Does a PUT. The document's resourceVersion and If-Match must not contradict each other.
pub async fn write(
    state: &AdminState,
    author: &Author,
    object: &ValidObject,
    target: &Target,
) -> Result<(StoredObject, Outcome), ApiError> {
    let mut write = object.to_write();
    let said = write.expected_revision;
    let (expected, contradicts) = match target.condition {
        Precondition::None => (said, false),
        Precondition::Absent => (Some(0), said.is_some_and(|r| r != 0)),
        Precondition::Revision(n) => (Some(n), said.is_some_and(|r| r != n)),
        // Whoever sends `*` wants to change what is there, whichever it is; a revision that is named exists.
        Precondition::Exists => (said.or(Some(ANY_REVISION)), said == Some(0)),
    };
    if contradicts {
        let what = "metadata.resourceVersion contradicts If-Match or If-None-Match".to_owned();
        return Err(ApiError::Mismatch { what });
    }
    write.expected_revision = expected;
    only(state.store.write(vec![write], author, target.dry_run).await?)
}

fn only(mut written: Vec<(StoredObject, Outcome)>) -> Result<(StoredObject, Outcome), ApiError> {
    written.pop().ok_or(ApiError::Internal)
}

/// How long a write that is done waits for what is said beside it.
const BESIDE: Duration = Duration::from_secs(4);

/// What is said beside a write that is done: nothing rather than an error, or an answer that comes too late.
pub async fn beside<T: Default>(said: impl Future<Output = Result<T, ApiError>>) -> T {
    tokio::time::timeout(BESIDE, said).await.ok().and_then(Result::ok).unwrap_or_default()
}

/// Warnings about the policies as they would be after `changed`, one list per changed object.
pub async fn warnings(state: &AdminState, changed: &[StoredObject]) -> Result<Vec<Vec<String>>, ApiError> {
    said_of(state, changed, Change::Written).await
}

/// Warnings about the policies as they would be without an object.
pub async fn warnings_without(state: &AdminState, gone: &StoredObject) -> Result<Vec<String>, ApiError> {
    Ok(said_of(state, std::slice::from_ref(gone), Change::Gone).await?.concat())
}

async fn said_of(state: &AdminState, changed: &[StoredObject], change: Change) -> Result<Vec<Vec<String>>, ApiError> {
    let made = state.fresh.with(&state.store, changed, change).await?;
    Ok(super::explain::warnings(&made, changed))
}

/// Puts objects that are not stored yet in the place of the stored ones.
pub fn overlay(all: &mut Everything, changed: &[StoredObject]) {
    for object in changed {
        match all.objects.iter_mut().find(|o| o.key == object.key) {
            Some(old) => *old = object.clone(),
            None => all.objects.push(object.clone()),
        }
    }
    all.objects.sort_by(|a, b| a.key.cmp(&b.key));
}

/// What is stored now, if anything.
pub async fn current(state: &AdminState, key: &ObjectKey) -> Result<Option<StoredObject>, ApiError> {
    match state.store.get(key).await {
        Ok(object) => Ok(Some(object)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

/// The optional object of a query or body: all three parts, or none.
pub fn optional_key(
    kind: Option<&str>,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<Option<ObjectKey>, ApiError> {
    let Some(name) = name else {
        return match (kind, namespace) {
            (None, None) => Ok(None),
            _ => Err(ApiError::BadQuery { what: "kind and namespace go with a name".to_owned() }),
        };
    };
    let kind = kind.ok_or_else(|| ApiError::BadQuery { what: "name goes with a kind".to_owned() })?;
    let kind = Kind::parse(kind).ok_or_else(|| ApiError::BadQuery { what: format!("there is no kind {kind:?}") })?;
    let namespace = namespace.unwrap_or(tidegate_policy::names::DEFAULT_NAMESPACE).to_owned();
    Ok(Some(ObjectKey { kind, object: tidegate_policy::snapshot::ObjectRef { namespace, name: name.to_owned() } }))
}
