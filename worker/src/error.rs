//! Why a request was refused or failed, and why the worker itself could not do what it was told. One variant per failed
//! operation, each with a stable code. Texts never carry a prompt, an answer or a secret.
use tidegate_limiter::admission::{Refusal, Refused};

/// Why a request got no answer, or only the beginning of one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the body is not a JSON object that this API understands: {reason}")]
    NotJson { reason: String },
    #[error("unknown field {param:?}")]
    UnknownField { param: String },
    #[error("{param:?} is not supported: {reason}")]
    Unsupported { param: String, reason: String },
    #[error("{param:?} is not valid: {reason}")]
    Invalid { param: String, reason: String },
    #[error("{param:?} is required")]
    Missing { param: String },
    #[error("the body is larger than {max} bytes")]
    BodyTooLarge { max: usize },
    #[error("the body did not arrive within {seconds} s")]
    BodyLate { seconds: u64 },
    #[error("the body is broken: {reason}")]
    BodyBroken { reason: String },
    #[error(
        "the body is not read: {reason}; send Content-Type application/json, in UTF-8 and without Content-Encoding"
    )]
    UnsupportedMedia { reason: String },
    #[error(
        "this model takes {max} tokens, prompt and answer together; the prompt has {prompt} and {asked} were asked for"
    )]
    ContextLength { max: usize, prompt: usize, asked: usize },
    #[error(
        "this model takes {max} tokens, prompt and answer together; by its length alone the prompt has at least {least}"
    )]
    SurelyTooLong { max: usize, least: usize },
    #[error("the model {model:?} does not exist here")]
    ModelNotFound { model: String },
    #[error("the model {model:?} does not do {wanted}")]
    WrongTask { model: String, wanted: &'static str },
    #[error("there is nothing at this path")]
    NoSuchPath,
    #[error("this path takes another method")]
    MethodNotAllowed,
    #[error("the prompt cannot be used: {reason}")]
    PromptRefused { param: &'static str, reason: String },
    #[error("version {version:?} is not loaded on this worker")]
    VersionNotHere { version: String },
    #[error("this worker is shutting down")]
    Draining,
    #[error("no model of this worker answers at the moment")]
    NotReady,
    #[error("{max} requests are waiting or running already")]
    QueueFull { max: usize },
    #[error("the requests that are arriving have {max} bytes already")]
    BodiesFull { max: usize },
    #[error("the inference did not end within {ms} ms")]
    TimedOut { ms: u64 },
    #[error(
        "others come first and the inference would not end within {ms} ms; this worker could end it {retry_after_ms} ms later"
    )]
    TooBusy { ms: u64, retry_after_ms: u64 },
    #[error(
        "the inference would not end within {ms} ms even if nobody else were here; at its measured pace this worker can do \
         about {fits} of these {what} in that time"
    )]
    TooMuch { ms: u64, fits: usize, what: &'static str },
    #[error("the inference failed ({code})")]
    Engine { code: &'static str },
    #[error("the files of this model version cannot serve this request ({code}): {reason}")]
    ModelFiles { code: &'static str, reason: String },
    #[error("the client did not read its answer for {ms} ms")]
    SlowClient { ms: u64 },
    #[error("the answer was cut: its model version was stopped before it was complete")]
    Cut,
    #[error("the limit {:?} is exhausted", refusal.limit)]
    Limited { refusal: Refusal },
}

/// What a client wrote, as far as an error may repeat it: 128 characters.
pub fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}

impl RequestError {
    /// Stable code; `docs/errors/<code>.md` explains it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotJson { .. } => "TG-2200",
            Self::UnknownField { .. } => "TG-2201",
            Self::Unsupported { .. } => "TG-2202",
            Self::Invalid { .. } => "TG-2203",
            Self::Missing { .. } => "TG-2204",
            Self::BodyTooLarge { .. } => "TG-2205",
            Self::BodyLate { .. } => "TG-2206",
            Self::ContextLength { .. } | Self::SurelyTooLong { .. } => "TG-2207",
            Self::ModelNotFound { .. } => "TG-2208",
            Self::WrongTask { .. } => "TG-2209",
            Self::NoSuchPath => "TG-2210",
            Self::MethodNotAllowed => "TG-2211",
            Self::PromptRefused { .. } => "TG-2212",
            Self::UnsupportedMedia { .. } => "TG-2213",
            Self::BodyBroken { .. } => "TG-2214",
            Self::VersionNotHere { .. } => "TG-2220",
            Self::Draining => "TG-2221",
            Self::NotReady => "TG-2222",
            Self::QueueFull { .. } => "TG-2223",
            Self::BodiesFull { .. } => "TG-2224",
            Self::TimedOut { .. } => "TG-2230",
            Self::Engine { .. } => "TG-2231",
            Self::SlowClient { .. } => "TG-2232",
            Self::Cut => "TG-2233",
            Self::ModelFiles { .. } => "TG-2234",
            Self::TooBusy { .. } => "TG-2235",
            Self::TooMuch { .. } => "TG-2236",
            Self::Limited { refusal } => match refusal.what {
                Refused::Requests => "TG-2300",
                Refused::Concurrency => "TG-2301",
            },
        }
    }

    /// The field that is at fault, as a path such as `messages[0].role`.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::UnknownField { param }
            | Self::Unsupported { param, .. }
            | Self::Invalid { param, .. }
            | Self::Missing { param } => Some(param),
            Self::PromptRefused { param, .. } => Some(param),
            Self::ContextLength { .. } | Self::SurelyTooLong { .. } => Some("messages"),
            Self::ModelNotFound { .. } | Self::WrongTask { .. } => Some("model"),
            Self::NotJson { .. }
            | Self::BodyTooLarge { .. }
            | Self::BodyLate { .. }
            | Self::BodyBroken { .. }
            | Self::UnsupportedMedia { .. }
            | Self::NoSuchPath
            | Self::MethodNotAllowed
            | Self::VersionNotHere { .. }
            | Self::Draining
            | Self::NotReady
            | Self::QueueFull { .. }
            | Self::BodiesFull { .. }
            | Self::TimedOut { .. }
            | Self::Engine { .. }
            | Self::ModelFiles { .. }
            | Self::TooBusy { .. }
            | Self::TooMuch { .. }
            | Self::SlowClient { .. }
            | Self::Cut
            | Self::Limited { .. } => None,
        }
    }
}

/// Why the worker could not start, or refused what the control plane pushed.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("cannot listen on {address}")]
    Listen {
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the async runtime did not start")]
    Runtime(#[source] std::io::Error),
    #[error("telemetry could not be set up: {reason}")]
    Telemetry { reason: String },
    #[error("the inference engine did not start")]
    Engine(#[source] tidegate_engine::error::EngineError),
    #[error("a thread could not be started")]
    Thread(#[source] std::io::Error),
    #[error("the control plane client could not be set up: {reason}")]
    ControlPlane { reason: String },
    #[error("model {model_id}: {reason}")]
    ModelSetRefused { model_id: String, reason: String },
    #[error("limit {limit}: {reason}")]
    LimitSetRefused { limit: String, reason: String },
    #[error("{type_url} is not decodable as protobuf")]
    NotDecodable { type_url: String },
    #[error("model {model_id}, version {version}: the lane ended: {reason}")]
    LaneEnded { model_id: String, version: String, reason: String },
}

impl WorkerError {
    /// Stable code; `docs/errors/<code>.md` explains it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "TG-2101",
            Self::Runtime(_) => "TG-2102",
            Self::Telemetry { .. } => "TG-2103",
            Self::Engine(source) => source.code(),
            Self::Thread(_) => "TG-2104",
            Self::ControlPlane { .. } => "TG-2105",
            Self::ModelSetRefused { .. } => "TG-2110",
            Self::LimitSetRefused { .. } => "TG-2111",
            Self::NotDecodable { .. } => "TG-2112",
            Self::LaneEnded { .. } => "TG-2113",
        }
    }

    /// Code, text and causes in one line, for logs and NACKs.
    pub fn report(&self) -> String {
        let mut text = format!("{}: {self}", self.code());
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }
}
