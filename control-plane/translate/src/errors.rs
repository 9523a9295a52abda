//! Error bodies as OpenAI clients expect them. Fixed texts only: nothing that a client sent is ever copied into a body here,
//! because Envoy's text format does not escape.
use serde::Serialize;

#[derive(Serialize)]
struct Body<'a> {
    error: Detail<'a>,
}

#[derive(Serialize)]
struct Detail<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: &'a str,
    /// The worker's code for the same, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    tidegate_code: Option<&'a str>,
}

/// One kind of refusal: what a client reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientError {
    pub status: u32,
    pub code: &'static str,
    /// OpenAI's `type`.
    pub kind: &'static str,
    pub param: Option<&'static str>,
    pub message: &'static str,
    pub tidegate_code: Option<&'static str>,
    /// It may be over in a second: `Retry-After: 1`.
    pub soon: bool,
}

const BLANK: ClientError =
    ClientError { status: 500, code: "", kind: SERVER, param: None, message: "", tidegate_code: None, soon: false };

impl ClientError {
    /// The JSON body.
    pub fn body(&self) -> String {
        let error = Detail {
            message: self.message,
            kind: self.kind,
            param: self.param,
            code: self.code,
            tidegate_code: self.tidegate_code,
        };
        serde_json::to_string(&Body { error }).unwrap_or_default()
    }
}

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

pub(crate) const MODEL_NOT_FOUND: ClientError = ClientError {
    status: 404,
    code: "model_not_found",
    kind: INVALID,
    param: Some("model"),
    message: "The model in the request does not exist. GET /v1/models lists the models.",
    tidegate_code: Some("TG-2208"),
    ..BLANK
};
pub(crate) const NO_SUCH_PATH: ClientError = ClientError {
    status: 404,
    code: "unknown_url",
    kind: INVALID,
    message: "There is nothing at this path. There is POST /v1/chat/completions, POST /v1/embeddings and GET /v1/models.",
    tidegate_code: Some("TG-2210"),
    ..BLANK
};
pub(crate) const WRONG_METHOD: ClientError = ClientError {
    status: 405,
    code: "method_not_allowed",
    kind: INVALID,
    message: "This path takes another method.",
    tidegate_code: Some("TG-2211"),
    ..BLANK
};
pub(crate) const NO_VERSION: ClientError = ClientError {
    status: 503,
    code: "model_not_ready",
    message: "No version of this model is being served yet.",
    soon: true,
    ..BLANK
};
pub(crate) const NOT_SERVING: ClientError =
    ClientError { status: 503, code: "model_not_ready", message: "No model is being served yet.", soon: true, ..BLANK };
/// From an origin that is not named in `corsOrigins`, or there are none.
pub(crate) const ORIGIN_REFUSED: ClientError = ClientError {
    status: 403,
    code: "origin_not_allowed",
    kind: INVALID,
    message: "This gateway takes no requests from web pages of this origin. Its operator names origins with corsOrigins.",
    ..BLANK
};
pub(crate) const BAD_KEY: ClientError = ClientError {
    status: 401,
    code: "invalid_api_key",
    kind: INVALID,
    message: "The API key is missing, wrong, expired or revoked. Send it as `Authorization: Bearer tg_...`.",
    ..BLANK
};
pub(crate) const LIMITED: ClientError = ClientError {
    status: 429,
    code: "rate_limit_exceeded",
    kind: "rate_limit_error",
    message: "A request limit is used up. Retry-After says when to try again.",
    ..BLANK
};
pub(crate) const BUSY: ClientError = ClientError {
    status: 429,
    code: "concurrency_limit_exceeded",
    kind: "rate_limit_error",
    message: "Too many requests for this model version are in flight. Retry-After says when to try again.",
    soon: true,
    ..BLANK
};
pub(crate) const TOO_LARGE: ClientError = ClientError {
    status: 413,
    code: "request_too_large",
    kind: INVALID,
    message: "The request body is larger than this gateway takes.",
    tidegate_code: Some("TG-2205"),
    ..BLANK
};
pub(crate) const HEADERS_TOO_LARGE: ClientError = ClientError {
    status: 431,
    code: "headers_too_large",
    kind: INVALID,
    message: "The request headers are larger than this gateway takes.",
    ..BLANK
};
pub(crate) const BAD_REQUEST: ClientError =
    ClientError { status: 400, code: "bad_request", kind: INVALID, message: "The request is not valid HTTP.", ..BLANK };
pub(crate) const TIMED_OUT: ClientError =
    ClientError { status: 504, code: "timeout", message: "The answer took too long.", ..BLANK };
pub(crate) const CLIENT_TIMED_OUT: ClientError = ClientError {
    status: 408,
    code: "request_timeout",
    kind: INVALID,
    message: "The request did not arrive in time.",
    ..BLANK
};
pub(crate) const NO_WORKER: ClientError = ClientError {
    status: 503,
    code: "no_worker",
    message: "No worker serves this version of the model at the moment.",
    soon: true,
    ..BLANK
};
pub(crate) const WORKER_LOST: ClientError = ClientError {
    status: 503,
    code: "worker_lost",
    message: "The worker could not be reached or went away before it answered.",
    soon: true,
    ..BLANK
};
pub(crate) const OVERLOADED: ClientError =
    ClientError { status: 503, code: "gateway_overloaded", message: "The gateway is overloaded.", soon: true, ..BLANK };
pub(crate) const NOT_CONFIGURED: ClientError = ClientError {
    status: 500,
    code: "gateway_not_configured",
    message: "The gateway has not been told its configuration yet.",
    ..BLANK
};
pub(crate) const FORBIDDEN: ClientError = ClientError {
    status: 403,
    code: "forbidden",
    kind: INVALID,
    message: "The gateway does not do this: it switches no protocol and opens no tunnel.",
    ..BLANK
};
pub(crate) const HTTP_VERSION: ClientError = ClientError {
    status: 426,
    code: "http_version_not_supported",
    kind: INVALID,
    message: "The gateway speaks HTTP/1.1 and HTTP/2.",
    ..BLANK
};
pub(crate) const NOT_IMPLEMENTED: ClientError = ClientError {
    status: 501,
    code: "not_implemented",
    kind: INVALID,
    message: "The request asks for a part of HTTP that the gateway does not do, such as a transfer coding other than chunked.",
    ..BLANK
};
/// For the statuses that have no text of their own; each keeps its status.
pub(crate) const OTHER: ClientError =
    ClientError { status: 500, code: "gateway_error", message: "The gateway could not answer this request.", ..BLANK };
