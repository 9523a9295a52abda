//! Who may use the admin API: holders of an admin token. The comparison takes the same time whatever is sent; failures are
//! counted, and written to the log at most once in ten seconds.
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::header;
use opentelemetry::metrics::Counter;
use tidegate_policy::ports::{Author, Source};

use super::ApiError;
use crate::credentials::TokenTable;

const LOG_EVERY: Duration = Duration::from_secs(10);

/// What the middleware needs.
#[derive(Clone)]
pub struct Gatekeeper {
    tokens: Arc<TokenTable>,
    source: Source,
    failures: Counter<u64>,
    quiet: Arc<Mutex<Quiet>>,
}

/// Failures since the last line of log.
#[derive(Default)]
struct Quiet {
    last: Option<Instant>,
    held_back: u64,
}

impl Gatekeeper {
    pub fn new(tokens: Arc<TokenTable>, source: Source) -> Self {
        let failures = opentelemetry::global::meter("tidegate")
            .u64_counter("tidegate_admin_auth_failures")
            .with_description("Requests to the admin API without a valid token")
            .build();
        Self { tokens, source, failures, quiet: Arc::default() }
    }

    fn refuse(&self, path: &str, sent: bool) -> ApiError {
        self.failures.add(1, &[]);
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        quiet.held_back += 1;
        if quiet.last.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            tracing::warn!(path, failures = quiet.held_back, "admin API: a request without a valid token");
            *quiet = Quiet { last: Some(Instant::now()), held_back: 0 };
        }
        if sent { ApiError::WrongToken } else { ApiError::NoToken }
    }
}

/// Lets a request through with its [`Author`], or answers 401; 503 until the tokens are known.
pub async fn check(State(keeper): State<Gatekeeper>, mut request: Request, next: Next) -> Result<Response, ApiError> {
    if !keeper.tokens.is_filled() {
        return Err(ApiError::NotReady { what: "the tokens have not been read from the store yet" });
    }
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let name = match (values.next().and_then(|v| v.to_str().ok()), values.next()) {
        // Exactly one header, with the scheme: a bare token is refused.
        (Some(value), None) if value.get(..7).is_some_and(|s| s.eq_ignore_ascii_case("bearer ")) => {
            keeper.tokens.admin(value)
        }
        _ => None,
    };
    let Some(name) = name else {
        let sent = request.headers().contains_key(header::AUTHORIZATION);
        return Err(keeper.refuse(request.uri().path(), sent));
    };
    request.extensions_mut().insert(Author { name: name.to_string(), source: keeper.source });
    Ok(next.run(request).await)
}
