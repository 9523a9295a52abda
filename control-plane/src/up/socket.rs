//! The supervisor's socket: HTTP over a Unix socket of mode 0600, for `serve` alone. It starts and stops workers and shows the parts.
use std::{path::Path, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State, rejection::JsonRejection},
    http::StatusCode,
    routing::get,
};
use rustix::{fs::Mode, process::umask};
use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::{
    runner::Handle,
    workers::{WorkerSet, Workers},
};
use crate::error::Error;

/// Largest body in bytes; 64 workers take far less.
const MAX_BODY: usize = 256 << 10;
/// The longest path of a Unix socket on Linux, without the final zero.
pub const MAX_PATH: usize = 107;

#[derive(Clone)]
struct Shared {
    workers: Arc<Workers>,
    runner: Handle,
}

/// Binds the socket; a left-over file of an earlier `up` is replaced (the lock says that it is dead).
///
/// # Errors
/// TG-1522, TG-1525.
pub fn bind(path: &Path) -> Result<UnixListener, Error> {
    if path.as_os_str().len() > MAX_PATH {
        return Err(Error::SocketPath { path: path.to_owned(), max: MAX_PATH });
    }
    let _ = std::fs::remove_file(path);
    // Nobody else may connect, not even between bind and a later chmod.
    let before = umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    listener.map_err(|e| Error::DataDir { path: path.to_owned(), reason: e.to_string() })
}

/// Serves until the process ends.
pub async fn serve(listener: UnixListener, workers: Arc<Workers>, runner: Handle) {
    let router = Router::new()
        .route("/v1/workers", get(list).put(put))
        .route("/v1/parts", get(parts))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Shared { workers, runner });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the supervisor socket stopped");
    }
}

async fn list(State(shared): State<Shared>) -> Json<Value> {
    Json(json!(shared.workers.list().await))
}

async fn put(State(shared): State<Shared>, body: Result<Json<WorkerSet>, JsonRejection>) -> (StatusCode, Json<Value>) {
    let refuse = |detail: String| {
        let problem = json!({
            "type": "/errors/TG-1528",
            "title": "The supervisor refused the set of workers",
            "status": 400,
            "code": "TG-1528",
            "detail": detail,
        });
        (StatusCode::BAD_REQUEST, Json(problem))
    };
    let set = match body {
        Ok(Json(set)) => set,
        Err(rejection) => return refuse(rejection.body_text()),
    };
    match shared.workers.set(set).await {
        Ok(()) => (StatusCode::OK, Json(json!(shared.workers.list().await))),
        Err(detail) => refuse(detail),
    }
}

async fn parts(State(shared): State<Shared>) -> Json<Value> {
    let overview = shared.runner.overview.borrow().clone();
    let part =
        |p: &super::runner::View| json!({"name": p.name, "pid": p.pid, "state": p.state, "restarts": p.restarts});
    Json(overview.parts.iter().map(part).collect())
}
