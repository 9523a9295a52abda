//! Around every request: an id, an end, and a bound on how many are answered at once. It must never read a body.
use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue};
use opentelemetry::metrics::Counter;
use tokio::{sync::Semaphore, time::timeout};

use super::ApiError;

/// Longest time for a request, body included.
const LIMIT: Duration = Duration::from_secs(15);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Shared by all requests.
#[derive(Clone)]
pub struct Guard {
    places: Arc<Semaphore>,
    overloads: Counter<u64>,
}

impl Guard {
    /// At most `places` requests at once.
    pub fn new(places: usize) -> Self {
        let overloads = opentelemetry::global::meter("tidegate")
            .u64_counter("tidegate_admin_overloads")
            .with_description("Requests to the admin API refused because too many were being answered")
            .build();
        Self { places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))), overloads }
    }
}

/// Answers the request with its id: the client's when that is short and printable, else a new one.
pub async fn watch(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let sent = request.headers().get(&REQUEST_ID).filter(|v| {
        let bytes = v.as_bytes();
        (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    });
    let id = match sent.cloned() {
        Some(id) => id,
        None => HeaderValue::from_str(&uuid::Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("none")),
    };
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = match guard.places.try_acquire() {
        Ok(_place) => timeout(LIMIT, next.run(request))
            .await
            .unwrap_or_else(|_| ApiError::TimedOut { seconds: LIMIT.as_secs() }.into_response()),
        Err(_) => {
            guard.overloads.add(1, &[]);
            ApiError::Overloaded.into_response()
        }
    };
    response.headers_mut().insert(REQUEST_ID, id);
    response
}
