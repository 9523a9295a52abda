//! Why a request failed, and the one table that says which status, code and title each reason has. A problem document
//! (RFC 9457) never carries a secret, a connection string or the text of an error of the database: of a failed store it has
//! the store's own first line, which says what kind of failure it was. The cause is in the store's log.
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use tidegate_policy::{
    ports::StoreError,
    reject::{Code, Rejection, Rejections},
};
use utoipa::ToSchema;

/// Where this server answers the pages of the codes.
pub const PAGES: &str = "/errors/";

/// Why the admin API refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{}", summary(.0))]
    Rejected(Rejections),
    #[error("{}", store_text(.0))]
    Store(#[from] StoreError),
    #[error("send `Authorization: Bearer <admin token>`; the token is in the file admin-token of the data directory")]
    NoToken,
    #[error(
        "the token that was sent opens nothing here: it is of another server, was revoked or has expired, or is no admin token"
    )]
    WrongToken,
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge { limit: usize },
    #[error("{what}")]
    BadQuery { what: String },
    #[error("{what}")]
    BadBody { what: String },
    #[error("{what}")]
    Mismatch { what: String },
    #[error("there is nothing at {path}")]
    UnknownPath { path: String },
    #[error("{method} is not possible here")]
    MethodNotAllowed { method: String },
    #[error("the request took longer than {seconds} s and was given up; a write may or may not have happened")]
    TimedOut { seconds: u64 },
    #[error("the body did not arrive within {seconds} s; nothing was done")]
    SlowBody { seconds: u64 },
    #[error("{what}; a request names the host that it is for exactly once")]
    NoHost { what: &'static str },
    #[error(
        "this server is not called {host:?}; call it by its address or as localhost, or name the host in the setting adminHosts"
    )]
    OtherHost { host: String },
    #[error(
        "the request comes from a page of {origin:?} in a browser; if that page may use the admin API, name its host in the setting adminHosts"
    )]
    OtherOrigin { origin: String },
    #[error(
        "{node_id} has a token already ({since}); with another it would be cut off. `rotate` (--rotate) makes one and lets the old one live on for a while"
    )]
    NodeHasToken { node_id: String, since: String },
    #[error("an admin token named {name:?} is there already; choose another name, or revoke it first")]
    NameTaken { name: String },
    #[error(
        "{name:?} is the last admin token that opens anything: without it nobody gets in. Make another first, or revoke it with `force` (--force)"
    )]
    LastAdminToken { name: String },
    #[error("{what}")]
    NotReady { what: &'static str },
    #[error("too many requests are being answered at once; try again")]
    Overloaded,
    #[error("the server could not make a random number or a document; see its log")]
    Internal,
}

/// Row of the mapping table.
struct Row(StatusCode, &'static str, &'static str);

impl ApiError {
    /// The mapping table. A code is stable; the page docs/errors/<code>.md says what to do.
    fn row(&self) -> Row {
        use StatusCode as S;
        match self {
            Self::Rejected(r) => rejected(r),
            Self::Store(StoreError::Unavailable(_)) => {
                Row(S::SERVICE_UNAVAILABLE, "TG-1200", "The policy store cannot be used")
            }
            Self::Store(StoreError::Unfit { code, .. }) => {
                Row(S::SERVICE_UNAVAILABLE, code, "The policy store cannot be used")
            }
            Self::Store(StoreError::Busy { .. }) => Row(S::SERVICE_UNAVAILABLE, "TG-1218", "Too many at once"),
            Self::Store(StoreError::Conflict { .. }) => Row(S::CONFLICT, "TG-1201", "The object changed meanwhile"),
            Self::Store(StoreError::OwnedElsewhere { .. }) => {
                Row(S::CONFLICT, "TG-1202", "The object is owned by another door")
            }
            Self::Store(StoreError::NotFound { .. }) => Row(S::NOT_FOUND, "TG-1203", "Not found"),
            Self::Store(StoreError::BadRequest { .. }) => {
                Row(S::BAD_REQUEST, "TG-1204", "The store refused the request")
            }
            Self::NoToken | Self::WrongToken => Row(S::UNAUTHORIZED, "TG-1302", "A valid admin token is needed"),
            Self::BodyTooLarge { .. } => Row(S::PAYLOAD_TOO_LARGE, "TG-1303", "The body is too large"),
            Self::BadQuery { .. } => Row(S::BAD_REQUEST, "TG-1304", "The path, query or a header is wrong"),
            Self::BadBody { .. } => Row(S::BAD_REQUEST, "TG-1305", "The body is wrong"),
            Self::Mismatch { .. } => Row(S::CONFLICT, "TG-1306", "The body and the address disagree"),
            Self::UnknownPath { .. } => Row(S::NOT_FOUND, "TG-1307", "No such address"),
            Self::MethodNotAllowed { .. } => Row(S::METHOD_NOT_ALLOWED, "TG-1308", "No such method here"),
            Self::TimedOut { .. } => Row(S::SERVICE_UNAVAILABLE, "TG-1309", "The request took too long"),
            Self::SlowBody { .. } => Row(S::REQUEST_TIMEOUT, "TG-1340", "The body came too slowly"),
            Self::NoHost { .. } => Row(S::BAD_REQUEST, "TG-1341", "No Host, or more than one"),
            Self::OtherHost { .. } => Row(S::MISDIRECTED_REQUEST, "TG-1342", "This server has another name"),
            Self::OtherOrigin { .. } => Row(S::FORBIDDEN, "TG-1343", "A page of another origin"),
            Self::NodeHasToken { .. } => Row(S::CONFLICT, "TG-1344", "The node has a token"),
            Self::NameTaken { .. } => Row(S::CONFLICT, "TG-1345", "The name is taken"),
            Self::LastAdminToken { .. } => Row(S::CONFLICT, "TG-1346", "The last admin token"),
            Self::NotReady { .. } => Row(S::SERVICE_UNAVAILABLE, "TG-1310", "Not ready yet"),
            Self::Overloaded => Row(S::SERVICE_UNAVAILABLE, "TG-1311", "Too busy"),
            Self::Internal => Row(S::INTERNAL_SERVER_ERROR, "TG-1312", "Internal error"),
        }
    }

    /// The problem document of this error.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let Row(status, code, title) = self.row();
        let rejections = if let Self::Rejected(Rejections(all)) = self { all.as_slice() } else { &[] };
        let errors = rejections.iter().map(Mistake::from).collect();
        Problem {
            kind: format!("{PAGES}{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.to_string(),
            code: code.to_owned(),
            errors,
        }
    }
}

/// 413 and 400 when the body as a whole cannot be read, 422 when what it says is not allowed.
fn rejected(Rejections(all): &Rejections) -> Row {
    let has = |code: Code| all.iter().any(|r| r.code == code);
    if has(Code::TooLarge) {
        Row(StatusCode::PAYLOAD_TOO_LARGE, "TG-1303", "The body is too large")
    } else if has(Code::Malformed) || has(Code::DocumentCount) {
        Row(StatusCode::BAD_REQUEST, "TG-1300", "The documents cannot be read")
    } else {
        Row(StatusCode::UNPROCESSABLE_ENTITY, "TG-1301", "The documents are not valid")
    }
}

fn summary(Rejections(all): &Rejections) -> String {
    match all.as_slice() {
        [_] => "1 mistake; nothing was changed".to_owned(),
        all => format!("{} mistakes; nothing was changed", all.len()),
    }
}

fn store_text(error: &StoreError) -> String {
    match error {
        StoreError::Unavailable(why) => format!("the policy store cannot be used: {why}"),
        StoreError::Conflict { .. }
        | StoreError::OwnedElsewhere { .. }
        | StoreError::NotFound { .. }
        | StoreError::BadRequest { .. }
        | StoreError::Unfit { .. }
        | StoreError::Busy { .. } => error.to_string(),
    }
}

/// A problem document, RFC 9457.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Where this server has the page about the code: `/errors/TG-nnnn`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    pub detail: String,
    /// Stable, `TG-nnnn`.
    pub code: String,
    /// Every mistake of the documents, when that is the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Mistake>,
}

/// One mistake in a document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Mistake {
    /// JSON path from the document's root.
    pub path: String,
    pub message: String,
    pub code: String,
    /// Which document of the body, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<usize>,
}

impl From<&Rejection> for Mistake {
    fn from(r: &Rejection) -> Self {
        Self { path: r.path.clone(), message: r.message.clone(), code: r.code.text().to_owned(), document: r.document }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let pause = if let Self::Store(StoreError::Busy { retry_after_s, .. }) = &self { *retry_after_s } else { 1 };
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidegate\""));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, pause.into());
        }
        // What is left of a body that was given up is not read as the next request.
        if status == StatusCode::REQUEST_TIMEOUT {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
