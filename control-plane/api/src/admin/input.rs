//! What a request says, read strictly: an unknown query parameter, a bad path or a bad header is an error with a code, never
//! ignored. Reading only; what it means is the handlers' business.
use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::BytesRejection},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde::{Deserialize, de::DeserializeOwned};
use tidegate_policy::{kinds::Kind, ports::ObjectKey, snapshot::ObjectRef};
use utoipa::IntoParams;

use super::{ApiError, MAX_BODY};

/// Items of a page when the request does not say.
pub const DEFAULT_PAGE: u32 = 100;
/// Longest page.
pub const MAX_PAGE: u32 = 500;

/// Longest wait for a body. Shorter than the whole request may take, so that who sends too slowly is told that.
const BODY_LIMIT: Duration = Duration::from_secs(10);

/// A whole body, at most [`MAX_BODY`] bytes.
pub struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match tokio::time::timeout(BODY_LIMIT, Bytes::from_request(request, state)).await {
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            Err(_) => Err(ApiError::SlowBody { seconds: BODY_LIMIT.as_secs() }),
            Ok(Err(e)) => Err(match &e {
                BytesRejection::FailedToBufferBody(inner) if inner.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                    ApiError::BodyTooLarge { limit: MAX_BODY }
                }
                other => ApiError::BadBody { what: format!("the body could not be read: {}", other.body_text()) },
            }),
        }
    }
}

/// A JSON body of a known shape.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Body(bytes) = Body::from_request(request, state).await?;
        tidegate_text::typed(&bytes)
            .map(Self)
            .map_err(|e| ApiError::BadBody { what: format!("the JSON body is wrong: {e}") })
    }
}

/// Path parameters.
pub struct InPath<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for InPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(value)| Self(value)).map_err(|e| ApiError::BadQuery { what: plain_words(&e.body_text()) })
    }
}

/// Query parameters; unknown ones are refused by the type's `deny_unknown_fields`.
pub struct InQuery<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for InQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(value)| Self(value)).map_err(|e| ApiError::BadQuery { what: plain_words(&e.body_text()) })
    }
}

/// What the framework says of a path or query, in words for a person who never saw this program's language:
/// `limit: expected a whole number`.
fn plain_words(said: &str) -> String {
    let said = said.split_once("string: ").or_else(|| said.split_once("Invalid URL: ")).map_or(said, |(_, said)| said);
    match said.split_once(": ").filter(|(name, _)| name.bytes().all(|b| b.is_ascii_alphanumeric())) {
        Some((_, said)) if said.starts_with("unknown field") => tidegate_text::shape(said),
        Some((name, said)) => format!("{name}: {}", tidegate_text::shape(said)),
        None => tidegate_text::shape(said),
    }
}

/// Of every write.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WriteQuery {
    /// Answer as if it were done, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Of every list.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items of the page, 1 to 500; 100 when absent.
    pub limit: Option<u32>,
    /// `metadata.continue` of the page before.
    #[serde(rename = "continue")]
    pub after: Option<String>,
}

/// Checks a page size.
pub fn page_size(limit: Option<u32>) -> Result<u32, ApiError> {
    match limit {
        None => Ok(DEFAULT_PAGE),
        Some(n @ 1..=MAX_PAGE) => Ok(n),
        Some(n) => Err(ApiError::BadQuery { what: format!("limit is 1 to {MAX_PAGE}, not {n}") }),
    }
}

/// The kind that a URL names by its plural.
pub fn kind_of(plural: &str) -> Result<Kind, ApiError> {
    Kind::ALL.into_iter().find(|k| k.plural() == plural).ok_or_else(|| {
        let known: Vec<_> = Kind::ALL.into_iter().map(Kind::plural).collect();
        ApiError::BadQuery { what: format!("there is no kind {plural:?}; known: {}", known.join(", ")) }
    })
}

/// The object that a URL names.
pub fn key_of((namespace, plural, name): (String, String, String)) -> Result<ObjectKey, ApiError> {
    Ok(ObjectKey { kind: kind_of(&plural)?, object: ObjectRef { namespace, name } })
}

/// The object that a PUT or DELETE is about, and under which conditions.
pub struct Target {
    pub key: ObjectKey,
    pub dry_run: bool,
    pub condition: Precondition,
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let InPath(path) = InPath::from_request_parts(parts, state).await?;
        let InQuery(WriteQuery { dry_run }) = InQuery::from_request_parts(parts, state).await?;
        Ok(Self { key: key_of(path)?, dry_run, condition: precondition(&parts.headers)? })
    }
}

/// What a write may find: the conditions of RFC 9110 §13.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precondition {
    None,
    /// `If-Match: "n"`.
    Revision(i64),
    /// `If-Match: *`.
    Exists,
    /// `If-None-Match: *`.
    Absent,
}

/// Reads If-Match and If-None-Match.
pub fn precondition(headers: &HeaderMap) -> Result<Precondition, ApiError> {
    let bad = |what: &str| ApiError::BadQuery { what: what.to_owned() };
    let one = |name: header::HeaderName| {
        let mut all = headers.get_all(name).iter();
        let first = all.next();
        if all.next().is_some() {
            return Err(bad("a precondition header stands twice"));
        }
        first.map(|v| v.to_str().map(str::trim).map_err(|_| bad("a precondition header is not ASCII"))).transpose()
    };
    match (one(header::IF_MATCH)?, one(header::IF_NONE_MATCH)?) {
        (None, None) => Ok(Precondition::None),
        (Some("*"), None) => Ok(Precondition::Exists),
        (None, Some("*")) => Ok(Precondition::Absent),
        (Some(tag), None) => tag
            .strip_prefix('"')
            .and_then(|t| t.strip_suffix('"'))
            .and_then(|t| t.parse().ok())
            .filter(|n| *n >= 1)
            .map(Precondition::Revision)
            .ok_or_else(|| {
                bad(&format!(
                    "If-Match is {tag}; it takes one ETag as an answer of this API names it, such as \"42\", or *"
                ))
            }),
        (None, Some(tag)) => {
            Err(bad(&format!("If-None-Match is {tag}; it takes only *, which means: only if there is none")))
        }
        (Some(_), Some(_)) => Err(bad("If-Match and If-None-Match exclude each other; send one of them")),
    }
}
